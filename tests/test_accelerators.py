"""Accelerator checks that need only a CPU: the steps of the networks are lowered for the accelerator platforms."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

from configs import base
from convnets import models
from convnets.evaluation import eval_step
from convnets.layers import cpu_convolution, cpu_kernels
from convnets.models import MODELS
from convnets.runtime import parallel
from convnets.training import train_step
from convnets.training.optimizer import make_recipe
from convnets.training.state import state_shapes
from tests.conftest import DEEPER
from tests.models.test_models import GOLDEN

PLATFORMS = ("cuda", "rocm", "tpu")
SIDES = {"bn_inception": 64, "resnet": 64, "plain": 64}  # smaller input sizes, in pixels, for networks that accept them
QUICK = ("neocognitron", "lenet5_modern", "cuda_convnet_18pct", "resnet20_cifar")
BATCH = 2


def programs(name):
    """Returns the training and the evaluation step of a network, each with the shapes of its arguments."""
    model = models.create(name, GOLDEN[name]["classes"], "bfloat16")
    side = min([model.input_shape[0], *(s for start, s in SIDES.items() if name.startswith(start))])
    shape = (side, side, model.input_shape[2])
    options = {**base.get_config().optim, "weight_decay": 1e-4}
    optimizer = make_recipe(**options, steps_per_epoch=1000, batch_size=BATCH).optimizer
    start = state_shapes(model, optimizer, input_shape=shape)
    one = lambda dtype, *rest: jax.ShapeDtypeStruct((BATCH, *rest), dtype)  # noqa: E731
    batch = {"image": one(jnp.float32, *shape), "mask": one(jnp.float32),
             **{key: one(jnp.int32) for key in ("label", "epoch", "index")}}  # fmt: skip
    train = train_step.train_step(model, optimizer, "softmax", [], 0)
    test = eval_step.eval_step(model, "softmax", [])
    return [
        (parallel.ahead_of_time(train, train=True), (start, batch, {})),
        (parallel.ahead_of_time(test, train=False), (start.variables, batch, {})),
    ]


OTHERS = [name for name in MODELS if not DEEPER.fullmatch(name)]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.accelerators] * (n not in QUICK)) for n in OTHERS])
def test_the_steps_are_lowered_for_accelerators(name):
    with cpu_kernels.compile_for("accelerator"):
        for step, arguments in programs(name):
            exported = export.export(step, platforms=PLATFORMS)(*arguments)
            assert exported.platforms == PLATFORMS and exported.nr_devices == 1


def test_a_program_has_the_forms_of_the_platform_that_it_is_compiled_for():
    x, w = jax.ShapeDtypeStruct((2, 32, 32, 1), jnp.float32), jax.ShapeDtypeStruct((5, 5, 1, 6), jnp.float32)
    edges = ((0, 0), (0, 0))

    def lowered(platform):
        with cpu_kernels.compile_for(platform):
            # A new function for each platform, because JAX caches traces per function.
            return jax.jit(lambda x, w: cpu_convolution.conv(x, w, (1, 1), edges)).lower(x, w).as_text()

    assert "stablehlo.convolution" in lowered("cuda")
    for platform in ("cpu", "tpu"):
        assert "stablehlo.convolution" not in lowered(platform) and "dot_general" in lowered(platform)
    assert cpu_kernels.on_cpu()


def test_a_step_follows_its_devices(monkeypatch):
    """A program takes the kernels of the devices that run it, not those of the default backend."""
    seen = []

    def step(state, batch, resident_arrays):
        seen.append(cpu_kernels.on_cpu())
        return state, batch

    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    parallel.parallel(step, train=False, devices=jax.devices("cpu")[:1])(jnp.zeros(1), jnp.zeros((1, 2)), {})
    assert seen and all(seen) and not cpu_kernels.on_cpu()
