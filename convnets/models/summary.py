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
from convnets.errors import UsageError, first_line
from convnets.models.options import MISFITS


class LayerSummary(NamedTuple):
    """Summary of one layer.

    Attributes:
        name: name in the paper, with the module path if the layer lies in a block.
        kind: class name of the layer.
        output: output shape [height, width, maps] or [units].
        parameters: number of values in the layer's collection "params".
        multiply_adds: for one image, without biases; counts every layer with a kernel, and RBF units.
        receptive_field: side of the square of input pixels that one output unit sees.
        jump: distance between the receptive fields of neighbouring units, in input pixels.
        start: first row and column of the first unit's receptive field; negative if it starts in the padding.
        pooling_operations: output height x output width x maps x window size^2 of a pooling layer, 0 for others; not
            part of `multiply_adds`, since no paper counts them.
    """

    name: str
    kind: str
    output: list[int]
    parameters: int
    multiply_adds: int
    receptive_field: int
    jump: int = 1
    start: int = 0
    pooling_operations: int = 0


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


class TracedLayer(NamedTuple):
    """A layer of a traced network: its module, shapes without the batch axis, and its collection "params"."""

    module: nn.Module
    input: tuple[int, ...]
    output: tuple[int, ...]
    weights: Any

    @property
    def name(self) -> str:
        """The layer's name in the network, such as 'inception_3a/1x1'."""
        return "/".join(self.module.path)


class Trace(NamedTuple):
    """A traced network.

    Attributes:
        program: its operations. Equation number k whose primitive is LAYER stands for layer k: (output, input) -> output.
        layers: its layers in execution order.
        input_shape: (height, width, channels) of the image.
    """

    program: core.Jaxpr
    layers: list[TracedLayer]
    input_shape: tuple[int, int, int]


# Layers whose units see the whole map.
WHOLE = (layers.Dense, layers.Pyramid, layers.PCA, layers.Gaussians, layers.Nearest, layers.Pairs, layers.Polynomial)

LAYER = core.Primitive("layer")  # marks a layer in the traced program: (output, input) -> output
LAYER.def_abstract_eval(lambda y, x: y)


def is_layer(module: nn.Module | None) -> bool:
    """Returns whether the module is a layer of convnets.layers, not a network or a block."""
    return vars(layers).get(type(module).__name__) is type(module)


@contextlib.contextmanager
def _intercept_layers(visit: Callable[[nn.Module, jax.Array, jax.Array], jax.Array]) -> Iterator[None]:
    """Context manager that calls visit(module, input, output) after every layer; the network goes on with its result."""

    def intercept(call, args, kwargs, context):
        y = call(*args, **kwargs)
        inner = is_layer(context.module) and context.method_name == "__call__"
        return visit(context.module, args[0], y) if inner else y

    with nn.intercept_methods(intercept):
        yield


@contextlib.contextmanager
def explain_misfits() -> Iterator[None]:
    """Context manager that turns the error of a layer that does not fit its input into a UsageError that names it."""
    where: list[str] = []

    def intercept(call, args, kwargs, context):
        try:
            return call(*args, **kwargs)
        except MISFITS:
            if is_layer(context.module) and not where:
                where.append(f"{'/'.join(context.module.path)} on {args[0].shape[1:]}")
            raise

    try:
        with nn.intercept_methods(intercept):
            yield
    except MISFITS as e:
        raise UsageError(": ".join(["model", *where, first_line(e)])) from e


