"""A small network, for the tests of weight files."""

import pytest

from convnets.models.summary import variable_shapes
from tests.models.pretrained.test_weights import create, random


@pytest.fixture(scope="module")
def small():
    """Returns a network, its shapes and random variables."""
    model = create("resnet20_cifar")
    like = variable_shapes(model)
    return model, like, random(like)
