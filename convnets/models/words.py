"""The words of `model.layers`: one function per layer of a network that is defined by one string (sequential.py).

A word is called with the arguments that the string gives it. `LAYERS` lists all words. A convolution has no padding by
default.
"""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets import layers
from convnets.layers import ACTIVATIONS, Bias, Padding, Pool
from convnets.op_string import Count, Natural


class Build:
    """State shared by the layers of one network; `name` numbers the layers of each kind: conv1, pool1, conv2, ...

    Attributes:
        net: the sequential.Stack that is called.
        heads: logits of the auxiliary classifiers by name.
    """

    def __init__(self, net: Any, train: bool):
        self.net, self.train = net, train
        self.weights: dict[str, Any] = {"kernel_init": layers.parse_initializer(net.init_weights), "dtype": net.dtype}
        self.counts: Counter[str] = Counter()
        self.heads: dict[str, jax.Array] = {}

    def name(self, kind: str) -> str:
        """Returns the name of the next layer of a kind, such as 'conv2'."""
        self.counts[kind] += 1
        return f"{kind}{self.counts[kind]}"


# Layers: functions (build, input, arguments) ------------------------------------------------------------------------


def conv(
    b: Build, x: jax.Array, maps: Count, kernel: Count, stride: Count = 1, padding: Padding = 0, groups: Count = 1,
    bias: Bias = "map",
) -> jax.Array:  # fmt: skip
    """Applies a convolution; the options are documented in layers.Conv."""
    options: dict[str, Any] = {"groups": groups, "bias": bias, "name": b.name("conv"), **b.weights}
    return layers.Conv(maps, kernel, stride, padding, **options)(x)


def local(b: Build, x: jax.Array, maps: Count, kernel: Count, stride: Count = 1, padding: Padding = 0) -> jax.Array:
    """Applies a locally connected layer."""
    return layers.LocallyConnected(maps, kernel, stride, padding, name=b.name("local"), **b.weights)(x)


def fc(b: Build, x: jax.Array, units: Count) -> jax.Array:
    """Applies a fully connected layer to the flattened input."""
    return layers.Dense(units, name=b.name("fc"), **b.weights)(x.reshape(x.shape[0], -1))


def out(b: Build, x: jax.Array) -> jax.Array:
    """Applies the fully connected output layer to the classes."""
    return layers.Dense(b.net.num_classes, name="out", **b.weights)(x.reshape(x.shape[0], -1))


def gain(b: Build, x: jax.Array, bias: bool = True) -> jax.Array:
    """Applies a trained gain and bias per map; `conv(..., bias='none')|tanh|gain` is the lecture's y = c g(W * x) + b."""
    return layers.Gain(bias, b.net.dtype, name=b.name("gain"))(x)


def norm(b: Build, x: jax.Array) -> jax.Array:
    """Applies batch normalization."""
    return layers.BatchNorm(dtype=b.net.dtype, name=b.name("norm"))(x, train=b.train)


def lrn(
    b: Build, x: jax.Array, size: Count = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0,
    divide: bool = False, within: bool = False,
) -> jax.Array:  # fmt: skip
    """Applies local response normalization; defaults are the constants of Krizhevsky et al. 2012."""
    return layers.LRN(size, alpha, beta, k, divide, within, name=b.name("lrn"))(x)


def lcn(b: Build, x: jax.Array, size: Count = 9) -> jax.Array:
    """Applies subtractive and divisive local contrast normalization."""
    return layers.LocalContrast(size, name=b.name("lcn"))(x)


def dropout(b: Build, x: jax.Array, share: float) -> jax.Array:
    """Applies dropout with rate `share` in training."""
    return nn.Dropout(share, deterministic=not b.train)(x)


def border(b: Build, x: jax.Array, before: Natural, after: Natural, value: float) -> jax.Array:
    """Pads `before` columns on the left and rows above, and `after` on the right and below, with `value`."""
    edges = ((0, 0), (before, after), (before, after), (0, 0))
    return jnp.pad(x, edges, constant_values=np.asarray(value, x.dtype))


def subsample(b: Build, x: jax.Array, size: Count = 2) -> jax.Array:
    """Applies LeNet's subsampling layer without its squashing function."""
    return layers.Subsample(size, b.net.dtype, name=b.name("subsample"))(x)


def mean(b: Build, x: jax.Array) -> jax.Array:
    """Applies global average pooling."""
    return Pool("average", (x.shape[1], x.shape[2]), 1, name=b.name("pool"))(x)


