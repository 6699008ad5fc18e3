"""Signals that ask a run to stop; test_faults.py sends them to real runs."""

import os
import signal
import time

import pytest

from convnets.errors import Preempted
from convnets.runtime import distributed
from convnets.runtime.preemption import Preemption


@pytest.fixture(autouse=True)
def _without_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", distributed.SIGNALS, ids=lambda s: s.name)
def test_every_signal_stops_a_run_at_its_next_step_and_leaves_no_handler(number, capfd):
    before = signal.getsignal(number)
    with Preemption() as preemption:
        with preemption.steps():
            assert not preemption.should_stop(1)
            os.kill(os.getpid(), number)
            until = time.monotonic() + 10
            while not preemption.should_stop(2) and time.monotonic() < until:
                time.sleep(0.01)
            assert preemption.should_stop(2)
        with pytest.raises(Preempted):
            preemption.raise_if_preempted()
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.startswith(f"{number.name}: the step is finished and saved")


@pytest.mark.parametrize("number", distributed.SIGNALS, ids=lambda s: s.name)
def test_outside_the_steps_it_exits_with_75(number):
    with pytest.raises(SystemExit) as e, Preemption():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert e.value.code == Preempted.code


def test_ctrl_c_saves_and_a_second_one_interrupts(capfd):
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests in the background
    try:
        with Preemption() as preemption:
            with preemption.steps():
                signal.raise_signal(signal.SIGINT)
                assert preemption.should_stop(2)
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            with pytest.raises(Preempted):
                preemption.raise_if_preempted()
            with pytest.raises(KeyboardInterrupt):  # nothing to save
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert (
            capfd.readouterr().err == "interrupted: the step is finished and saved; Ctrl-C again ends the run at once\n"
        )
    finally:
        signal.signal(signal.SIGINT, before)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Preemption() as preemption, preemption.steps():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert not preemption.should_stop(1)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_group_passes_other_signals_on_as_the_one_that_jax_receives(monkeypatch):
    monkeypatch.setattr(distributed._Group, "count", 2)
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append("SIGTERM"))  # stands for JAX's own handler
    try:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            with Preemption():
                os.kill(os.getpid(), number)
                time.sleep(0.05)
        assert received == 3 * ["SIGTERM"]
    finally:
        signal.signal(signal.SIGTERM, before)
