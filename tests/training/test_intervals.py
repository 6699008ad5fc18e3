"""Tests, checkpoints and the end of a training come at the right steps, for any set size, batch size and interval."""

import math
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from convnets.training import intervals
from convnets.training.train_loop import train_loop
from convnets.training.trainer import Run

EPOCHS = st.one_of(
    st.decimals(min_value="0.0001", max_value=300, places=4).map(float),
    st.fractions(min_value=Fraction(1, 2000), max_value=300, max_denominator=2000).map(float),
    st.floats(1e-12, 300),
)


def schedule(examples, batch, epochs, every, log=100, save=1000):
    """Returns a run's intervals without its network or data."""
    run = object.__new__(Run)
    train = {"epochs": epochs, "eval_every_epochs": every, "log_every_steps": log}
    run.config = ConfigDict({"train": train, "checkpoint": {"every_steps": save}})
    total, every = intervals.count_steps(epochs, examples, batch), intervals.interval(every, examples, batch)
    run.components = SimpleNamespace(total=total, test_interval=every)
    return run


@settings(max_examples=300, deadline=None, database=None)
@given(examples=st.integers(1, 2_000_000), batch=st.integers(1, 4096), every=st.one_of(st.just(0.0), EPOCHS),
       start=st.integers(0, 10**7), log=st.integers(1, 2000), save=st.integers(1, 2000))  # fmt: skip
@example(examples=1000, batch=15, every=0.04, start=8, log=100, save=1000)  # was an endless loop
@example(examples=1000, batch=30, every=0.01, start=1, log=100, save=1000)  # was a crash
@example(examples=50_000, batch=120, every=0.02, start=8, log=100, save=1000)
@example(examples=60_000, batch=144, every=0.02, start=8, log=100, save=1000)
def test_pauses_rise_and_miss_nothing(examples, batch, every, start, log, save):
    """Every pause comes later than the one before, has a reason, and no due step lies between two pauses."""
    run, step = schedule(examples, batch, 10**6, every, log, save), start
    run.components.total = start + 10**9
    for _ in range(5):
        pause = run.next_event(step)
        due = [n for n in range(step + 1, pause + 1) if n % log == 0 or run._saves(n) or run._evaluates(n)]
        assert due == [pause]
        step = pause


@settings(max_examples=300, deadline=None, database=None)
@given(examples=st.integers(1, 2_000_000), batch=st.integers(1, 4096), every=EPOCHS, number=st.integers(1, 1000))
def test_test_number_k_is_in_the_first_step_that_has_shown_k_intervals(examples, batch, every, number):
    run = schedule(examples, batch, 10**6, every)
    exact = number * max(1, Fraction(every).limit_denominator(10**7) * Fraction(examples, batch))
    step = math.ceil(exact)
    run.components.total = step + 10**9
    assert run._evaluates(step) and run.next_event(step - 1) == step


@settings(deadline=None, database=None)
@given(steps=st.integers(1, 100_000), batch=st.integers(1, 4096), examples=st.integers(1, 2_000_000))
def test_a_number_of_steps_in_epochs_is_that_number(steps, batch, examples):
    assert intervals.count_steps(min(steps * batch / examples, 1e5), examples, batch) <= steps
    if steps * batch / examples <= 300:
        assert intervals.count_steps(steps * batch / examples, examples, batch) == steps


@pytest.mark.parametrize("examples, batch, epochs, steps", [(1000, 15, 0.3, 20), (50_000, 128, 1, 391), (1000, 10, 0.29, 29),
                                                            (60_000, 128, 20, 9375), (5, 5, 1e-9, 1)])  # fmt: skip
def test_steps_by_hand(examples, batch, epochs, steps):
    assert intervals.count_steps(epochs, examples, batch) == steps


@pytest.mark.parametrize("examples, batch, every", [(1000, 15, 0.04), (1000, 30, 0.01), (60_000, 144, 0.01)])
def test_the_loop_takes_every_step_once(examples, batch, every):
    """The loop itself with these pauses; a seed's run and several seeds as one program share both."""
    run, events = schedule(examples, batch, 500 * batch / examples, every), []
    step = lambda state, batch, resident_arrays: (state + 1, {"count": 1})  # noqa: E731
    visit = lambda step, state, sums: (events.append((step, len(sums))), state)[1]  # noqa: E731
    end = train_loop({1: step}, 0, iter([{}] * 1000), {}, start=0, stop=run.components.total, next_event=run.next_event, on_event=visit,
              should_stop=lambda step: False, on_dispatch=lambda step, count: None)  # fmt: skip
    assert end == run.components.total == 500 and sum(n for _, n in events) == 500 and min(n for _, n in events) > 0
    assert [s for s, _ in events] == sorted({s for s, _ in events}) and events[-1][0] == 500
