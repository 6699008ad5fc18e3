"""The papers' test protocols: `ten_crop`, or `multi_scale(256, 384, 512)|multi_crop(256, 384, 512)`.

A protocol maps the operations of a config's test string to the operations of one or more passes over the split. It replaces
the operations that select a region of the image (resize_short, resize_center_crop, center) by views and keeps the pixel operations:

    decode|resize_center_crop(256)|subtract_mean|center(224)
        ten_crop      decode|resize_center_crop(256)|subtract_mean|five_crop(224)|with_flip
    decode|resize_short(256)|center(224)|subtract_mean('colour')
        crops_144     decode|resize_short(256)|three_squares|six_crop(224)|subtract_mean('colour')|with_flip, and 288, 320, 352
        dense(384)    decode|resize_short(384)|crop_to_multiple(32)|subtract_mean('colour')|with_flip

Views and passes are averaged within each protocol; then the probabilities of protocols joined by `|` are averaged. Each
protocol averages softmax outputs or scores (`average='softmax'` or 'score') as its paper does. If the paper does not
say, it averages the softmax, as Krizhevsky et al. 2012 do. An ensemble always averages the softmax of its networks.
"""

from collections.abc import Callable
from typing import NamedTuple

from convnets import op_string
from convnets.augment import pipeline
from convnets.errors import UsageError
from convnets.evaluation.metrics import AVERAGES
from convnets.op_string import Call, Count, Natural

STEP = 32  # pixels; sides of whole images are multiples of it by default
RESIZES = ("resize_short", "resize_center_crop")


class Passes(NamedTuple):
    """The passes of one protocol.

    Attributes:
        average: a key of metrics.AVERAGES, for the views and the passes.
        passes: the operations of each pass.
        sides: shorter sides of the whole images that the network receives; 0 = the size in the data. Not every network
            accepts them.
        multiple: both sides of the whole images are multiples of so many pixels.
    """

    average: str
    passes: list[list[Call]]
    sides: tuple[int, ...] = ()
    multiple: int = STEP


class TestOps(NamedTuple):
    """The operations of a test string, start|resize|before|center(n)|after; without center(n), n is 0.

    `start` is decode, and grey, wherever it stands.
    """

    calls: list[Call]
    start: list[Call]
    resize: Call | None
    before: list[Call]
    n: int
    after: list[Call]

    @property
    def pixels(self) -> list[Call]:
        """All operations on pixels, in order."""
        return [*self.before, *self.after]

    def crops(self, name: str) -> int:
        """Returns the crop side n, for the protocol `name`.

        Raises:
            UsageError: the test string has no center(n).
        """
        if not self.n:
            raise UsageError(f"{name} puts its crops in the place of center(n) in data.test_ops, and there is none: add "
                             "|center(n), n the side that the network takes")  # fmt: skip
        return self.n

    def resized(self, side: int) -> Call:
        """Returns resize_short with this shorter side and the test string's sampling kernel."""
        given = self.resize.kwargs if self.resize else {}
        return _op("resize_short", side, **{key: given.get(key, False) for key in ("antialias", "cubic")})


def single(test: TestOps) -> Passes:
    """Evaluates the test string unchanged."""
    return Passes("score", [test.calls])


def ten_crop(test: TestOps, average: str = "softmax") -> Passes:
    """Four corner crops, the centre crop and their mirror images: 10 views (Krizhevsky et al. 2012, section 4.1).

    The softmax is averaged. He et al. 2015 do the same, at a shorter side of 256 (line 75 of the authors' readme).
    fb.resnet.torch sums the raw scores (train.lua, line 128). With subtract_mean('center'), crops are mirrored before the mean
    image is subtracted, as in cuda-convnet (convdata.py, lines 108 to 111 and 85).
    """
    crops = [_op("five_crop", test.crops("ten_crop")), _op("with_flip")]
    resize = [test.resize] if test.resize else []
    return Passes(average, [[*test.start, *resize, *test.before, *crops, *test.after]])


def crops_144(test: TestOps, average: str = "softmax") -> Passes:
    """4 scales x 3 squares x 6 views x 2 mirror images; the softmax is averaged (Szegedy et al. 2014, section 7).

    The shorter side is 256, 288, 320 or 352. Each image gives its left, central and right square, or upper, central and
    lower if it is tall. Each square gives its four corner crops, its centre crop and the whole square, resized.
    """
    n = test.crops("crops_144")
    _no_mean_image("crops_144", test.before)
    return Passes(average, [
        [*test.start, test.resized(side), _op("three_squares"), _op("six_crop", n), *test.pixels, _op("with_flip")]
        for side in (256, 288, 320, 352)
    ])  # fmt: skip


