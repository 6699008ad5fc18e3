import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from convnets import models
from convnets.errors import UsageError
from convnets.layers import cpu_convolution, cpu_kernels
from convnets.training.curvature import EXAMPLES, check_curvature, curvature_of, scale_by_curvature, second_derivatives
from convnets.training.optimizer import make_recipe
from convnets.training.state import check_network
from tests.conftest import filled
from tests.training.test_optimizer import make


def network(layers: str, side: int = 6):
    """Returns a network without softmax, random variables of it, and five images."""
    model = models.create("stack", 3, "float32", layers=layers, side=side, channels=2)
    images = np.random.default_rng(1).standard_normal((5, side, side, 2), np.float32)
    params = filled(jax.eval_shape(model.init, jax.random.key(0), images)["params"])
    return model, params, jnp.asarray(images)


def measure(layers: str, side: int = 6):
    model, params, images = network(layers, side)
    return jax.device_get(curvature_of(model, {}, images)(params))


def test_it_is_the_papers_recursion():
    """LeCun et al. 1998, appendix C, by hand: two fully connected layers of squashed units."""
    x, a, b = (
        np.random.default_rng(n).standard_normal(s, np.float32) for n, s in ((0, (4, 3)), (1, (3, 5)), (2, (5, 2)))
    )
    outputs = lambda p: jnp.tanh(jnp.tanh(x @ p["a"] + p["bias"]) @ p["b"])  # noqa: E731
    found = second_derivatives(outputs, {"a": jnp.asarray(a), "b": jnp.asarray(b), "bias": jnp.zeros(5)})
    hidden = np.tanh(x @ a)
    after = (1 - np.tanh(hidden @ b) ** 2) ** 2 * 2  # d2E/da2 of the outputs, E = sum (x - t)^2
    before = (1 - hidden**2) ** 2 * (after @ (b**2).T)
    for name, wanted in {"b": (hidden**2).T @ after, "a": (x**2).T @ before, "bias": before.sum(0)}.items():
        np.testing.assert_allclose(found[name], wanted / 4, rtol=1e-4)


def test_seeds_that_are_trained_together_measure_no_more_often_than_one():
    """A branch that depends on a seed's own state would become a selection, which computes both sides in every step."""
    optimizer, params = scale_by_curvature(0.02, 600, 100), {"k": jnp.ones((3, 2))}
    measured = []

    def curvature(own):
        jax.debug.callback(lambda *_: measured.append(1), own["k"])
        return own

    update = lambda state, own: optimizer.update(own, state, own, curvature=curvature)  # noqa: E731
    state, together = jax.vmap(optimizer.init)(params), jax.jit(jax.vmap(update))
    for n in range(20):
        updates, state = together(state, params)
        expected = 0 if n < 4 else 1 / 1.02
        np.testing.assert_allclose(updates["k"], np.full((3, 2), expected), rtol=1e-5)
    jax.effects_barrier()
    assert len(measured) == 3 * EXAMPLES // 100


def test_of_one_layer_it_is_the_diagonal_of_the_gauss_newton_matrix():
    """There the paper drops no products: no weight is shared, and no two paths lead to an output."""
    model, params, images = network("out")
    jacobian = jax.jacobian(lambda p: model.apply({"params": p}, images))(params)
    found = curvature_of(model, {}, images)(params)
    exact = jax.tree.map(lambda j: 2 / len(images) * jnp.sum(jnp.square(j), (0, 1)), jacobian)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, exact)


@pytest.mark.parametrize("rest", ["|out", "|tanh|fc(4)|out", "|tanh|average(2)|out"])
def test_that_of_a_shared_weight_is_the_sum_over_its_connections(rest):
    """A locally connected layer with the same kernel at all positions has them one by one."""
    model, params, images = network("conv(4, 3)" + rest)
    local = models.create("stack", 3, "float32", layers="local(4, 3)" + rest, side=6, channels=2)
    first = next(iter(params))
    shape = jax.eval_shape(local.init, jax.random.key(0), images)["params"]
    shared = params[first]
    apart = {name: jnp.broadcast_to(shared[name], shape["local1"][name].shape) for name in ("kernel", "bias")}
    own = {**{k: v for k, v in params.items() if k != first}, "local1": apart}
    one, each = curvature_of(model, {}, images)(params)[first], curvature_of(local, {}, images)(own)["local1"]
    np.testing.assert_allclose(one["kernel"], jnp.sum(each["kernel"], (0, 1)), rtol=1e-4)
    np.testing.assert_allclose(one["bias"], jnp.sum(each["bias"], (0, 1)), rtol=1e-4)


