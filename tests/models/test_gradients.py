"""Every parameter array of every network gets a gradient, at full width and depth.

The networks run op by op, without compiling them whole, because deep ones repeat few shapes. `make test` runs one
network of each small family; the others have the marker `gradients` (`make test-gradients`). For ImageNet networks
`make test`, and for networks that repeat the blocks of smaller ones every test, only checks that the scores depend on every
array.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.models import MODELS
from convnets.models.summary import variable_shapes
from convnets.runtime.arrays import name_leaves
from tests.conftest import DEEPER, filled, reached
from tests.models.test_models import GOLDEN

# Smaller input sizes, in pixels, for networks that accept them. Batch norm over two numbers gives +-1 and no gradient,
# so the last map is 2 x 2. GoogLeNet stays at 224, because only then do its heads have all their weights.
SIDES = {"bn_inception": 64, "resnet": 64, "plain": 64}
# Observed maxima: at least 0.03 if an array has an effect, at most 0.000001 (rounding) if it has none.
LEAST = 1e-4


def create(name, **options):
    return models.create(name, GOLDEN[name]["classes"], "float32", **options)


# The neocognitron's learning rule is tested in tests/models/test_neocognitron.py.
BY_GRADIENT = [name for name in MODELS if name != "neocognitron" and not DEEPER.fullmatch(name)]
QUICK = ("lenet5", "lecun_net5", "cuda_convnet_18pct", "resnet20_cifar")
LARGE = [name for name in MODELS if create(name).input_shape[0] > 100]
DEEP = [name for name in MODELS if DEEPER.fullmatch(name) and name not in LARGE]


def example(name, **options):
    """Returns the network, the shapes of its variables, and two random images (one if the input is large)."""
    model = create(name, **options)
    side = min([model.input_shape[0], *(s for start, s in SIDES.items() if name.startswith(start))])
    shape = (1 if side > 100 else 2, side, side, model.input_shape[2])
    images = np.random.default_rng(1).standard_normal(shape, np.float32)
    return model, variable_shapes(model, shape[1:]), images


def objective(model, variables, images, train):
    """Returns a function of params that gives (random combination of all scores, new running statistics).

    The scores include the auxiliary heads.
    """
    state = {k: v for k, v in variables.items() if k != "params"}

    def loss(params):
        scores, changed = model.apply(
            {"params": params, **state},
            images,
            train=train,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats"],
        )
        rng = np.random.default_rng(3)
        parts = [jnp.vdot(s, rng.standard_normal(s.shape, np.float32)) for s in jax.tree.leaves(scores)]
        return sum(parts, jnp.float32(0)), changed.get("batch_stats", {})

    return loss


def named(tree):
    return {name: np.asarray(leaf) for name, leaf in name_leaves(tree).items()}


def gradients(model, variables, images, train):
    """Returns ({name: gradient}, names of the gradients below LEAST)."""
    found, changed = jax.grad(objective(model, variables, images, train), has_aux=True)(variables["params"])
    found = named(found)
    assert all(np.isfinite(g).all() for g in found.values())
    if train:
        before, after = named(variables.get("batch_stats", {})), named(changed)
        assert [k for k in before if np.array_equal(before[k], after[k])] == []
    return found, {k for k, g in found.items() if np.abs(g).max() < LEAST}


def check(name, **options):
    model, like, images = example(name, **options)
    variables = filled(like)
    found, silent = gradients(model, variables, images, train=True)
    # In training batch norm subtracts the mean and cancels a convolution bias; in a test the running mean does not.
    hidden = {k for k in silent if k.endswith("/bias") and k.replace("bias", "kernel") in found}
    assert silent == (hidden if "batch_stats" in variables else set())
    if hidden:
        assert gradients(model, variables, images, train=False)[1] == set()
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.gradients] * (n not in QUICK)) for n in BY_GRADIENT]
)
def test_every_array_has_a_gradient(name):
    assert sum(g.size for g in check(name).values()) == GOLDEN[name]["parameters"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cuda_convnet_13pct", {"batch_norm": True, "pooling": "l2", "width": 0.25}),
        ("cuda_convnet_18pct", {"pooling": "stride", "act": "leaky_relu"}),
        ("resnet20_cifar", {"shortcut": "C", "zero_init": True}),
    ],
    ids=str,
)
def test_every_array_has_a_gradient_with_options(name, options):
    check(name, **options)


@pytest.mark.parametrize("name", [*LARGE, *(pytest.param(n, marks=pytest.mark.gradients) for n in DEEP)])
def test_every_array_reaches_the_scores(name):
    model, like, images = example(name)
    state = {k: jax.tree.map(lambda v: np.ones(v.shape, v.dtype), v) for k, v in like.items() if k != "params"}
    program = jax.make_jaxpr(lambda params: objective(model, state, images, train=True)(params)[0])(like["params"])
    assert all(reached(program.jaxpr))