def inception(
    b: Build, x: jax.Array, n1: Count, reduce3: Natural, n3: Count, reduce5: Natural, n5: Count, projected: Natural
) -> jax.Array:  # fmt: skip
    """Applies the Inception module of Szegedy et al. 2014, figure 2b; arguments are a row of its table 1.

    With 0 for both reductions and the projection it is the module of figure 2a.
    """

    def layer(x: jax.Array, maps: int, kernel: int) -> jax.Array:
        return layers.relu(conv(b, x, maps, kernel, padding=kernel // 2)) if maps else x

    pooled = Pool("max", 3, 1, 1, name=b.name("pool"))(x)
    branches = [
        layer(x, n1, 1), layer(layer(x, reduce3, 1), n3, 3), layer(layer(x, reduce5, 1), n5, 5),
        layer(pooled, projected, 1),
    ]  # fmt: skip
    return jnp.concatenate(branches, axis=-1)


def head(b: Build, x: jax.Array, maps: Count, units: Count) -> jax.Array:
    """Adds an auxiliary classifier (Szegedy et al. 2014) in training; returns its input unchanged."""
    name = b.name("head")
    if b.train or b.net.is_initializing():
        y = Pool("average", 5, 3, ceil=True, name=f"{name}_pool")(x)
        y = layers.relu(layers.Conv(maps, 1, name=f"{name}_conv", **b.weights)(y))
        y = layers.relu(layers.Dense(units, name=f"{name}_fc", **b.weights)(y.reshape(y.shape[0], -1)))
        y = nn.Dropout(0.7, deterministic=not b.train)(y)
        b.heads[name] = layers.Dense(b.net.num_classes, name=f"{name}_out", **b.weights)(y)
    return x


def hog(b: Build, x: jax.Array, cell: Count = 4) -> jax.Array:
    """Computes histograms of oriented gradients from pixels in [0, 1]."""
    return layers.HOG(cell, name=b.name("hog"))(x)


def sift(b: Build, x: jax.Array, stride: Count = 2) -> jax.Array:
    """Computes SIFT descriptors of 16 x 16 patches from pixels in [0, 1]."""
    return layers.SIFT(stride, name=b.name("sift"))(x)


def codebook(b: Build, x: jax.Array, words: Count) -> jax.Array:
    """Assigns each position to the nearest of `words` visual words; loss=svm fits the words by k-means."""
    return layers.Codebook(words, name=b.name("codebook"))(x)


def pyramid(b: Build, x: jax.Array, levels: Count = 3) -> jax.Array:
    """Computes histograms of visual words over 1, 2 x 2, 4 x 4, ... image regions."""
    return layers.Pyramid(levels, name=b.name("pyramid"))(x)


def pca(b: Build, x: jax.Array, components: Count) -> jax.Array:
    """Projects on principal components of the training set; a loss of CLOSED_FORM fits them, and what follows here."""
    return layers.PCA(components, name=b.name("pca"))(x)


def products(b: Build, x: jax.Array) -> jax.Array:
    """Computes the products of all pairs of the d inputs, squares included: [n, ...] to [n, d (d + 1) / 2].

    LeCun et al. 1998, III.C.3: "a module that computes all products of pairs of input variables".
    """
    x = x.reshape(x.shape[0], -1)
    first, second = np.triu_indices(x.shape[1])
    return x[:, first] * x[:, second]


def gaussians(b: Build, x: jax.Array, units: Count) -> jax.Array:
    """Applies Gaussian units whose centres are found by k-means, an equal number for each class."""
    if units < b.net.num_classes:
        raise ValueError(f"units is {units}: it must be at least the {b.net.num_classes} classes")
    return layers.Gaussians(units, name=b.name("gaussians"))(x)


# Output layers other than `out`, which only the losses of FITTED_BY fit


def nearest(b: Build, x: jax.Array, examples: Count, k: Count = 3) -> jax.Array:
    """Classifies by the k nearest of the training images; `examples` is the most that there may be."""
    return layers.Nearest(examples, k, b.net.num_classes, name="nearest")(x)


def pairs(b: Build, x: jax.Array) -> jax.Array:
    """Classifies by a linear unit for each pair of classes."""
    return layers.Pairs(b.net.num_classes, name="pairs")(x)


def polynomial(b: Build, x: jax.Array, examples: Count) -> jax.Array:
    """Classifies by support vector machines with a polynomial kernel of degree 4; `examples` as for `nearest`."""
    return layers.Polynomial(examples, b.net.num_classes, name="polynomial")(x)


def _pool(
    kind: str, b: Build, x: jax.Array, size: Count, stride: Natural = 0, padding: Natural = 0, ceil: bool = False
) -> jax.Array:  # fmt: skip
    return Pool(kind, size, stride or size, padding, ceil, name=b.name("pool"))(x)


def _activate(function: Callable, b: Build, x: jax.Array) -> jax.Array:
    return function(x)


LAYERS: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f for f in (conv, local, fc, out, gain, norm, lrn, lcn, dropout, border, subsample, mean, inception, head,
                            hog, sift, codebook, pyramid, pca, products, gaussians, nearest, pairs, polynomial)
}  # fmt: skip
FITTED_BY = {"nearest": ("least_squares", "svm"), "pairs": ("least_squares",), "polynomial": ("svm",)}  # losses
OUTPUTS = ("out", *FITTED_BY)
# Pooling; stride 0 means that the stride equals the window size.
LAYERS |= {kind: functools.partial(_pool, kind) for kind in ("max", "average", "l1", "l2")}
LAYERS |= {name: functools.partial(_activate, function) for name, function in ACTIVATIONS.items()}


# Words whose input has to be maps, [n, h, w, channels]; the others take vectors too.
OF_MAPS = ("conv", "local", "lcn", "border", "subsample", "mean", "inception", "head", "hog", "sift", "pyramid", "max", "average",
           "l1", "l2")  # fmt: skip
