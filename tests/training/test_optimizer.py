import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets.errors import UsageError
from convnets.training.optimizer import (
    Recipe,
    list_mismatches,
    make_recipe,
    parameter_multipliers,
    parse_average,
)
from convnets.training.schedules import Errors, parse_feedback


def make(*, steps_per_epoch=1.0, batch_size=128, **changes) -> Recipe:
    """Returns plain gradient descent with learning rate 1, modified by `changes`."""
    plain = {"lr": 1.0, "lr_batch": 0, "schedule": "constant", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0,
             "decay_multipliers": "*/kernel", "lr_multipliers": "", "damping": 0.0, "max_norm": 0.0, "average": ""}  # fmt: skip
    return make_recipe(**{**plain, **changes}, steps_per_epoch=steps_per_epoch, batch_size=batch_size)


@pytest.mark.parametrize(
    "text, factors",
    [
        ("constant", {0: 1, 50: 1}),
        ("steps(0.1, 2, 4)", {0: 1, 1.99: 1, 2: 0.1, 3.9: 0.1, 4: 0.01}),
        ("table((2, 0.4), (5, 0.2), (8, 0.1), (12, 0.02))", {0: 1, 2: 0.4, 5: 0.2, 8: 0.1, 11.9: 0.1, 12: 0.02}),
        ("exponential(0.96, 8)", {7.9: 1, 8: 0.96, 16: 0.96**2}),
        ("linear(10)", {0: 1, 5: 0.5, 10: 0, 12: 0}),
        ("poly(60, 0.5)", {0: 1, 45: 0.5, 60: 0, 70: 0}),  # Caffe: base_lr (1 - iter/max_iter) ^ power
        ("cosine(10)", {0: 1, 5: 0.5, 10: 0}),
        ("warmup(4)|steps(0.1, 8)", {0: 0, 2: 0.5, 4: 1, 8: 0.1}),
        ("until_error(0.1, 80)|steps(0.1, 8)|plateau(0.1, 3, 3)", {0: 1, 8: 0.1}),  # feedback ignores the epoch
        ("plateau(0.1, 3, 3)", {0: 1, 8: 1}),
    ],
)
def test_schedules(text, factors):
    rate = make(lr=0.5, schedule=text, steps_per_epoch=100).rate
    for epoch, factor in factors.items():
        assert float(rate(round(epoch * 100))) == pytest.approx(0.5 * factor, abs=1e-7)
    assert rate(np.arange(7)).shape == (7,)


def test_a_rate_changes_in_the_step_of_its_epoch_whatever_the_batch():
    """Not a step later where epochs of steps are no exact binary fractions, and not a step earlier."""
    texts = itertools.cycle(("steps(0.1, {})", "table(({}, 0.1))", "exponential(0.1, {})"))
    for examples, batch, epoch in itertools.product(
        (10_000, 50_000, 60_000), (30, 96, 120, 128), (0.3, 3, 30, 82, 123.5)
    ):
        first, text = math.ceil(Fraction(str(epoch)) * examples / batch), next(texts).format(epoch)
        rates = jax.jit(make(schedule=text, steps_per_epoch=examples / batch).rate)(np.array([first - 1, first]))
        assert rates.tolist() == pytest.approx([1.0, 0.1]), (examples, batch, text)


@pytest.mark.parametrize("text", ["step(0.1, 3)", "table(3)", "linear", "linear(1, 2)", "steps(0.1, 'a')",
                                  "plateau(0.1)", "plateau(0.1, 0, 3)", "until_error(0.1, 80, 0)", "warmup('a')"])  # fmt: skip
def test_wrong_schedules_are_refused(text):
    with pytest.raises(UsageError):
        make(schedule=text)


