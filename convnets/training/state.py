"""What training carries from step to step."""

import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


class TrainState(flax.struct.PyTreeNode):
    """Arrays only.

    Attributes:
        step: steps taken.
        scale: what the reactions of the schedule multiply the learning rate with.
        batch_stats: {} for a network without batch normalization.
        average: of the parameters after every step, which tests take in their place; {} where the recipe has none.
    """

    step: jax.Array
    scale: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What tests and predictions run."""
        return {"params": self.average or self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module, optimizer: optax.GradientTransformation, input_shape: tuple[int, ...], seed: int,
    average: bool = False,
) -> TrainState:  # fmt: skip
    """The state before the first step, a pure function of the seed.

    Args:
        input_shape: (height, width, channels).
        average: keep an average of the parameters.
    """
    init = functools.partial(initial_state, model, optimizer, input_shape, seed, average)
    # Runs once, so compiling it well would cost ten times what it takes to run.
    return jax.jit(init, compiler_options={"xla_backend_optimization_level": 0})()


def initial_state(model, optimizer, input_shape, seed, average=False) -> TrainState:
    """What `create` compiles; `jax.eval_shape` takes it too."""
    variables = model.init(jax.random.key(seed), jnp.zeros((1, *input_shape)), train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        scale=jnp.float32(1),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if average else {},  # a copy, since the state is donated
    )
