"""What each layer of a network costs and sees, measured by intercepting the layers while the network is only traced."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

from convnets import layers


class LayerSummary(NamedTuple):
    """One layer.

    Attributes:
        name: the paper's name, with the path where it lies in a block.
        output: [height, width, maps], or [units].
        multiply_adds: of convolutions, S-cells and fully connected layers, without biases, for one image.
        receptive_field: side of the square of input pixels that one output unit sees.
        jump: from a unit's square to its neighbour's, in input pixels.
        start: of the first unit's square, its first row and column; below 0 in the padding.
    """

    name: str
    kind: str
    output: list[int]
    parameters: int
    multiply_adds: int
    receptive_field: int
    jump: int = 1
    start: int = 0


class Field(NamedTuple):
    """Receptive field, its first pixel for the first unit, distance of neighbours in input pixels, and side of the map."""

    size: int
    start: int
    jump: int
    side: int


_layer = core.Primitive("layer")  # stands in the traced program for a layer: (its output, its input) -> its output
_layer.def_abstract_eval(lambda y, x: y)


def is_layer(module: nn.Module | None) -> bool:
    """Whether it is one of convnets.layers, as opposed to a network or a block."""
    return vars(layers).get(type(module).__name__) is type(module)


def summarize(model: nn.Module, input_shape: tuple[int, int, int], train: bool = False) -> list[LayerSummary]:
    """The layers of `model` in the order they run, for one image of `input_shape`; nothing is computed.

    The receptive field follows the data through the program: through every layer by its kernel and stride, and as the
    largest of the inputs through whatever joins them, so branches and shortcuts need no rule of their own.
    """
    found: list[tuple[nn.Module, tuple[int, ...], Any]] = []

    def intercept(call, args, kwargs, context):
        module = context.module
        y = call(*args, **kwargs)
        if not is_layer(module) or context.method_name != "__call__":
            return y
        found.append((module, y.shape, module.variables.get("params", {})))
        return _layer.bind(y, args[0])

    def program(x):
        with nn.intercept_methods(intercept):
            return model.init_with_output(jax.random.key(0), x, train=train)[0]

    traced = jax.make_jaxpr(program)(jax.ShapeDtypeStruct((1, *input_shape), jnp.float32))
    fields = _fields(traced.jaxpr, [module for module, _, _ in found], max(input_shape[:2]))
    return [
        LayerSummary(
            name="/".join(module.path),
            kind=type(module).__name__,
            output=list(shape[1:]),
            parameters=sum(math.prod(v.shape) for v in jax.tree.leaves(weights)),
            multiply_adds=_multiply_adds(module, weights, shape),
            receptive_field=field.size,
            jump=field.jump,
            start=field.start,
        )
        for (module, shape, weights), field in zip(found, fields, strict=True)
    ]


def sum_costs(rows: list[LayerSummary]) -> dict[str, int]:
    return {
        "parameters": sum(r.parameters for r in rows),
        "multiply_adds": sum(r.multiply_adds for r in rows),
        "activations": sum(math.prod(r.output) for r in rows),
    }


def _multiply_adds(module: nn.Module, weights: Any, output: tuple[int, ...]) -> int:
    if isinstance(module, layers.RBF):
        return module.codes.size
    uses = 1 if isinstance(module, layers.LocallyConnected) else math.prod(output[1:-1])  # of every weight
    kernel = weights.get("kernel", weights.get("a"))  # S-cells have the paper's letter
    return math.prod(kernel.shape) * uses if kernel is not None else 0


def _fields(jaxpr, modules: list[nn.Module], side: int) -> list[Field]:
    known: dict[Any, Field] = {v: Field(1, 0, 1, side) for v in jaxpr.invars}
    fields: list[Field] = []
    for equation in jaxpr.eqns:
        (out, *_), inputs = equation.outvars, [v for v in equation.invars if not hasattr(v, "val") and v in known]
        if equation.primitive is _layer:
            known[out] = _through(modules[len(fields)], known[equation.invars[1]], out.aval.shape)
            fields.append(known[out])
        elif inputs:
            sizes, starts, jumps, sides = zip(*(known[v] for v in inputs), strict=True)
            joined = Field(max(sizes), min(starts), max(jumps), max(sides))
            known.update(dict.fromkeys(equation.outvars, joined))
    return fields


def _through(module: nn.Module, field: Field, output: tuple[int, ...]) -> Field:
    size, start, jump, side = field
    if isinstance(module, layers.Dense | layers.Pyramid) and len(output) == 2:  # sees the whole map
        return Field(size + (side - 1) * jump, start, jump * side, 1)
    window = _window(module)
    stride = getattr(module, "stride", window if isinstance(module, layers.Subsample) else 1)
    # Normalization keeps the size of the map, the window around each pixel.
    around = 0 if isinstance(module, layers.Subsample) else (window - 1) // 2
    before = layers.pads(getattr(module, "padding", around))[0][0]
    return Field(size + (window - 1) * jump, start - before * jump, jump * max(layers.pair(stride)),
                 max(output[1:3]) if len(output) == 4 else side)  # fmt: skip


def _window(module: nn.Module) -> int:
    if isinstance(module, layers.LRN) and not module.within:
        return 1
    if isinstance(module, layers.LocalContrast):  # the deviation around a pixel of values less the mean around them
        return 2 * module.size - 1
    return max(layers.pair(getattr(module, "kernel", getattr(module, "size", 1))))