@pytest.mark.parametrize("text, message", [
    ("warmup(0)", "warmup: end is 0, it must be above 0"),
    ("warmup(-1)|steps(0.1, 3)", "warmup: end is -1, it must be above 0"),
    ("cosine(0)", "cosine: end is 0, it must be above 0"),
    ("steps(0.1, 3)|linear(0.0)", "linear: end is 0, it must be above 0"),
    ("linear(1e999)", "linear: end is inf, it must be at most 3.4e+38, the largest float32"),
    ("poly(0, 2)", "poly: end is 0, it must be above 0"),
    ("poly(5, -1)", "poly: power is -1, it must be 0 or more"),
    ("exponential(0.9, 0)", "exponential: every is 0, it must be above 0"),
    ("exponential(0, 3)", "exponential: factor is 0, it must be above 0"),
    ("steps(-0.1, 3)", "steps: factor is -0.1, it must be 0 or more"),
    ("table((1, 1e39))", "table: factor is 1e+39, it must be at most 3.4e+38, the largest float32"),
    ("table((1e39, 0.1))", "table: epoch is 1e+39, it must be at most 3.4e+38, the largest float32"),
    ("steps(0.1, -3, 4)", "steps: epoch is -3, it must be 0 or more"),
    ("table((3, -1))", "table: factor is -1, it must be 0 or more"),
    ("plateau(0, 3, 3)", "plateau: factor is 0, it must be above 0"),
    ("plateau(0.1, 3, -1)", "plateau: times is -1, it must be 0 or more"),
    ("until_error(0, 80)", "until_error: factor is 0, it must be above 0"),
])  # fmt: skip
def test_a_schedule_that_would_divide_by_zero_or_turn_the_rate_round_is_refused(text, message):
    with pytest.raises(UsageError) as caught:
        make(schedule=text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text, epochs, wanted", [
    ("cosine(10)", 20, "cosine(10) of optim.schedule is 0 from epoch 10 on, train.epochs is 20: the rest of the training has a rate of 0"),
    ("warmup(1)|linear(end=10)", 12, "linear(end=10) of optim.schedule is 0 from epoch 10 on"),
    ("poly(60, 0.5)", 61, "the rest of the training has a rate of 0"),
    ("table((2, 0.4), (5, 0))", 8, "table((2, 0.4), (5, 0)) of optim.schedule is 0 from epoch 5 on"),
    ("steps(0, 5)", 8, "steps(0, 5) of optim.schedule is 0 from epoch 5 on"),
    ("cosine(10)", 5, "cosine(10) of optim.schedule changes the rate until epoch 10, train.epochs is 5: the training ends before the schedule"),
    ("steps(0.1, 30, 60)", 50, "steps(0.1, 30, 60) of optim.schedule changes the rate until epoch 60"),
    ("warmup(5)", 3, "warmup(5) of optim.schedule changes the rate until epoch 5"),
    ("exponential(0.96, 8)", 5, "exponential(0.96, 8) of optim.schedule changes the rate until epoch 8"),
])  # fmt: skip
def test_a_schedule_of_another_length_than_the_training_is_one_line(text, epochs, wanted):
    (line,) = list_mismatches(text, "", epochs, 0.1)
    assert wanted in line


@pytest.mark.parametrize("text, epochs", [("cosine(10)", 10), ("linear(10)", 10.05), ("cosine(10)", 9.95), ("constant", 3),
    ("steps(0.1, 30, 60)", 90), ("warmup(5)|steps(0.1, 30)", 40), ("plateau(0.1, 3, 3)|until_error(0.1, 80)", 1),
    ("exponential(0.9, 1)", 20), ("steps(0.1)|table()", 1), ("", 1)])  # fmt: skip
def test_a_schedule_of_the_trainings_length_is_no_line(text, epochs):
    assert list_mismatches(text, "", epochs, 0.1) == []


@pytest.mark.parametrize("text", ["ema(1)", "ema(-0.1)", "ema(1e999)", "polyak(-1)", "polyak(1e999)"])
def test_an_average_that_weighs_wrongly_is_refused(text):
    with pytest.raises(UsageError, match="it must be"):
        parse_average(text, 10.0)


def test_an_average_that_begins_after_the_training_is_one_line():
    assert list_mismatches("constant", "polyak(5)", 6, 0.1) == list_mismatches("constant", "ema(0.9)", 6, 0.1) == []
    assert list_mismatches("constant", "polyak(200)", 100, 0.1) == [
        "polyak(200) of optim.average begins at epoch 200, train.epochs is 100: nothing is averaged"
    ]


