import ast
from typing import Literal

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
        ("crop({[]: 1})", "cannot read"),
        ("crop(open('x'))", "cannot read"),
        ("import os", "cannot read"),
    ],
)
def test_says_what_is_wrong(text, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        op_string.parse(text, TABLE, skip=1)


def test_a_name_that_is_given_twice_is_refused():
    with pytest.raises(UsageError, match=r"operation 'crop\(size=3, size=4\)': size is given twice"):
        op_string.parse("crop(size=3, size=4)", TABLE, skip=1)


def every_kind(
    image, count: op_string.Count = 1, edge: op_string.Natural = 0, bias: Literal["map", "none"] = "map",
    area: tuple[float, float] = (0.1, 1.0), mean: tuple[float, ...] = (), sides: int | tuple[int, int] = 1,
    flip: bool = True, average: str = "score", std: float = 1.0,
) -> None:  # fmt: skip
    """Acts as an operation whose signature says which values are right."""


@pytest.mark.parametrize(
    "given", ["count=1", "edge=0", "bias='none'", "area=(1, 2)", "area=[0.1, 0.2]", "mean=(0.5,)", "mean=(1, 2, 3)",
              "sides=4", "sides=(4, 5)", "flip=False", "average='x'", "std=-1"],
)  # fmt: skip
def test_values_that_the_signature_allows(given):
    (call,) = op_string.parse(f"f({given})", {"f": every_kind}, skip=1)
    name, value = given.split("=")
    assert call.kwargs[name] == ast.literal_eval(value)


@pytest.mark.parametrize(
    "given, message",
    [("count=0", "count must be int of at least 1, not 0"), ("count=1.5", "count must be int of at least 1, not 1.5"),
     ("edge=-3", "edge must be int of at least 0, not -3"), ("bias='maps'", "bias must be 'map' or 'none', not 'maps'"),
     ("bias=[3]", "bias must be 'map' or 'none', not [3]"), ("area=0.5", "area must be (float, float), not 0.5"),
     ("area=(0.1,)", "area must be (float, float), not (0.1,)"), ("area=(0.1, 'a')", "area must be (float, float)"),
     ("mean=0.5", "mean must be (float, ...), not 0.5"), ("mean=('a',)", "mean must be (float, ...), not ('a',)"),
     ("sides=(1, 2, 3)", "sides must be int or (int, int), not (1, 2, 3)"), ("flip='False'", "flip must be bool, not 'False'"),
     ("flip=0", "flip must be bool, not 0"), ("average=[3]", "average must be str, not [3]"),
     ("std=True", "std must be float, not True")],
)  # fmt: skip
def test_values_that_the_signature_does_not_allow(given, message):
    with pytest.raises(UsageError) as e:
        op_string.parse(f"f({given})", {"f": every_kind}, skip=1)
    assert str(e.value).startswith(f"operation 'f({given})': {message}")


def test_a_signature_is_shown_with_plain_types():
    with pytest.raises(
        UsageError, match=r"; it takes f\(count: int = 1, edge: int = 0, bias: Literal\['map', 'none'\].*\)$"
    ):
        op_string.parse("f(a=1)", {"f": every_kind}, skip=1)


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
