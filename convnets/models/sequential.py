"""Networks defined by one string, for ablations and for small networks that papers describe in one sentence.

    conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out

The string is read left to right, in the syntax of `convnets.op_string`. Its words are the functions of words.py; `out` is
the fully connected layer to the classes.

The networks of two papers are defined here:

BN          Ioffe & Szegedy: Batch normalization, ICML 2015, section 4.1: MNIST, three fully connected layers of 100
            units, sigmoid.
Net-1 to 5  LeCun: Generalization and network design strategies, 1989. Our source is table 11.1 of Hastie, Tibshirani,
            Friedman: The elements of statistical learning. 320 + 160 digits of 16 x 16.

                                                    links    weights    name in table 11.1
    Net-1   full 10                                 2,570    2,570      single layer network
    Net-2   full 12, full 10                        3,214    3,214      two layer network
    Net-3   local 3/2, 1 @ 8; local 5/2, 1 @ 4      1,226    1,226      locally connected
    Net-4   conv  3/2, 2 @ 8; local 5/2, 1 @ 4      2,266    1,132      constrained network 1
    Net-5   conv  3/2, 2 @ 8; conv  5/2, 4 @ 4      5,194    1,060      constrained network 2

Notation: '3/2, 1 @ 8' is kernel 3 with stride 2, giving 1 feature map of 8 x 8.

The table gives the links and weights, section 11.7 of the book the windows: in both hidden layers, units one apart see
fields two apart. Every unit has its own bias, even where weights are shared. Our choices: the windows reach 1 pixel beyond
16 and 3 beyond 8. The one is on the right and below; of the three, two are on the left and above, so that the fields stay
near the middle. Their value is the background, -1, in both layers, as in the zip code network of the same year (lenet.py).
Squashing functions and loss follow it too. Initial weights are from U(-2.4/F, 2.4/F), where F is the fan-in, as the text of
that year prints it; configs/lenet.py has 2.4/sqrt(F) and says why.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from convnets import layers, op_string
from convnets.errors import UsageError, first_line
from convnets.models.options import MISFITS, check_dropout_rate
from convnets.models.words import FITTED_BY, LAYERS, OF_MAPS, OUTPUTS, Build
from convnets.op_string import Count


class Stack(nn.Module):
    """Maps `[n, *input_shape]` to logits [n, classes]; in training with a `head` to (logits, {'head1': logits, ...}).

    Attributes:
        layers: string that defines the network.
        init_weights: initializer of all weights, see `layers.parse_initializer`; biases are 0.
        side, channels: side and channels of the square input images.

    Raises:
        UsageError: at construction, if `layers` or `init_weights` cannot be parsed; when called, if a layer does not
            fit its input.
    """

    layers: str = "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out"
    init_weights: str = "he"
    side: Count = 28
    channels: Count = 1
    num_classes: int = 10
    dtype: Any = jnp.float32

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an input."""
        return (self.side, self.side, self.channels)

    def __post_init__(self) -> None:
        super().__post_init__()
        layers.parse_initializer(self.init_weights)
        calls = op_string.parse(self.layers, LAYERS, skip=2)
        for call in calls:
            if call.name == "dropout":
                check_dropout_rate(call.kwargs["share"])
        if sum(c.name in OUTPUTS for c in calls) != 1:
            raise UsageError(f"layers '{self.layers}' need one 'out', the layer to the classes")

    def check_loss(self, loss: str) -> None:
        """Raises UsageError if the loss does not fit the layer to the classes."""
        word = next(c.name for c in op_string.parse(self.layers, LAYERS, skip=2) if c.name in OUTPUTS)
        if loss not in FITTED_BY.get(word, (loss,)):
            raise UsageError(f"loss={loss} does not fit the layer '{word}'; take {' or '.join(FITTED_BY[word])}")

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Any:
        build = Build(self, train)
        x = x.astype(self.dtype)
        for layer in op_string.parse(self.layers, LAYERS, skip=2):
            shape = x.shape[1:]
            try:
                if layer.name in OF_MAPS and len(shape) != 3:
                    raise ValueError("it takes maps, [h, w, channels]")
                x = layer(build, x)
                if not x.size:
                    raise ValueError(f"it leaves nothing, {x.shape[1:]}")
            except MISFITS as e:
                raise UsageError(f"model.layers: {layer.name} on {shape}: {first_line(e)}") from e
        if x.shape[1:] != (self.num_classes,):
            raise UsageError(f"model.layers: '{self.layers}' return {list(x.shape[1:])} for an image: the last layers must keep"
                             f" the {self.num_classes} classes of 'out'")  # fmt: skip
        return (x, build.heads) if train and build.heads else x


_EIGHT, _FOUR = "border(0, 1, -1.0)|{}|scaled_tanh", "|border(2, 1, -1.0)|{}|scaled_tanh|out|scaled_tanh"
DIGITS_1989 = {
    "net1": "out|scaled_tanh",
    "net2": "fc(12)|scaled_tanh|out|scaled_tanh",
    "net3": (_EIGHT + _FOUR).format("local(1, 3, 2)", "local(1, 5, 2)"),
    "net4": (_EIGHT + _FOUR).format("conv(2, 3, 2, bias='unit')", "local(1, 5, 2)"),
    "net5": (_EIGHT + _FOUR).format("conv(2, 3, 2, bias='unit')", "conv(4, 5, 2, bias='unit')"),
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
