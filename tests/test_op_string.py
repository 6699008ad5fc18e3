import pytest

from convnets import op_string
from convnets.augment import pipeline
from convnets.config import compare_with_base, list_changes, load_config, rename_config
from convnets.errors import UsageError
from tests.conftest import ROOT


def crop(image, size: int, fraction: float = 0.5):
    """Acts as an operation with a required and an optional argument."""


def scales(image, *sizes: int, average: str = "softmax", given):
    """Acts as an operation with variadic arguments, an option, and `given`, which only the program supplies."""
    return image, sizes, average, given


TABLE = {"crop": crop, "scales": scales}


def test_reads_names_arguments_and_defaults():
    first, second = op_string.parse("crop(24) | crop(size=3, fraction=1)", TABLE, skip=1)
    assert first.kwargs == {"size": 24, "fraction": 0.5}
    assert second.kwargs == {"size": 3, "fraction": 1}
    assert op_string.parse("", TABLE, skip=1) == []


def test_an_option_behind_any_number_of_arguments():
    (call,) = op_string.parse("scales(3, 4, average='score')", TABLE, skip=1)
    assert call._replace(kwargs={**call.kwargs, "given": 7})("x") == ("x", (3, 4), "score", 7)
    with pytest.raises(UsageError, match="unexpected keyword argument 'given'"):
        op_string.parse("scales(3, given=7)", TABLE, skip=1)


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
        op_string.parse(text, TABLE, skip=1)


@pytest.mark.parametrize("text", ["f", "f(2)", "f(1, b='x')", "g(1, 2)", "g(c=3)", "g(1, c=3)|f(2, 'y')|f"])
def test_what_is_written_is_parsed_to_the_same_calls(text):
    def f(first, a: int = 1, b: str = ""): ...

    def g(first, *of: int, c: int = 0): ...

    table = {"f": f, "g": g}
    calls = op_string.parse(text, table, skip=1)
    assert op_string.parse(op_string.write(calls), table, skip=1) == calls
    assert op_string.write(calls) == text.replace("f(1, b", "f(b")


def test_a_former_name_is_told_by_its_new_one():
    with pytest.raises(UsageError, match=r"'square' in 'decode.square.8.' is now called 'resize_center_crop'"):
        pipeline.parse("decode|square(8)")
    assert op_string.rename("decode|square(8)| whole(32)|mirror|standardize") == (
        "decode|resize_center_crop(8)| crop_to_multiple(32)|with_flip|standardize"
    )
    _, problems = load_config(ROOT / "configs/lenet.py:mnist", ["--config.optim.rates=*", "--config.optim.decay=*"])
    assert problems == ["config key 'optim.rates' is now 'optim.lr_multipliers'",
                        "config key 'optim.decay' is now 'optim.decay_multipliers'"]  # fmt: skip
    config = load_config(ROOT / "configs/lenet.py:mnist", [])[0]
    with config.unlocked():
        config.optim.rates = "*"  # as a config of one's own may still have it
    assert compare_with_base(config) == ["config key 'optim.rates' is now 'optim.lr_multipliers'"]
    old = {"loss": "map", "optim": {"rates": "*", "lr": 1.0}, "data": {"test_ops": "decode|five(8)"}}
    optim = {"lr_multipliers": "*", "lr": 1.0, "damping": 0.0}  # the last of them came later
    new = {"loss": "rbf_map", "optim": optim, "data": {"test_ops": "decode|five_crop(8)"}}
    assert rename_config(old) == rename_config(new) == new and list_changes(old, new) == []


def test_data_may_move():
    old, new = ({"data": {"data_dir": place, "name": name}} for place, name in (("here", "a"), ("", "b")))
    assert list_changes(old, new) == ["data.name: a -> b"]
