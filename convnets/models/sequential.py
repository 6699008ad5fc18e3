"""Networks in one line, for ablations and for the small networks that papers describe in one sentence.

    conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out

The line is read left to right, in the language of augmentations; `LAYERS` has every word and `out` is the full layer to
the classes. A convolution pads nothing unless told.

Two papers' networks are rows here:

BN          Ioffe & Szegedy: Batch normalization, ICML 2015, section 4.1: MNIST, three full layers of 100 units, sigmoid.
Net-1 to 5  LeCun: Generalization and network design strategies, 1989, and table 11.1 of Hastie, Tibshirani, Friedman:
            The elements of statistical learning, which we have read; 320 + 160 digits of 16 x 16.

                                                    links    weights    table
    Net-1   full 10                                 2,570    2,570      single layer network
    Net-2   full 12, full 10                        3,214    3,214      two layer network
    Net-3   local 3/2, 1 @ 8; local 5, 1 @ 4        1,226    1,226      locally connected
    Net-4   conv  3/2, 2 @ 8; local 5, 1 @ 4        2,266    1,132      constrained network 1
    Net-5   conv  3/2, 2 @ 8; conv  5, 4 @ 4        5,194    1,060      constrained network 2

The table has the links and weights; windows and strides are from memory, and no others give these numbers with 8 x 8 and
4 x 4 units: every unit has its own bias, also where weights are shared. What is open: 8 windows of 3 at a stride of 2
reach 1 pixel over the edge of 16, here on the right and below, where we put background (-1). The squashing functions,
the loss and the initial weights are those of the zip code network of the same year (lenet.py).
"""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets import layers, op_string
from convnets.errors import UsageError
from convnets.layers import ACTIVATIONS, Init, Pool
from convnets.models.options import check_dropout_rate


class Build:
    """What the layers of a line need to know: names count the layers of each kind, conv1, pool1, conv2, ..."""

    def __init__(self, net: "Stack", train: bool):
        self.net, self.train = net, train
        self.weights: dict[str, Any] = {"kernel_init": initialiser(net.init_weights), "dtype": net.dtype}
        self.counts: Counter[str] = Counter()
        self.heads: dict[str, jax.Array] = {}

    def name(self, kind: str) -> str:
        self.counts[kind] += 1
        return f"{kind}{self.counts[kind]}"


# Layers: functions (build, input, arguments) ------------------------------------------------------------------------


def conv(
    b: Build,
    x: jax.Array,
    maps: int,
    kernel: int,
    stride: int = 1,
    padding: Any = 0,
    groups: int = 1,
    bias: str = "map",
) -> jax.Array:
    """A convolution; its options are those of layers.Conv."""
    options = {"groups": groups, "bias": bias, "name": b.name("conv"), **b.weights}
    return layers.Conv(maps, kernel, stride, padding, **options)(x)


def local(b: Build, x: jax.Array, maps: int, kernel: int, stride: int = 1, padding: Any = 0) -> jax.Array:
    """A locally connected layer."""
    return layers.LocallyConnected(maps, kernel, stride, padding, name=b.name("local"), **b.weights)(x)


def fc(b: Build, x: jax.Array, units: int) -> jax.Array:
    """A fully connected layer on all there is."""
    return layers.Dense(units, name=b.name("fc"), **b.weights)(x.reshape(x.shape[0], -1))


def out(b: Build, x: jax.Array) -> jax.Array:
    """The fully connected layer to the classes."""
    return layers.Dense(b.net.num_classes, name="out", **b.weights)(x.reshape(x.shape[0], -1))


def norm(b: Build, x: jax.Array) -> jax.Array:
    """Batch normalization."""
    return layers.BatchNorm(dtype=b.net.dtype, name=b.name("norm"))(x, train=b.train)


def lrn(
    b: Build, x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0,
    divide: bool = False, within: bool = False,
) -> jax.Array:  # fmt: skip
    """Local response normalization, with the constants of Krizhevsky et al. 2012."""
    return layers.LRN(size, alpha, beta, k, divide, within, name=b.name("lrn"))(x)


