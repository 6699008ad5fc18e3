import pytest

from convnets import language
from convnets.errors import UsageError


def crop(image, size: int, fraction: float = 0.5):
    """Stands for an operation."""


TABLE = {"crop": crop}


def test_reads_names_arguments_and_defaults():
    first, second = language.parse("crop(24) | crop(size=3, fraction=1)", TABLE, skip=1)
    assert first.kwargs == {"size": 24, "fraction": 0.5}
    assert second.kwargs == {"size": 3, "fraction": 1}
    assert language.parse("", TABLE, skip=1) == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("crip(24)", "did you mean 'crop'"),
        ("crop", "missing a required argument: 'size'"),
        ("crop(24, sise=3)", "unexpected keyword argument 'sise'"),
        ("crop(24.5)", "size must be int, not 24.5"),
        ("crop(True)", "size must be int"),
        ("crop(24", "cannot read"),
        ("crop(open('x'))", "cannot read"),
        ("import os", "cannot read"),
    ],
)
def test_says_what_is_wrong(text, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        language.parse(text, TABLE, skip=1)