def dense(
    test: TestOps, size: Natural = 0, average: str = "softmax", flip: bool = True, multiple: Count = STEP
) -> Passes:
    """Fully convolutional evaluation of the whole image and its mirror image (Simonyan & Zisserman 2015, 3.2).

    The class score map is averaged over space, then the softmax over the two images. The papers take the uncropped image,
    `multiple=1`. By default up to 31 pixels are cropped off a side, so that few sizes occur: the network is compiled for
    each size, and there are up to 32 times as many without the crop. With it no pooling layer has a rest to round up.

    Args:
        size: shorter side of the images; 0 = the size in the test string. If that has none either, images keep their
            size in the data, as for CIFAR-10.
        flip: whether to add the mirror image.
        multiple: images are centre-cropped to multiples of so many pixels. Not every network accepts others than 32.
    """
    if test.resize:
        size = size or test.resize.kwargs["n" if test.resize.name == "resize_center_crop" else "a"]
    if size:
        _no_mean_image("dense", test.pixels)
    else:  # images of the size in the data, as the mean image is
        _no_mean_image("dense", [call for call in test.after if call.kwargs.get("of") != ("center",)])
    look = [test.resized(size), _op("crop_to_multiple", multiple)] if size else []
    ops = [*test.start, *look, *test.pixels, *([_op("with_flip")] if flip else [])]
    return Passes(average, [ops], (size,) if size else (0,) if test.n else (), multiple)


def multi_scale(test: TestOps, *sizes: int, average: str = "softmax", multiple: int = STEP) -> Passes:
    """Averages `dense` over several sizes; `multiple` is that of `dense`.

    Simonyan & Zisserman 2015, section 4.2, average the softmax at sizes around the training scale: 224, 256, 288, or
    256, 384, 512 after scale jitter. He et al. 2015, section 3.4, "average the scores" at 224, 256, 384, 480, 640. They do not
    say which; we average the softmax, since the authors' readme says "softmax scores" of the ten crops (line 75).
    """
    if not sizes:
        raise UsageError("multi_scale: give the shorter sides of the images, like multi_scale(256, 384, 512)")
    parts = [dense(test, size, average, multiple=multiple) for size in sizes]
    return Passes(average, [ops for p in parts for ops in p.passes], tuple(sizes), multiple)


def multi_crop(test: TestOps, *sizes: int, average: str = "softmax") -> Passes:
    """5 x 5 crops and their mirror images at each size, 50 views per size; the softmax is averaged.

    Simonyan & Zisserman 2015, sections 3.2 and 4.3: 150 views over 256, 384, 512. Combined with `multi_scale` it gives
    their table 5.
    """
    n = test.crops("multi_crop")
    if not sizes:
        raise UsageError("multi_crop: give the shorter sides of the images, like multi_crop(256, 384, 512)")
    _no_mean_image("multi_crop", test.before)
    return Passes(average, [
        [*test.start, test.resized(side), _op("grid", 5, n), *test.pixels, _op("with_flip")] for side in sizes
    ])  # fmt: skip


PROTOCOLS: dict[str, Callable[..., Passes]] = {
    f.__name__: f for f in (single, ten_crop, crops_144, dense, multi_scale, multi_crop)
}


def parse(text: str) -> list[Call]:
    """Parses a protocol string into calls.

    Raises:
        UsageError: the string is empty, a protocol is unknown, or its arguments are wrong.
    """
    calls = op_string.parse(text, PROTOCOLS, skip=1)
    if not calls:
        raise UsageError(f"no protocol; known: {', '.join(sorted(PROTOCOLS))}")
    for call in calls:
        average = call.kwargs.get("average", "softmax")
        if average not in AVERAGES:
            raise UsageError(f"{call.name}: average is '{average}': choose one of {', '.join(sorted(AVERAGES))}")
    return calls


def parts(text: str, test_ops: str) -> list[Passes]:
    """Applies the protocols of `text` to a test string; one `Passes` per protocol.

    Raises:
        UsageError: as `parse`, or the test string lacks an operation that a protocol needs.
    """
    return [call(_read(test_ops)) for call in parse(text)]


def _read(text: str) -> TestOps:
    calls = pipeline.parse_calls(text)
    names = [call.name for call in calls]
    if own := next((name for name in names if pipeline.only_for_protocols(name)), None):
        raise UsageError(f"data.test_ops has '{own}', which is for evaluate.protocol to put there: show one view of one size, "
                         "and choose a protocol")  # fmt: skip
    if names.count("center") > 1:
        raise UsageError("data.test_ops has 'center' twice: a protocol replaces the one crop that a test string has")
    at = names.index("center") if "center" in names else len(calls)
    resize = next((call for call in calls if call.name in RESIZES), None)
    moved = ("grey", "center", *RESIZES)
    before, after = ([c for c in some if c.name not in moved] for some in (calls[1:at], calls[at:]))
    return TestOps(
        calls,
        [calls[0], *(c for c in calls if c.name == "grey")],
        resize,
        before,
        calls[at].kwargs["n"] if at < len(calls) else 0,
        after,
    )


def _op(name: str, *args: int, **kwargs: bool) -> Call:
    return op_string.bind(pipeline.OPS, name, args, kwargs, skip=2)


def _no_mean_image(name: str, calls: list[Call]) -> None:
    if any(call.name == "subtract_mean" and call.kwargs["of"] in ((), ("center",)) for call in calls):
        raise UsageError(
            f"{name}: 'subtract_mean' in data.test_ops takes a mean image of one size, and {name} shows others there: "
            "write subtract_mean('colour')"
        )
