"""The second derivatives of LeCun et al. 1998, appendix C: one for each parameter, by one pass back through the network.

The paper's recursion, for a unit i with total input a_i and output x_i = f(a_i), connections u_ij, and weights w_k shared by
the connections V_k:

    d2E/da_i2  = f'(a_i)^2 sum_k u_ki^2 d2E/da_k2      without the term of f'' (Gauss-Newton), so that it is not negative
    d2E/du_ij2 = d2E/da_i2 x_j^2
    h_k        = sum over (i, j) in V_k of d2E/du_ij2

It is back-propagation with all factors squared. Here it runs over the operations of the traced network (its jaxpr), whatever
its layers: the factor of an elementwise operation is its squared derivative. An operation that only moves values, or that is
linear in each operand, takes its own gradient, with the other operand squared. As in the paper, products of different units and
of different connections that share a weight are dropped.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

from convnets.errors import UsageError
from convnets.models.summary import variable_shapes

EXAMPLES = 500  # for the mean curvature (LeCun et al. 1998, section III.B)
ELEMENTWISE = {"abs", "add", "convert_element_type", "copy", "div", "exp", "integer_pow", "log", "logistic", "max", "min", "mul",
               "neg", "pow", "rsqrt", "select_n", "sqrt", "square", "sub", "tanh"}  # fmt: skip
LINEAR = {"broadcast_in_dim", "concatenate", "conv_general_dilated", "dot_general", "pad", "reduce_sum", "reduce_window_sum",
          "reshape", "rev", "slice", "split", "squeeze", "stack", "transpose"}  # fmt: skip


class CurvatureState(NamedTuple):
    """Number of updates so far; h, and the sum of the curvature measured in this pass, trees like the parameters."""

    updates: jax.Array
    mean: Any
    total: Any


def count_first_steps(steps_per_epoch: float, batch_size: int) -> int:
    """Returns the number of steps that measure h at the beginning of a pass."""
    return min(-(-EXAMPLES // batch_size), max(round(steps_per_epoch), 1))


def scale_by_curvature(
    damping: float, steps_per_epoch: float, batch_size: int
) -> optax.GradientTransformationExtraArgs:
    """Divides the updates by damping + h, the stochastic diagonal Levenberg-Marquardt method (LeCun et al. 1998, app. C).

    h is the mean curvature of EXAMPLES examples, measured once in each pass. The paper measures it before the pass. Here it
    is the mean over the first examples of the pass, and replaces the former h after them; before the first h no parameter
    changes.

    Args:
        damping: the paper's mu.
        steps_per_epoch, batch_size: length of a pass and of a step.
    """
    period, window = max(round(steps_per_epoch), 1), count_first_steps(steps_per_epoch, batch_size)

    def init(params):
        return CurvatureState(jnp.int32(0), jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None, *, curvature, **_):
        phase = _same_for_all(state.updates) % period
        kept = jax.tree.map(lambda t: jnp.where(phase == 0, 0, t), state.total)
        add = lambda: jax.tree.map(jnp.add, kept, curvature(params))  # noqa: E731
        total = lax.cond(phase < window, add, lambda: kept)
        mean = jax.tree.map(lambda t, h: jnp.where(phase == window - 1, t / window, h), total, state.mean)
        started = (state.updates + 1 >= window).astype(jnp.float32)
        scaled = jax.tree.map(lambda u, h: started * u / (damping + h), updates, mean)
        return scaled, CurvatureState(state.updates + 1, mean, total)

    return optax.GradientTransformationExtraArgs(init, update)


@jax.custom_batching.custom_vmap
def _same_for_all(updates: jax.Array) -> jax.Array:
    """Returns the number of updates, which is the same for all seeds that are trained together, as a number without their axis.

    A condition on a number of each seed would become a selection, which computes the curvature in every step.
    """
    return updates


@_same_for_all.def_vmap
def _first(seeds: int, _: Any, updates: jax.Array) -> tuple[jax.Array, bool]:
    return updates[0], False


def check_curvature(model: nn.Module, loss: str) -> None:
    """Raises UsageError if `second_derivatives` of the network are not those of the loss, or it learns from more than a gradient."""
    image, key = jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32), jax.random.key(0)
    train = lambda v, x: model.apply(v, x, train=True, rngs={"dropout": key}, mutable=True)[1]  # noqa: E731
    changed = jax.eval_shape(train, variable_shapes(model), image)
    if {"batch_stats", "reinforcement"} & set(changed):
        raise UsageError("optim.damping: it is for networks without batch normalization and without reinforcement")
    wanted = "rbf_map" if "outputs" in changed else "sse"
    if loss != wanted:
        raise UsageError(
            f"optim.damping: of this network the second derivatives are of loss={wanted}, not of loss={loss}"
        )


def curvature_of(model: nn.Module, variables: dict[str, Any], images: jax.Array) -> Callable[[Any], Any]:
    """Returns a function from parameters to their `second_derivatives`, for the outputs that the network sows, or its scores."""

    def curvature(params: Any) -> Any:
        def outputs(params: Any) -> jax.Array:
            scores, sown = model.apply({**variables, "params": params}, images, train=False, mutable="outputs")
            return (jax.tree.leaves(sown) or [scores])[0]

        return second_derivatives(outputs, params)

    return curvature


def second_derivatives(outputs: Callable[[Any], jax.Array], params: Any) -> Any:
    """Returns h of every parameter for the squared error of the outputs, the mean over the examples.

    Args:
        outputs: maps params to the network's outputs, [n, units]; the error of an example is the sum over its units.

    Raises:
        UsageError: the network has an operation for which there is no rule here.
    """
    leaves, tree = jax.tree.flatten(params)
    traced = jax.make_jaxpr(lambda *own: outputs(jax.tree.unflatten(tree, own)))(*leaves)
    inputs = [_Value(leaf) for leaf in leaves]
    tape: Tape = []
    (result,) = _evaluate(traced, inputs, tape)
    result.curvature = jnp.full_like(result.array, 2 / len(result.array))
    for operation, given, made in reversed(tape):
        if any(value.curvature is not None for value in made):
            for value, part in zip(given, _pull_back(operation, given, made), strict=True):
                value.curvature = part if value.curvature is None or part is None else value.curvature + part
    none = lambda value: jnp.zeros_like(value.array) if value.curvature is None else value.curvature  # noqa: E731
    return jax.tree.unflatten(tree, [none(value) for value in inputs])


class _Value:
    """An array of the traced network, and the second derivative of the error by each of its elements once it is known."""

    def __init__(self, array: Any):
        self.array = array
        self.curvature: jax.Array | None = None


Tape = list[tuple[Any, list[_Value], list[_Value]]]  # each operation with its operands and its results


def _evaluate(traced: ClosedJaxpr, inputs: list[_Value], tape: Tape) -> list[_Value]:
    """Runs the operations on the inputs, and adds each of them to the tape."""
    values = dict(
        zip([*traced.jaxpr.constvars, *traced.jaxpr.invars], [*map(_Value, traced.consts), *inputs], strict=True)
    )
    read = lambda name: _Value(name.val) if isinstance(name, Literal) else values[name]  # noqa: E731
    for operation in traced.jaxpr.eqns:
        given = [read(name) for name in operation.invars]
        inner = next((p for p in operation.params.values() if isinstance(p, ClosedJaxpr)), None)
        if inner:  # a function of its own, such as one with a derivative of its own
            made = _evaluate(inner, given, tape)
        else:
            made = [_Value(array) for array in _apply(operation, [value.array for value in given])]
            tape.append((operation, given, made))
        values.update(zip(operation.outvars, made, strict=True))
    return [read(name) for name in traced.jaxpr.outvars]


def _apply(operation: Any, arrays: list[Any]) -> list[Any]:
    made = operation.primitive.bind(*arrays, **operation.params)
    return made if operation.primitive.multiple_results else [made]


def _pull_back(operation: Any, given: list[_Value], made: list[_Value]) -> list[Any]:
    """Returns the second derivatives by the elements of each operand; None for operands that are no float arrays."""
    name = operation.primitive.name
    if name not in ELEMENTWISE | LINEAR:
        raise UsageError(
            f"optim.damping: the second derivatives of '{name}', an operation of this network, are not defined"
        )
    known = [jnp.zeros_like(v.array) if v.curvature is None else v.curvature for v in made]
    real = [i for i, value in enumerate(given) if jnp.issubdtype(jnp.result_type(value.array), jnp.floating)]

    def of_real(*arrays: Any) -> list[Any]:
        every = [value.array for value in given]
        for i, array in zip(real, arrays, strict=True):
            every[i] = array
        return _apply(operation, every)

    arrays = [jnp.asarray(given[i].array) for i in real]
    if name in ELEMENTWISE:
        full = [jnp.broadcast_to(array, made[0].array.shape) for array in arrays]  # an operand may have fewer elements
        slopes = jax.vjp(of_real, *full)[1]([jnp.ones_like(made[0].array)])
        same = [[j for j in real if given[j] is given[i]] for i in real]  # an array may be multiplied by itself
        whole = [sum(slopes[real.index(j)] for j in every) for every in same]
        found = [_sum_to(array.shape, jnp.square(slope) * known[0] / len(every))
                 for array, slope, every in zip(arrays, whole, same, strict=True)]  # fmt: skip
    else:
        found = jax.vjp(of_real, *map(jnp.square, arrays))[1](known)
    of_operand = dict(zip(real, found, strict=True))
    return [of_operand.get(i) for i in range(len(given))]


def _sum_to(shape: tuple[int, ...], array: jax.Array) -> jax.Array:
    """Sums the axes along which an operand of this shape was repeated."""
    wide = (1,) * (array.ndim - len(shape)) + shape
    repeated = tuple(i for i, (few, many) in enumerate(zip(wide, array.shape, strict=True)) if few != many)
    return jnp.sum(array, repeated).reshape(shape)
