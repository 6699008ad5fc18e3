"""The training state, which is passed from step to step."""

import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from convnets.models.summary import explain_misfits
from convnets.training.curvature import curvature_of


class TrainState(flax.struct.PyTreeNode):
    """The training state; all leaves are arrays.

    Attributes:
        step: number of steps taken.
        scale: learning-rate factor from the feedback schedules.
        batch_stats: {} for a network without batch normalization.
        average: average of the parameters after every step, which replaces them in tests; {} if the recipe has none.
    """

    step: jax.Array
    scale: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any

    @property
    def variables(self) -> dict[str, Any]:
        """Returns the variables for tests and predictions, with averaged parameters if there are any."""
        return {"params": self.average or self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module, optimizer: optax.GradientTransformation, seed: int, average: bool = False
) -> TrainState:
    """Creates the state before the first step, a pure function of the seed.

    Args:
        average: whether to keep an average of the parameters.
    """
    init = functools.partial(_initial_state, model, optimizer, model.input_shape, seed, average)
    # Without compiler optimization: it runs once, and optimizing it would take ten times as long as running it.
    return jax.jit(init, compiler_options={"xla_backend_optimization_level": 0})()


def state_shapes(
    model: nn.Module, optimizer: optax.GradientTransformation, average: bool = False,
    input_shape: tuple[int, int, int] | None = None,
) -> TrainState:  # fmt: skip
    """Returns the shapes and types of the state of `create_state`; traces the network, and computes nothing.

    Args:
        input_shape: (height, width, channels) of the image; None = the network's own.

    Raises:
        UsageError: a layer does not fit its input.
    """
    shape = input_shape or model.input_shape
    return jax.eval_shape(functools.partial(_initial_state, model, optimizer, shape, 0, average))


def check_network(model: nn.Module, optimizer: optax.GradientTransformation) -> None:
    """Raises UsageError if a layer of the network does not fit its input, or the optimizer the layers."""

    def update(state: TrainState) -> Any:
        curvature = curvature_of(model, state.variables, jnp.zeros((1, *model.input_shape)))
        return own.update(state.params, state.opt_state, state.params, scale=state.scale, curvature=curvature)

    own = optax.with_extra_args_support(optimizer)
    jax.eval_shape(update, state_shapes(model, optimizer))


def draw_missing(variables: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Returns the variables with initial values in place of those that a file did not give, which are shapes."""
    missing = lambda v: isinstance(v, jax.ShapeDtypeStruct)  # noqa: E731
    if not any(map(missing, jax.tree.leaves(variables))):
        return variables
    drawn = create_state(model, optax.identity(), 0).variables
    return jax.tree.map(lambda given, new: new if missing(given) else given, variables, drawn)


def _initial_state(model, optimizer, input_shape, seed, average=False) -> TrainState:
    """Builds the state for `create_state`, which compiles this function; also works with `jax.eval_shape`.

    Raises:
        UsageError: a layer does not fit its input.
    """
    with explain_misfits():
        variables = model.init(jax.random.key(seed), jnp.zeros((1, *input_shape)), train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        scale=jnp.float32(1),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if average else {},  # a copy, because the state is donated
    )