def test_the_rate_drops_whenever_the_validation_error_stops_improving():
    """By hand, with patience 2 and at most three drops; improving means falling below the best error so far."""
    react = parse_feedback("plateau(0.1, 2, 3)")
    tests = [60, 50, 50, 51, 49, 48, 48.5, 48.2, 48.1, 48, 47, 47, 47, 47, 47, 47, 47]
    drops = [0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    assert [react(Errors([], tests[: n + 1])) for n in range(len(tests))] == pytest.approx([0.1**d for d in drops])
    assert react(Errors()) == 1


def test_a_tenth_of_the_rate_until_the_training_error_is_below_80():
    """He et al. 2015, section 4.2. Once the error is below 80, the full rate stays on."""
    react = parse_feedback("until_error(0.1, 80, 4)")
    training = [90, 70, 70, 90, 80, 80, 79, 90, 99, 99]  # the mean of the first four is 80, not below it
    assert [react(Errors(training[:n], [])) for n in range(11)] == [0.1] * 5 + [1] * 6
    assert parse_feedback("until_error(0.1, 80)")(Errors([10.0] * 99)) == 0.1
    both = parse_feedback("until_error(0.1, 80, 1)|constant|plateau(0.5, 1, 1)")
    assert both(Errors([90], [50, 50])) == pytest.approx(0.05)
    assert parse_feedback("steps(0.1, 30)|cosine(3)") is None


def test_what_feedback_finds_is_a_factor_of_the_rate_inside_the_velocity():
    """The rule is v <- m v - s lr (g + d w), where s is the feedback scale of each step."""
    optimizer = make(lr=0.1, momentum=0.9, weight_decay=0.05).optimizer
    params = {"fc": {"kernel": jnp.array([[1.0]])}}
    state, w, v = optimizer.init(params), 1.0, 0.0
    for scale in (1.0, 0.1, 0.1):
        updates, state = optimizer.update({"fc": {"kernel": jnp.array([[2.0]])}}, state, params, scale=scale)
        params = jax.tree.map(jnp.add, params, updates)
        v = 0.9 * v - scale * 0.1 * (2 + 0.05 * w)
        w += v
        assert float(params["fc"]["kernel"][0, 0]) == pytest.approx(w, rel=1e-6)


def test_large_batches_scale_the_rate_linearly():
    assert float(make(lr=0.1, lr_batch=256, batch_size=1024).rate(0)) == pytest.approx(0.4)
    assert float(make(lr=0.1, lr_batch=256, batch_size=64).rate(0)) == pytest.approx(0.025)
    assert float(make(lr=0.1, batch_size=1024).rate(0)) == pytest.approx(0.1)


def test_max_norm_shrinks_what_comes_into_a_unit():
    """Compares each unit's weights with NumPy; biases, weights below the limit and the velocity are unchanged."""
    rng = np.random.default_rng(0)
    shapes = {"fc": (5, 3), "conv": (3, 3, 2, 4), "local": (2, 2, 3, 3, 2, 4)}
    draw = lambda shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    params = {k: {"kernel": draw(s), "bias": draw(s[-1])} for k, s in shapes.items()}
    grads = jax.tree.map(lambda p: draw(p.shape), params)
    optimizer, free = make(max_norm=5.5).optimizer, make().optimizer
    new, plain = (
        jax.tree.map(np.add, params, o.update(grads, o.init(params), params)[0]) for o in (optimizer, free)
    )  # fmt: skip
    shrunk = 0
    for name, shape in shapes.items():
        np.testing.assert_array_equal(new[name]["bias"], plain[name]["bias"])
        if name == "local":
            units = [
                (y, x, slice(None), slice(None), slice(None), f) for y in range(2) for x in range(2) for f in range(4)
            ]
        else:
            units = [(..., f) for f in range(shape[-1])]
        for unit in units:
            weights, norm = plain[name]["kernel"][unit], np.linalg.norm(plain[name]["kernel"][unit])
            shrunk += norm > 5.5
            np.testing.assert_allclose(new[name]["kernel"][unit], weights * min(1, 5.5 / norm), rtol=1e-5, atol=1e-6)
    assert 5 < shrunk < 23


def test_averages_against_numpy():
    """polyak(start) is the mean since epoch `start`, and the parameters before it; ema(d) begins as a plain mean."""
    values = np.random.default_rng(0).standard_normal(40)
    for text, expected in [
        ("polyak(1.5)", [*values[:15], *(values[15 : n + 1].mean() for n in range(15, 40))]),
        ("polyak(0)", [values[: n + 1].mean() for n in range(40)]),
        ("ema(0.9)", None),
    ]:
        if expected is None:
            expected = [values[: n + 1].mean() for n in range(10)]
            for value in values[10:]:
                expected.append(0.9 * expected[-1] + 0.1 * value)
        weight, average, got = parse_average(text, steps_per_epoch=10.0), 123.0, []
        for n, value in enumerate(values, 1):
            average += float(weight(jnp.int32(n))) * (value - average)
            got.append(average)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6, err_msg=text)
    assert parse_average("", 10.0) is None
    for wrong in ("ema", "mean(3)", "ema(0.9)|polyak(1)"):
        with pytest.raises(UsageError):
            parse_average(wrong, 10.0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_the_papers_across_a_change_of_rate(nesterov):
    """AlexNet, section 5: v <- m v - lr d w - lr g; w <- w + v. The learning rate is inside the velocity."""
    rates, m, d = [0.1, 0.1, 0.01, 0.01], 0.9, 0.05
    optimizer = make(lr=0.1, schedule="steps(0.1, 2)", momentum=m, nesterov=nesterov, weight_decay=d).optimizer
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
        sw, sb = -lr * (gw + d * w), -lr * gb  # no weight decay on the bias
        vw, vb = m * vw + sw, m * vb + sb
        w, b = (w + m * vw + sw, b + m * vb + sb) if nesterov else (w + vw, b + vb)
        np.testing.assert_allclose(params["layer"]["kernel"], w, rtol=1e-5)
        np.testing.assert_allclose(params["layer"]["bias"], b, rtol=1e-5)


def test_decay_on_all_reaches_biases():
    optimizer = make(weight_decay=0.1, decay_multipliers="*").optimizer
    params = {"layer": {"bias": jnp.array([2.0])}}
    updates, _ = optimizer.update({"layer": {"bias": jnp.array([0.0])}}, optimizer.init(params), params)
    assert float(updates["layer"]["bias"][0]) == pytest.approx(-0.2)


def test_multipliers_the_last_rule_that_fits_counts():
    tree = {"conv1": {"kernel": 0, "bias": 0}, "fc10": {"kernel": 0, "bias": 0}}
    got = parameter_multipliers("*/kernel, fc10/kernel=250, */bias=0.5")(tree)
    assert got == {"conv1": {"kernel": 1.0, "bias": 0.5}, "fc10": {"kernel": 250.0, "bias": 0.5}}
    with pytest.raises(UsageError, match="pattern=number"):
        parameter_multipliers("fc10/kernel=much")
    with pytest.raises(UsageError, match="'fc1/kernel' fits no parameter; the layers are conv1, fc10"):
        parameter_multipliers("*/kernel, fc1/kernel=2")(tree)


def test_rates_are_factors_of_the_learning_rate():
    optimizer = make(lr=0.1, lr_multipliers="*, */bias=2").optimizer
    params = {"layer": {"kernel": jnp.array([1.0]), "bias": jnp.array([1.0])}}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert float(updates["layer"]["kernel"][0]) == pytest.approx(-0.1)
    assert float(updates["layer"]["bias"][0]) == pytest.approx(-0.2)


def test_the_mean_of_parameters_begins_at_its_epoch():
    start = 100  # 0.3 epochs of 333.33... steps, in floats 99.99999999999999
    weight = parse_average("polyak(0.3)", 10_000 / 30)
    assert [float(weight(np.int32(start + n))) for n in (0, 1, 2)] == [1, 1, 0.5]


def test_max_norm_leaves_layers_alone_that_do_not_learn():
    params = {"conv1": {"kernel": jnp.full((3, 3, 1, 2), 5.0)}, "out": {"kernel": jnp.full((4, 2), 5.0)}}
    optimizer = make(max_norm=1.0, lr_multipliers="out/*").optimizer
    updates = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)[0]
    assert not updates["conv1"]["kernel"].any() and updates["out"]["kernel"].all()


@pytest.mark.parametrize("text", ["", " ", ",", "*=nan", "*=inf", "*=-1"])
def test_multipliers_that_would_stop_the_learning_are_refused(text):
    with pytest.raises(UsageError, match=r"names no parameter|must be finite"):
        parameter_multipliers(text)


def test_max_norm_refuses_a_connection_table():
    params = {"C3": {"kernel": np.ones((5, 5, 60), np.float32)}}
    optimizer = make(max_norm=1.0).optimizer
    with pytest.raises(UsageError, match="the kernel of a connection table"):
        optimizer.update(params, optimizer.init(params), params)
