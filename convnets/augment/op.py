"""A row of the tables HOST (augment/host_ops.py) and DEVICE (augment/device_ops.py): an operation and its facts."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from convnets.op_string import Call

Fact = bool | Callable[..., bool]  # or a function of the operation's arguments, by name


class Op(NamedTuple):
    """An operation of the augmentation language.

    Attributes:
        function: on the host (seed, image, arguments), on the device (keys, images, arguments).
        random: whether the operation draws at random.
        size: 'fixed' if all images leave a host operation with the same size, 'varies' if they leave with sizes of their
            own, 'dense' if these suit dense evaluation as they are, '' if it changes no size.
        views: whether the operation makes several views of an image, as test protocols do.
        statistics: whether the operation needs training-set statistics that its arguments do not give.
        scales: whether the pixels that leave the operation have another scale than 0 to 255.
        still: maps the arguments of a random host operation to an operation like it without chance, by which
            statistics are measured.
    """

    function: Callable[..., Any]
    random: Fact = False
    size: str = ""
    views: bool = False
    statistics: Fact = False
    scales: bool = False
    still: Callable[..., Call] | None = None

    @property
    def name(self) -> str:
        """Name of the operation in an augmentation string: its function's."""
        return self.function.__name__


def make_table(*ops: Op) -> dict[str, Op]:
    """Returns operations by name, as `HOST` and `DEVICE` hold them."""
    return {op.name: op for op in ops}


def is_true(fact: Fact, arguments: Mapping[str, Any]) -> bool:
    """Returns a fact of an operation for these arguments."""
    return fact(**arguments) if callable(fact) else fact
