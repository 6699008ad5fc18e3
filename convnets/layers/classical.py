"""The classifiers that LeCun et al. 1998, section III.C, compare with LeNet-5, as layers that are fitted at once.

All take images or features of any shape, flattened to vectors [n, d]. convnets/training/closed_form.py fits them from
their inputs; they have no gradients that SGD could use. Import them from `convnets.layers`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

DEGREE = 4  # of the polynomial kernel


def flatten(x: jax.Array) -> jax.Array:
    """Reshapes [n, ...] to [n, values]."""
    return x.reshape(x.shape[0], -1)


def squared_distances(x: jax.Array, points: jax.Array) -> jax.Array:
    """Returns the squared Euclidean distances, float32 [n, k], from x [n, d] to the columns of `points` [d, k]."""
    x, points = x.astype(jnp.float32), points.astype(jnp.float32)
    squares = jnp.sum(jnp.square(x), axis=1, keepdims=True) + jnp.sum(jnp.square(points), axis=0)
    return jnp.maximum(squares - jnp.matmul(2 * x, points, precision="highest"), 0)


class PCA(nn.Module):
    """Projects [n, d] on `components` principal components of the training set: [n, components].

    As in the paper, the mean is subtracted from the training vectors to find the components. Whether it is subtracted from the
    inputs, too, the paper does not say; here it is not.

    Raises:
        ValueError: there are more components than inputs.
    """

    components: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = flatten(x)
        if self.components > x.shape[1]:
            raise ValueError(f"components is {self.components}: it must be at most the {x.shape[1]} inputs")
        kernel = self.param("kernel", nn.initializers.orthogonal(), (x.shape[1], self.components))
        return x @ kernel.astype(x.dtype)


class Gaussians(nn.Module):
    """Gaussian units: `exp(-|x - centre|^2 / (2 width))` of [n, d], [n, units]; k-means finds the centres [d, units]."""

    units: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = flatten(x)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[1], self.units))
        width = self.param("width", nn.initializers.ones, ())
        return jnp.exp(-squared_distances(x, kernel) / (2 * width)).astype(x.dtype)


class Nearest(nn.Module):
    """K nearest neighbours: [n, d] to the share of votes of each class among the k, scaled to [-1, 1].

    A tie goes to the class with the nearer neighbours. `kernel` [d, examples] are the training images and `labels`
    [examples] their classes, as floats like all parameters; -1 marks an unused place.

    Raises:
        ValueError: k is above the number of examples.
    """

    examples: int
    k: int
    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.k > self.examples:
            raise ValueError(f"k is {self.k}: it must be at most the {self.examples} examples")
        x = flatten(x)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[1], self.examples))
        labels = self.param("labels", nn.initializers.zeros, (self.examples,))
        distances = jnp.where(labels < 0, jnp.inf, squared_distances(x, kernel))
        _, nearest = lax.top_k(-distances, self.k)
        votes = jax.nn.one_hot(labels[nearest].astype(jnp.int32), self.num_classes)
        weights = 1 - min(1e-3, 1 / self.k**2) * jnp.arange(self.k, dtype=jnp.float32)  # breaks ties, and no majority
        return 2 * jnp.einsum("k,nkc->nc", weights, votes) / self.k - 1


class Polynomial(nn.Module):
    """Support vector machines, one for each class: [n, d] to margins [n, classes].

    The kernel of two vectors is ((u . v + 1) / 2)^4, with u and v scaled to unit length. The paper raises the plain dot
    product to the power of 4; the rest is our choice. `kernel` [d, examples] are the training images of unit length, `weights`
    [examples, classes] are zero where an image is no support vector.
    """

    examples: int
    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = unit_length(flatten(x))
        kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[1], self.examples)).astype(x.dtype)
        weights = self.param("weights", nn.initializers.normal(1.0), (self.examples, self.num_classes))
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        return ((x @ kernel + 1) / 2) ** DEGREE @ weights.astype(x.dtype) + bias.astype(x.dtype)


def unit_length(x: Any) -> Any:
    """Scales the rows of [n, d] to unit length; zeros stay zero."""
    return x / ((x * x).sum(1, keepdims=True) + 1e-12) ** 0.5


def class_pairs(classes: int) -> np.ndarray:
    """Returns the pairs of classes (i, j), i < j, as [pairs, 2]."""
    return np.stack(np.triu_indices(classes, 1), axis=1)


class Pairs(nn.Module):
    """Pairwise linear classifier: a unit for each pair of classes, [n, d] to class scores [n, classes].

    Unit (i, j) is trained to give +1 for class i and -1 for class j, and on no other images. A class scores the sum of
    its units, with their signs. The paper does not say how the sum of a unit is squashed. Here it is +1 or -1, by least squares;
    a thousandth of the sum's tanh breaks ties between classes.
    """

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x, pairs = flatten(x), class_pairs(self.num_classes)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[1], len(pairs))).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (len(pairs),)).astype(x.dtype)
        signs = np.eye(self.num_classes)[pairs[:, 0]] - np.eye(self.num_classes)[pairs[:, 1]]
        units = x @ kernel + bias
        return (jnp.sign(units) + 1e-3 * jnp.tanh(units)) @ signs.astype(x.dtype)
