"""A small network, for the tests of weight files."""

import pytest

from tests.models.pretrained.test_weights import create, random, shapes


@pytest.fixture(scope="module")
def small():
    """Returns a network, its shapes and random variables."""
    model = create("resnet20_cifar")
    like = shapes(model)
    return model, like, random(like)
