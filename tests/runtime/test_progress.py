"""The progress display: what it says on a terminal, how little in a log, and that the time left is the measured one."""

import io

import pytest
import rich.console

from convnets.runtime import progress
from convnets.runtime.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Returns a function that lets time pass."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard output a terminal, and returns what is written to it."""
    written, console = io.StringIO(), rich.console.Console
    make = lambda **options: console(file=written, force_terminal=True, width=100, **options)  # noqa: E731
    monkeypatch.setattr(rich.console, "Console", make)
    return written


def test_a_log_gets_few_lines_with_the_measured_time_left(clock, capsys):
    with Progress("step", 1000) as bar:
        for step in range(1, 1001):
            clock(100 if step == 1 else 2)  # compiling, which does not recur
            bar.update(step, "[red] loss 1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "step 1/1,000  [red] loss 1",
        "step 7/1,000  0:33:06 left  [red] loss 1",
        "step 13/1,000  0:32:54 left  [red] loss 1",
    ]
    assert 40 < len(lines) < 80  # of 35 minutes


def test_short_work_shows_nothing(clock, terminal, capsys):
    with Progress("testing", 10) as bar:
        for _ in range(10):
            clock(0.05)
            bar.advance()
    assert terminal.getvalue() == capsys.readouterr().out == ""


def test_a_test_within_training_is_a_second_bar(clock, terminal):
    with Progress("step", 4, show_after=0) as outer:
        outer.update(2, "epoch [1]")
        with Progress("testing [/red]", 0, "images") as inner:  # of an unknown number
            clock(2)
            inner.advance(7)
            Progress.shared.refresh()
            assert Progress.count == 2
        outer.say("error [bold]")
        outer.update(4, "epoch [2]")
    said = terminal.getvalue()
    for text in ("step 2/4", "epoch [1]", "testing [/red] 7 images", "error [bold]", "step 4/4"):
        assert text in said, said
    assert Progress.shared is None and Progress.count == 0


def test_tfds_shows_its_work_by_the_same_display(clock, capsys):
    from convnets.data.tfds_progress import Bar

    with Bar(total=0, desc="Dl Size...", unit=" MiB") as bar:
        bar.total += 300
        for _ in range(3):
            clock(20)
            bar.update(100)
            bar.refresh()
    assert capsys.readouterr().out.splitlines()[:2] == [
        "Dl Size: 100/300 MiB  0:00:40 left",
        "Dl Size: 200/300 MiB  0:00:20 left",
    ]
