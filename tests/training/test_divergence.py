"""Divergence is reported with its step and never saved; a stalled start prints one hint."""

import math

import numpy as np
import pytest

from convnets.errors import DivergedError
from convnets.training import divergence
from tests.training.test_checkpoint import make


def rows(*losses):
    return [{"step": 11 + i, "loss": loss} for i, loss in enumerate(losses)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_named_with_the_steps_and_the_last_good_checkpoint(bad):
    divergence.check_losses(rows(1.0, 2.0, 1e30), lambda: [])
    with pytest.raises(DivergedError, match=r"at step 12 \(looked at steps 11 to 13\); no checkpoint was written"):
        divergence.check_losses(rows(1.0, bad, 1.0), lambda: [])
    with pytest.raises(DivergedError, match="the last good checkpoint is step 10"):
        divergence.check_losses(rows(bad), lambda: [5, 10])


@pytest.mark.parametrize("part", ["params", "opt_state"])
def test_a_state_that_is_not_finite_is_not_saved(part):
    state = make()
    divergence.check_state(state, lambda: [])
    leaf = state.params["H1"]["kernel"] if part == "params" else state.opt_state[0].trace["H1"]["kernel"]
    leaf[2, 2, 0, 1] = np.inf
    with pytest.raises(DivergedError, match=rf"{part}.*H1/kernel is not finite after step 3, whose loss still was"):
        divergence.check_state(state, lambda: [1])


def test_a_loss_that_stays_at_guessing_is_said_once():
    def said(before, step, loss, kind="softmax", epoch=30.0):
        return divergence.hint_at_stall(before, step, epoch, loss, kind, 10)

    assert "hint: after 150 steps the loss is 2.310, the loss of guessing one of 10 classes" in said(149, 150, 2.31)
    assert not said(140, 149, 2.31) and not said(150, 160, 2.31)  # too early; already printed
    assert said(100, 200, 2.29) and not said(100, 200, 2.27) and not said(100, 200, 2.33)
    assert not said(149, 150, 2.31, kind="mse")
    assert not divergence.hint_at_stall(149, 150, 30.0, 0.0, "softmax", 1)  # one class is never guessed wrong
    assert said(1999, 2000, 2.3, epoch=5004.5) and not said(149, 150, 2.3, epoch=5004.5)
