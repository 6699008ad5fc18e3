"""What training carries from step to step."""

import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Arrays only. `step` counts the steps taken; `batch_stats` is {} for a network without batch normalization."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


def create(model: nn.Module, optimizer: optax.GradientTransformation, input_shape: tuple[int, ...], seed: int):
    """The state before the first step, a pure function of the seed. `input_shape` is (height, width, channels)."""

    # Runs once, so compiling it well would cost ten times what it takes to run.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def init():
        variables = model.init(jax.random.key(seed), jnp.zeros((1, *input_shape)), train=False)
        params = variables["params"]
        return TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), optimizer.init(params))

    return init()
