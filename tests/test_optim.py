import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import optim
from convnets.errors import UsageError


@pytest.mark.parametrize(
    "text, factors",
    [
        ("constant", {0: 1, 50: 1}),
        ("steps(0.1, 2, 4)", {0: 1, 1.99: 1, 2: 0.1, 3.9: 0.1, 4: 0.01}),
        ("table((2, 0.4), (5, 0.2), (8, 0.1), (12, 0.02))", {0: 1, 2: 0.4, 5: 0.2, 8: 0.1, 11.9: 0.1, 12: 0.02}),
        ("exponential(0.96, 8)", {7.9: 1, 8: 0.96, 16: 0.96**2}),
        ("linear(10)", {0: 1, 5: 0.5, 10: 0, 12: 0}),
        ("cosine(10)", {0: 1, 5: 0.5, 10: 0}),
        ("warmup(4)|steps(0.1, 8)", {0: 0, 2: 0.5, 4: 1, 8: 0.1}),
    ],
)
def test_schedules(text, factors):
    rate = optim.schedule(text, 0.5, steps_per_epoch=100)
    for epoch, factor in factors.items():
        assert float(rate(round(epoch * 100))) == pytest.approx(0.5 * factor, abs=1e-7)
    assert rate(np.arange(7)).shape == (7,)


@pytest.mark.parametrize("text", ["step(0.1, 3)", "table(3)", "linear", "linear(1, 2)", "steps(0.1, 'a')"])
def test_wrong_schedules_are_refused(text):
    with pytest.raises(UsageError):
        optim.factor(text)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_the_papers_across_a_change_of_rate(nesterov):
    """AlexNet section 5: v <- m v - lr d w - lr g; w <- w + v, the rate inside the velocity."""
    rates, m, d = [0.1, 0.1, 0.01, 0.01], 0.9, 0.05
    rate = optim.schedule("steps(0.1, 2)", 0.1, 1.0)
    optimizer = optim.make(0.1, rate, m, nesterov, d, "*/kernel", "")
    params = {"layer": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])}}
    state = optimizer.init(params)
    w, b, vw, vb = np.array([1.0, -2.0]), np.array([0.5]), 0.0, 0.0
    for i, lr in enumerate(rates):
        gw, gb = np.sin(w + i), np.cos(b + i)
        grads = {
            "layer": {"kernel": jnp.sin(params["layer"]["kernel"] + i), "bias": jnp.cos(params["layer"]["bias"] + i)}
        }
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        sw, sb = -lr * (gw + d * w), -lr * gb  # the bias is not decayed
        vw, vb = m * vw + sw, m * vb + sb
        w, b = (w + m * vw + sw, b + m * vb + sb) if nesterov else (w + vw, b + vb)
        np.testing.assert_allclose(params["layer"]["kernel"], w, rtol=1e-5)
        np.testing.assert_allclose(params["layer"]["bias"], b, rtol=1e-5)


def test_decay_on_all_reaches_biases():
    optimizer = optim.make(1.0, optim.schedule("constant", 1.0, 1.0), 0.0, False, 0.1, "*", "")
    params = {"layer": {"bias": jnp.array([2.0])}}
    updates, _ = optimizer.update({"layer": {"bias": jnp.array([0.0])}}, optimizer.init(params), params)
    assert float(updates["layer"]["bias"][0]) == pytest.approx(-0.2)


def test_multipliers_the_last_rule_that_fits_counts():
    tree = {"conv1": {"kernel": 0, "bias": 0}, "fc10": {"kernel": 0, "bias": 0}}
    got = optim.multipliers("*/kernel, fc10/kernel=250, */bias=0.5")(tree)
    assert got == {"conv1": {"kernel": 1.0, "bias": 0.5}, "fc10": {"kernel": 250.0, "bias": 0.5}}
    with pytest.raises(UsageError, match="pattern=number"):
        optim.multipliers("fc10/kernel=much")


def test_rates_are_factors_of_the_learning_rate():
    optimizer = optim.make(0.1, optim.schedule("constant", 0.1, 1.0), 0.0, False, 0.0, "", "*, */bias=2")
    params = {"layer": {"kernel": jnp.array([1.0]), "bias": jnp.array([1.0])}}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert float(updates["layer"]["kernel"][0]) == pytest.approx(-0.1)
    assert float(updates["layer"]["bias"][0]) == pytest.approx(-0.2)