@pytest.mark.parametrize("name", ["lenet1", "lenet4", "lenet5"])
def test_the_fast_forms_of_layers_have_that_of_the_plain_ones(name, monkeypatch):
    model = models.create(name, 10, "float32")
    images = jnp.asarray(np.random.default_rng(0).standard_normal((3, *model.input_shape), np.float32))
    params = filled(jax.eval_shape(model.init, jax.random.key(0), images)["params"])
    fast = jax.jit(curvature_of(model, {}, images))(params)
    monkeypatch.setattr(cpu_convolution, "conv", cpu_convolution.plain_conv)
    monkeypatch.setattr(cpu_kernels, "matmul", lambda x, kernel: x @ kernel.reshape(x.shape[-1], -1))
    plain = jax.jit(curvature_of(model, {}, images))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), fast, plain)
    assert all(np.all(leaf > 0) for leaf in jax.tree.leaves(plain))


def test_it_is_measured_once_a_pass_on_500_examples_and_damps_the_steps():
    optimizer, params = scale_by_curvature(0.02, 600, 100), {"k": jnp.ones(2)}
    state, used = optimizer.init(params), np.zeros(2)
    update = jax.jit(
        lambda state, h: optimizer.update({"k": jnp.ones(2)}, state, params, curvature=lambda p: {"k": h * p["k"]})
    )
    seen = []
    for n in range(1500):
        seen.append(np.array([1 + n % 7, 1 / (1 + n)], np.float32))
        updates, state = update(state, jnp.asarray(seen[-1]))
        if n % 600 == EXAMPLES // 100 - 1:
            used = np.mean(seen[-5:], axis=0)
        expected = 0 * used if n < 4 else 1 / (0.02 + used)
        np.testing.assert_allclose(updates["k"], expected, rtol=1e-4)


def test_a_pass_may_have_fewer_examples_than_are_measured():
    optimizer, params = scale_by_curvature(0.5, 2.4, 8), {"k": jnp.ones(1)}
    state = optimizer.init(params)
    for n in range(6):
        measured = {"k": jnp.full(1, n + 1.0)}
        updates, state = optimizer.update({"k": jnp.ones(1)}, state, params, curvature=lambda _, h=measured: h)
        mean = np.mean([n, n + 1]) if n % 2 else np.mean([n - 1, n])
        assert float(updates["k"][0]) == pytest.approx(0 if n == 0 else 1 / (0.5 + mean))


def test_without_damping_a_full_step_along_one_weight_ends_in_its_minimum():
    """So the loss `sse` and the second derivatives belong together: their ratio is Newton's step."""
    recipe = make(lr=1.0, damping=1e-9, lr_multipliers="*/kernel", batch_size=1)
    model = models.create("stack", 3, "float32", layers="out", side=1, channels=1)
    image, label = jnp.full((1, 1, 1, 1), 0.7), jnp.array([2])
    params = model.init(jax.random.key(0), image)["params"]

    from convnets.losses import LOSSES

    grads = jax.grad(lambda p: jnp.sum(LOSSES["sse"](model.apply({"params": p}, image), label)))(params)
    updates, _ = recipe.optimizer.update(
        grads, recipe.optimizer.init(params), params, scale=1.0, curvature=curvature_of(model, {}, image)
    )
    scores = model.apply({"params": optax.apply_updates(params, updates)}, image)
    np.testing.assert_allclose(scores, [[-1, -1, 1]], atol=1e-5)


def test_an_operation_without_a_rule_is_refused_before_training():
    recipe = make_recipe(0.1, 0, "constant", 0.0, False, 0.0, "*", "", 0.02, 0.0, "", steps_per_epoch=1.0, batch_size=1)
    model = models.create("stack", 10, "float32", layers="sift|out", side=32, channels=1)
    with pytest.raises(UsageError, match=r"optim.damping: the second derivatives of '\w+'"):
        check_network(model, recipe.optimizer)
    check_network(models.create("resnet20_cifar", 10, "float32"), recipe.optimizer)


def test_an_array_times_itself_is_its_square():
    x = {"w": jnp.asarray([[0.5, -1.5]])}
    product, square = (second_derivatives(f, x)["w"] for f in (lambda p: p["w"] * p["w"], lambda p: jnp.square(p["w"])))
    np.testing.assert_array_equal(product, square)


@pytest.mark.parametrize(
    "name, loss, wanted",
    [("lenet5", "sse", "rbf_map"), ("lenet1", "rbf_map", "sse"), ("resnet20_cifar", "sse", "without batch normalization"),
     ("neocognitron", "sse", "without reinforcement")],
)  # fmt: skip
def test_a_curvature_of_another_error_is_refused(name, loss, wanted):
    with pytest.raises(UsageError, match=rf"optim.damping: .*{wanted}"):
        check_curvature(models.create(name, 10, "float32"), loss)


@pytest.mark.parametrize(
    "name, loss", [("lenet5", "rbf_map"), ("lenet1", "sse"), ("lenet4", "sse"), ("lenet1989", "sse")]
)
def test_the_papers_networks_have_their_loss(name, loss):
    check_curvature(models.create(name, 10, "float32"), loss)
