"""Flags that are paths."""

import pytest
from absl import flags

from convnets.errors import UsageError
from convnets.modes import parsing


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("a,b,", ["a", "b"]),
        ("x,y", ["x,y"]),
        ("x,y,a", ["x,y", "a"]),
        ("a,x,y,b", ["a", "x,y", "b"]),
        ("x,y,x,y", ["x,y", "x,y"]),
        ("p,q,r", ["p,q,r"]),
        ("none,y", ["none", "y"]),
        ("c, d", ["c, d"]),
        ("[1] #2,50%", ["[1] #2", "50%"]),
        ("~/x,y", ["HOME/x,y"]),
        ("~/a,~/b", ["HOME/a", "HOME/b"]),
        ("z" * 300 + ",a", ["z" * 300, "a"]),
    ],
)
def test_a_comma_within_the_name_of_a_path_does_not_split_it(text, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a", "b", "x,y", "p,q,r", "c, d"):
        (tmp_path / name).mkdir()
    assert parsing.PathListParser().parse(text) == [name.replace("HOME", str(tmp_path)) for name in wanted]


@pytest.mark.parametrize("text", ["gs://bucket/run", "file:///tmp/a", "~nobody-has-this-name/a"])
@pytest.mark.parametrize("parser", [parsing.PathParser(), parsing.PathListParser()])
def test_a_path_that_cannot_be_is_a_wrong_value(parser, text):
    with pytest.raises(ValueError, match=r"is a URL|no such home folder"):
        parser.parse(text)


def test_a_working_directory_that_is_gone_is_said(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="the working directory does not exist any more"):
        parsing.expand_flagfiles(flags.FlagValues(), ["run.py"])


def test_a_path_is_kept_as_it_was_given():
    assert parsing.PathParser().parse("runs/a [1], #2") == "runs/a [1], #2"