def lcn(b: Build, x: jax.Array, size: int = 9) -> jax.Array:
    """Local contrast normalization, subtractive and divisive."""
    return layers.LocalContrast(size, name=b.name("lcn"))(x)


def dropout(b: Build, x: jax.Array, share: float) -> jax.Array:
    """Training drops this share."""
    return nn.Dropout(share, deterministic=not b.train)(x)


def border(b: Build, x: jax.Array, right: int, value: float) -> jax.Array:
    """So many columns on the right and rows below of `value`."""
    return jnp.pad(x, ((0, 0), (0, right), (0, right), (0, 0)), constant_values=np.asarray(value, x.dtype))


def subsample(b: Build, x: jax.Array, size: int = 2) -> jax.Array:
    """LeNet's S-layer without its squashing function."""
    return layers.Subsample(size, b.net.dtype, name=b.name("subsample"))(x)


def mean(b: Build, x: jax.Array) -> jax.Array:
    """The average of each map."""
    return Pool("average", (x.shape[1], x.shape[2]), 1, name=b.name("pool"))(x)


def inception(
    b: Build, x: jax.Array, n1: int, reduce3: int, n3: int, reduce5: int, n5: int, projected: int
) -> jax.Array:  # fmt: skip
    """Figure 2b of Szegedy et al. 2014, a row of its table 1; with 0 for the reductions and the projection figure 2a."""

    def layer(x: jax.Array, maps: int, kernel: int) -> jax.Array:
        return layers.relu(conv(b, x, maps, kernel, padding=kernel // 2)) if maps else x

    pooled = Pool("max", 3, 1, 1, name=b.name("pool"))(x)
    branches = [
        layer(x, n1, 1), layer(layer(x, reduce3, 1), n3, 3), layer(layer(x, reduce5, 1), n5, 5),
        layer(pooled, projected, 1),
    ]  # fmt: skip
    return jnp.concatenate(branches, axis=-1)


def head(b: Build, x: jax.Array, maps: int, units: int) -> jax.Array:
    """An auxiliary classifier of Szegedy et al. 2014 beside the line; what goes on is what came in. Only in training."""
    name = b.name("head")
    if b.train or b.net.is_initializing():
        y = Pool("average", 5, 3, ceil=True, name=f"{name}_pool")(x)
        y = layers.relu(layers.Conv(maps, 1, name=f"{name}_conv", **b.weights)(y))
        y = layers.relu(layers.Dense(units, name=f"{name}_fc", **b.weights)(y.reshape(y.shape[0], -1)))
        y = nn.Dropout(0.7, deterministic=not b.train)(y)
        b.heads[name] = layers.Dense(b.net.num_classes, name=f"{name}_out", **b.weights)(y)
    return x


def hog(b: Build, x: jax.Array, cell: int = 4) -> jax.Array:
    """Histograms of oriented gradients, of pixels from 0 to 1."""
    return layers.HOG(cell, name=b.name("hog"))(x)


def sift(b: Build, x: jax.Array, stride: int = 2) -> jax.Array:
    """SIFT descriptors of patches of 16 x 16 pixels, of pixels from 0 to 1."""
    return layers.SIFT(stride, name=b.name("sift"))(x)


def codebook(b: Build, x: jax.Array, words: int) -> jax.Array:
    """The nearest of so many words at every place; loss=svm fits them by k-means."""
    return layers.Codebook(words, name=b.name("codebook"))(x)


def pyramid(b: Build, x: jax.Array, levels: int = 3) -> jax.Array:
    """Histograms of the words in 1, 2 x 2, 4 x 4, ... fields."""
    return layers.Pyramid(levels, name=b.name("pyramid"))(x)


def _pool(
    kind: str, b: Build, x: jax.Array, size: int, stride: int = 0, padding: int = 0, ceil: bool = False
) -> jax.Array:  # fmt: skip
    return Pool(kind, size, stride or size, padding, ceil, name=b.name("pool"))(x)


def _activate(function: Callable, b: Build, x: jax.Array) -> jax.Array:
    return function(x)


LAYERS: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f for f in (conv, local, fc, out, norm, lrn, lcn, dropout, border, subsample, mean, inception, head, hog,
                            sift, codebook, pyramid)
}  # fmt: skip
LAYERS |= {kind: functools.partial(_pool, kind) for kind in ("max", "average", "l1", "l2")}  # stride 0 is the size
LAYERS |= {name: functools.partial(_activate, function) for name, function in ACTIVATIONS.items()}


# Initial weights; biases are 0 --------------------------------------------------------------------------------------


def he(scale: float = 1.0) -> Init:
    """He's rule times a factor."""
    return lambda *args: scale * layers.he_normal()(*args)


INITS: dict[str, Callable[..., Init]] = {
    "he": he, "normal": layers.normal, "glorot": layers.glorot, "caffe": layers.caffe_xavier,
    "lecun": layers.uniform_fan_in, "lecun_root": layers.uniform_root_fan_in,
}  # fmt: skip


def initialiser(text: str) -> Init:
    """'he(0.3)', 'normal(0.01)', 'glorot', 'caffe', 'lecun(2.4)' or 'lecun_root(2.4)'.

    Raises:
        UsageError: it is none of these.
    """
    calls = op_string.parse(text, INITS)
    if len(calls) != 1:
        raise UsageError(f"init_weights '{text}': give one of {', '.join(INITS)}")
    return calls[0]()


# The network --------------------------------------------------------------------------------------------------------


class Stack(nn.Module):
    """[n, *input_shape] to [n, classes]; in training with a `head` to (scores, {'head1': scores, ...}).

    Attributes:
        layers: the line.
        init_weights: of all weights, see `initialiser`.
        side, channels: of the square images it takes.

    Raises:
        UsageError: at once, where the line or the initial weights cannot be read; when called, where a layer cannot be.
    """

    layers: str = "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out"
    init_weights: str = "he"
    side: int = 28
    channels: int = 1
    num_classes: int = 10
    dtype: Any = jnp.float32

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.side, self.side, self.channels)

    def __post_init__(self) -> None:
        super().__post_init__()
        initialiser(self.init_weights)
        calls = op_string.parse(self.layers, LAYERS, skip=2)
        for call in calls:
            if call.name == "dropout":
                check_dropout_rate(call.kwargs["share"])
        if [c.name for c in calls].count("out") != 1:
            raise UsageError(f"layers '{self.layers}' need one 'out', the layer to the classes")

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Any:
        build = Build(self, train)
        x = x.astype(self.dtype)
        for layer in op_string.parse(self.layers, LAYERS, skip=2):
            try:
                x = layer(build, x)
            except (TypeError, ValueError, ZeroDivisionError) as e:  # what JAX says of a window of no pixels, say
                raise UsageError(f"model.layers: {layer.name} on {x.shape[1:]}: {str(e).splitlines()[0]}") from e
        return (x, build.heads) if train and build.heads else x


_EIGHT, _FOUR = "border(1, -1.0)|{}|scaled_tanh", "|{}|scaled_tanh|out|scaled_tanh"
DIGITS_1989 = {
    "net1": "out|scaled_tanh",
    "net2": "fc(12)|scaled_tanh|out|scaled_tanh",
    "net3": (_EIGHT + _FOUR).format("local(1, 3, 2)", "local(1, 5)"),
    "net4": (_EIGHT + _FOUR).format("conv(2, 3, 2, bias='unit')", "local(1, 5)"),
    "net5": (_EIGHT + _FOUR).format("conv(2, 3, 2, bias='unit')", "conv(4, 5, bias='unit')"),
}
BN = "fc(100)|{0}sigmoid|fc(100)|{0}sigmoid|fc(100)|{0}sigmoid|out"

NETS: dict[str, Callable[..., Stack]] = {
    "stack": Stack,
    "bn_mnist": functools.partial(Stack, layers=BN.format("norm|")),
    "bn_mnist_baseline": functools.partial(Stack, layers=BN.format("")),
    **{
        f"lecun_{name}": functools.partial(Stack, layers=line, init_weights="lecun(2.4)", side=16)
        for name, line in DIGITS_1989.items()
    },
}
