"""Cost, receptive field, input and output of each layer, by intercepting the layers of a network."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

from convnets import layers


class LayerSummary(NamedTuple):
    """Summary of one layer.

    Attributes:
        name: name in the paper, with the module path if the layer lies in a block.
        output: output shape [height, width, maps] or [units].
        multiply_adds: for one image, without biases; counts convolutions, S-cells and fully connected layers.
        receptive_field: side of the square of input pixels that one output unit sees.
        jump: distance between the receptive fields of neighbouring units, in input pixels.
        start: first row and column of the first unit's receptive field; negative if it starts in the padding.
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
    """Receptive field of a layer and side of its feature map.

    Attributes:
        size: side of the receptive field, in input pixels.
        start: first pixel of the first unit's receptive field.
        jump: distance between the receptive fields of neighbouring units, in input pixels.
        side: side of the feature map.
    """

    size: int
    start: int
    jump: int
    side: int


_layer = core.Primitive("layer")  # marks a layer in the traced program: (output, input) -> output
_layer.def_abstract_eval(lambda y, x: y)


def is_layer(module: nn.Module | None) -> bool:
    """Returns whether the module is a layer of convnets.layers, not a network or a block."""
    return vars(layers).get(type(module).__name__) is type(module)


@contextlib.contextmanager
def intercept_layers(visit: Callable[[nn.Module, jax.Array, jax.Array], jax.Array]) -> Iterator[None]:
    """Context manager that calls visit(module, input, output) after every layer; the network goes on with its result."""

    def intercept(call, args, kwargs, context):
        y = call(*args, **kwargs)
        inner = is_layer(context.module) and context.method_name == "__call__"
        return visit(context.module, args[0], y) if inner else y

    with nn.intercept_methods(intercept):
        yield


def capture(model: nn.Module, variables: Any, images: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Returns the (input, output) of each layer in float32, keyed by module path with the paper's layer name.

    The network runs in evaluation mode: without auxiliary heads, and batch normalization uses running statistics.
    """
    seen = {}

    def visit(module, x, y):
        seen["/".join(module.path)] = (x.astype(jnp.float32), y.astype(jnp.float32))
        return y

    with intercept_layers(visit):
        model.apply(variables, images, train=False)
    return seen


def summarize(model: nn.Module, input_shape: tuple[int, int, int], train: bool = False) -> list[LayerSummary]:
    """Summarises the layers of `model` in execution order for one image of `input_shape`, by tracing only.

    Receptive fields propagate through the traced program. A layer extends the field by its kernel and stride. Any other
    operation takes the largest field of its inputs, so branches and shortcuts need no special rule.
    """
    found: list[tuple[nn.Module, tuple[int, ...], Any]] = []

    def visit(module, x, y):
        found.append((module, y.shape, module.variables.get("params", {})))
        return _layer.bind(y, x)

    def program(x):
        with intercept_layers(visit):
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


def sum_costs(rows: Sequence[LayerSummary]) -> dict[str, int]:
    return {
        "parameters": sum(r.parameters for r in rows),
        "multiply_adds": sum(r.multiply_adds for r in rows),
        "activations": sum(math.prod(r.output) for r in rows),
    }


def _multiply_adds(module: nn.Module, weights: Any, output: tuple[int, ...]) -> int:
    if isinstance(module, layers.RBF):
        return module.codes.size
    uses = 1 if isinstance(module, layers.LocallyConnected) else math.prod(output[1:-1])  # uses per weight
    kernel = weights.get("kernel", weights.get("a"))  # S-cells name their kernel `a`, as in the paper
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
    # Normalization keeps the map size: its window is centred on each pixel.
    around = 0 if isinstance(module, layers.Subsample) else (window - 1) // 2
    before = layers.pads(getattr(module, "padding", around))[0][0]
    return Field(size + (window - 1) * jump, start - before * jump, jump * max(layers.pair(stride)),
                 max(output[1:3]) if len(output) == 4 else side)  # fmt: skip


def _window(module: nn.Module) -> int:
    if isinstance(module, layers.LRN) and not module.within:
        return 1
    if isinstance(module, layers.LocalContrast):  # two windows in a row: mean, then deviation
        return 2 * module.size - 1
    return max(layers.pair(getattr(module, "kernel", getattr(module, "size", 1))))