def capture(model: nn.Module, variables: Any, images: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Returns the (input, output) of each layer in float32, keyed by module path with the paper's layer name.

    The network runs in evaluation mode: without auxiliary heads, and batch normalization uses running statistics.

    Args:
        images: [n, h, w, c], preprocessed; inputs and outputs are [n, ...] too.
    """
    seen = {}

    def visit(module, x, y):
        seen["/".join(module.path)] = (x.astype(jnp.float32), y.astype(jnp.float32))
        return y

    with _intercept_layers(visit):
        model.apply(variables, images, train=False)
    return seen


def variable_shapes(model: nn.Module, input_shape: tuple[int, int, int] | None = None) -> Any:
    """Returns the variables of a network as shapes, by tracing its initialization; needs no device.

    Args:
        input_shape: (height, width, channels) of the image; None = the network's own.
    """
    image = jax.ShapeDtypeStruct((1, *(input_shape or model.input_shape)), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)


def trace_layers(model: nn.Module, input_shape: tuple[int, int, int] | None = None) -> Trace:
    """Traces the initialization of `model` with one image, by default of its own shape; it runs auxiliary heads too."""
    shape = input_shape or model.input_shape
    found: list[TracedLayer] = []

    def visit(module, x, y):
        found.append(TracedLayer(module, x.shape[1:], y.shape[1:], module.variables.get("params", {})))
        return LAYER.bind(y, x)

    def program(x):
        with _intercept_layers(visit), explain_misfits():
            return model.init_with_output(jax.random.key(0), x, train=False)[0]

    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return Trace(jax.make_jaxpr(program)(image).jaxpr, found, shape)


def summarize(model: nn.Module, input_shape: tuple[int, int, int] | None = None) -> list[LayerSummary]:
    """Summarizes the layers of `model` in execution order for one image, by default of its own shape, by tracing only."""
    return summarize_trace(trace_layers(model, input_shape))


def summarize_trace(trace: Trace) -> list[LayerSummary]:
    """Summarizes the layers of a traced network in execution order.

    Receptive fields propagate through the traced program. A layer extends the field by its kernel and stride. Any other
    operation takes the largest field of its inputs, so branches and shortcuts need no special rule.
    """
    fields = _fields(trace)
    return [
        LayerSummary(
            name=layer.name,
            kind=type(layer.module).__name__,
            output=list(layer.output),
            parameters=sum(math.prod(v.shape) for v in jax.tree.leaves(layer.weights)),
            multiply_adds=_multiply_adds(layer),
            receptive_field=field.size,
            jump=field.jump,
            start=field.start,
            pooling_operations=_pooling_operations(layer),
        )
        for layer, field in zip(trace.layers, fields, strict=True)
    ]


def sum_costs(rows: Sequence[LayerSummary]) -> dict[str, int]:
    """Returns the totals of a network's layers, for one image."""
    return {
        "parameters": sum(r.parameters for r in rows),
        "multiply_adds": sum(r.multiply_adds for r in rows),
        "pooling_operations": sum(r.pooling_operations for r in rows),
        "activations": sum(math.prod(r.output) for r in rows),
    }


def _multiply_adds(layer: TracedLayer) -> int:
    module, weights = layer.module, layer.weights
    if isinstance(module, layers.RBF):
        return module.codes.size
    uses = 1 if isinstance(module, layers.LocallyConnected) else math.prod(layer.output[:-1])  # uses per weight
    # S-cells name their kernel `a`, as in the paper; the polynomial's `weights` are of its kernel's outputs.
    return uses * sum(math.prod(weights[name].shape) for name in ("kernel", "a", "weights") if name in weights)


def _pooling_operations(layer: TracedLayer) -> int:
    module = layer.module
    if not isinstance(module, layers.Pool | layers.Subsample | layers.CCells):
        return 0
    return math.prod(layer.output) * math.prod(layers.pair(module.size))


def _fields(trace: Trace) -> list[Field]:
    known: dict[Any, Field] = {v: Field(1, 0, 1, max(trace.input_shape[:2])) for v in trace.program.invars}
    fields: list[Field] = []
    for equation in trace.program.eqns:
        (out, *_), inputs = equation.outvars, [v for v in equation.invars if not hasattr(v, "val") and v in known]
        if equation.primitive is LAYER:
            known[out] = _through(trace.layers[len(fields)], known[equation.invars[1]])
            fields.append(known[out])
        elif inputs:
            sizes, starts, jumps, sides = zip(*(known[v] for v in inputs), strict=True)
            joined = Field(max(sizes), min(starts), max(jumps), max(sides))
            known.update(dict.fromkeys(equation.outvars, joined))
    return fields


def _through(layer: TracedLayer, field: Field) -> Field:
    module, (size, start, jump, side) = layer.module, field
    if isinstance(module, WHOLE) and len(layer.output) == 1:
        return Field(size + (side - 1) * jump, start, jump * side, 1)
    window = _window(module)
    stride = getattr(module, "stride", window if isinstance(module, layers.Subsample) else 1)
    # Normalization keeps the map size: its window is centred on each pixel.
    around = 0 if isinstance(module, layers.Subsample) else (window - 1) // 2
    before = layers.pads(getattr(module, "padding", around))[0][0]
    return Field(size + (window - 1) * jump, start - before * jump, jump * max(layers.pair(stride)),
                 max(layer.output[:2]) if len(layer.output) == 3 else side)  # fmt: skip


def _window(module: nn.Module) -> int:
    if isinstance(module, layers.LRN) and not module.within:
        return 1
    if isinstance(module, layers.LocalContrast):  # two windows in a row: mean, then deviation
        return 2 * module.size - 1
    return max(layers.pair(getattr(module, "kernel", getattr(module, "size", 1))))
