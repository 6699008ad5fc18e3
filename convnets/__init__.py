"""The classic convolutional networks, as their papers describe them, in JAX and Flax."""

__version__ = "0.1.0"
