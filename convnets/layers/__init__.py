"""All layers of the papers, one file per kind of layer; import them from this package."""

from convnets.layers.activations import ACTIVATIONS, scaled_tanh  # noqa: F401
from convnets.layers.classical import PCA, Gaussians, Nearest, Pairs, Polynomial  # noqa: F401
from convnets.layers.cpu_kernels import relu  # noqa: F401
from convnets.layers.descriptors import HOG, SIFT, Codebook, Pyramid  # noqa: F401
from convnets.layers.initializers import (  # noqa: F401
    Init,
    caffe_xavier,
    constant,
    glorot,
    he_normal,
    normal,
    parse_initializer,
    uniform_fan_in,
)
from convnets.layers.linear import RBF, Bias, Conv, Dense, Gain, LocallyConnected, Subsample  # noqa: F401
from convnets.layers.neocognitron import CCells, SCells  # noqa: F401
from convnets.layers.normalization import LRN, BatchNorm, LocalContrast  # noqa: F401
from convnets.layers.pooling import Padding, Pool, pads, pair, pool, windows  # noqa: F401
