"""Normalization layers: over a batch, over neighbouring maps, over a neighbourhood in space.

Import them from `convnets.layers`. Statistics are float32 for every compute dtype.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from convnets.errors import UsageError
from convnets.layers import cpu_kernels
from convnets.layers.cpu_convolution import DIMENSION_NUMBERS
from convnets.layers.initializers import Init
from convnets.layers.pooling import pads, root


class BatchNorm(nn.Module):
    """Batch normalization over all axes but the last (Ioffe & Szegedy 2015, algorithms 1 and 2).

    Training uses the statistics of this device's batch, or of each group of it. Inference uses running statistics, with
    the unbiased variance of algorithm 2. Statistics are float32.

    Attributes:
        ghost_batch: number of consecutive examples that share statistics in training, as on one GPU of several (Hoffer
            et al. 2017, "ghost batch normalization"); 0, or a batch below that number: the whole batch of the device.
            The running statistics follow the mean of the groups' means and variances, as over several devices.
        momentum: weight of the OLD running value, as in Flax and Caffe; PyTorch's is the weight of the new value.
        epsilon: added to the variance inside the square root.

    Raises:
        UsageError: ghost_batch is negative, or does not divide the batch; momentum or epsilon is out of range.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Init = nn.initializers.ones_init()
    dtype: Any = jnp.float32
    ghost_batch: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not (0 <= self.momentum < 1 and self.epsilon > 0):
            raise UsageError(f"{self.name}: momentum must be from 0 to below 1, epsilon above 0:"
                             f" {self.momentum:g}, {self.epsilon:g}")  # fmt: skip
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        if not train:
            factor = scale * lax.rsqrt(running_var.value + self.epsilon)
            return ((x.astype(jnp.float32) - running_mean.value) * factor + bias).astype(self.dtype)
        size = min(self.ghost_batch or len(x), len(x))
        if size < 0 or len(x) % size:
            raise UsageError(
                f"{self.name}: ghost_batch is {size}: it must be 0, or divide the {len(x)} examples of a device"
            )
        x = x.astype(self.dtype)
        if size == len(x):  # without an axis of one group, which makes a training step on CPUs slower
            y, mean, var = cpu_kernels.normalize(x, scale, bias, self.epsilon)
        else:
            groups = x.reshape(-1, size, *x.shape[1:])
            y, mean, var = jax.vmap(lambda group: cpu_kernels.normalize(group, scale, bias, self.epsilon))(groups)
            y, mean, var = y.reshape(x.shape), jnp.mean(mean, 0), jnp.mean(var, 0)
        if not self.is_initializing():
            n = size * x[0].size // x.shape[-1]
            keep, take = self.momentum, 1 - self.momentum
            running_mean.value = keep * running_mean.value + take * mean
            running_var.value = keep * running_var.value + take * var * (n / max(n - 1, 1))
        return y


class LRN(nn.Module):
    """Local response normalization: x / (k + alpha * sum of squares over a neighbourhood)^beta.

    Across maps: `size` neighbouring maps at the same pixel (Krizhevsky et al. 2012, section 3.3, with the constants
    printed there). Within a map: size x size neighbouring pixels of the same map (cuda-convnet's 'same map' layer).
    Maps outside the range and pixels outside the image count as 0.

    Attributes:
        divide: divides alpha by the number of elements of a neighbourhood, `size` or size x size, as cuda-convnet,
            Caffe and PyTorch do. The paper does not.
        within: normalizes within a map instead of across maps.
        groups: number of groups of maps that are normalized alone, as on each of AlexNet's two GPUs.

    Raises:
        ValueError: `within`, and the input has no maps; or `groups` does not divide the maps.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    divide: bool = False
    within: bool = False
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.within and x.ndim != 4:
            raise ValueError(f"{self.name}: lrn(within=True) needs maps [n, h, w, c], the input is {list(x.shape)}")
        if x.shape[-1] % self.groups:
            raise ValueError(f"{self.name}: groups is {self.groups}: it must divide the {x.shape[-1]} maps")
        squares = jnp.square(x.astype(jnp.float32))
        if self.groups > 1 and not self.within:
            squares = squares.reshape(*x.shape[:-1], self.groups, -1)
        below = self.size // 2
        neighbours = (1, self.size, self.size, 1) if self.within else (1,) * (squares.ndim - 1) + (self.size,)
        edges = tuple((below, n - 1 - below) if n > 1 else (0, 0) for n in neighbours)
        total = lax.reduce_window(squares, np.float32(0), lax.add, neighbours, (1,) * squares.ndim, edges)
        scale = self.k + self.alpha / (np.prod(neighbours).item() if self.divide else 1) * total.reshape(x.shape)
        return (x.astype(jnp.float32) * cpu_kernels.inverse_power(scale, self.beta)).astype(x.dtype)


class LocalContrast(nn.Module):
    """Subtractive and divisive local contrast normalization (Jarrett et al. 2009; LeCun et al. 2010).

    v = x - mean and y = v / max(c, sigma) over [n, h, w, maps], where sigma is the square root of the mean of v^2. Both
    means run over the surrounding size x size pixels and all maps, with Gaussian weights that sum to 1. The maps of a
    pixel share one mean and one sigma. c is the mean of sigma over one image.

    Pixels outside the image are ignored, and the weights inside rescaled to sum to 1 (Torch7), so that a constant image
    becomes 0 up to its border. The Gaussian's standard deviation is size / 4, the default of Torch7's image.gaussian (its
    normalization layers have a flat window by default); we know of no published value.

    Attributes:
        epsilon: smallest divisor, for an image without contrast (Torch7's threshold).

    Raises:
        ValueError: the size is even.
    """

    size: int = 9
    epsilon: float = 1e-4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.size % 2 == 0:
            raise ValueError(
                f"the window of {self.name} has a pixel in its middle, so its size is odd, not {self.size}"
            )
        values = x.astype(jnp.float32)
        inside = self._blur(jnp.ones((1, *x.shape[1:3], 1), jnp.float32))

        def mean(a):
            return self._blur(jnp.mean(a, -1, keepdims=True)) / inside

        centred = values - mean(values)
        sigma = root(mean(jnp.square(centred)))
        least = jnp.maximum(jnp.mean(sigma, (1, 2), keepdims=True), self.epsilon)
        return (centred / jnp.maximum(least, sigma)).astype(x.dtype)

    def _blur(self, x: jax.Array) -> jax.Array:
        """Averages [n, h, w, 1] with the Gaussian; pixels outside the image count as 0."""
        half, std = self.size // 2, self.size / 4
        line = np.exp(-0.5 * (np.arange(-half, half + 1) / std) ** 2)
        plane = jnp.asarray(np.outer(line, line) / np.sum(line) ** 2, jnp.float32)[:, :, None, None]
        return lax.conv_general_dilated(x, plane, (1, 1), pads(half), dimension_numbers=DIMENSION_NUMBERS,
                                        precision="highest")  # fmt: skip
