"""The papers' test protocols: `ten_crop`, or `multi_scale(256, 384, 512)|multi_crop(256, 384, 512)`.

A protocol rewrites a config's test string into one or more test strings; each is one pass over the split. It replaces
the operations that select a region of the image (resize_short, square, center) by views and keeps the pixel operations:

    decode|square(256)|subtract_mean|center(224)
        ten_crop      decode|square(256)|subtract_mean|five(224)|mirror
    decode|resize_short(256)|center(224)|subtract_mean('colour')
        crops_144     decode|resize_short(256)|squares|six(224)|subtract_mean('colour')|mirror, and 288, 320, 352
        dense(384)    decode|resize_short(384)|whole(32)|subtract_mean('colour')|mirror

Views and passes are averaged within each protocol; then the probabilities of protocols joined by `|` are averaged. Each
protocol averages softmax outputs or scores (`average='softmax'` or 'score') as its paper does. If the paper does not
say, it averages the softmax, as Krizhevsky et al. 2012 do. An ensemble always averages the softmax of its networks.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from convnets import op_string
from convnets.errors import UsageError
from convnets.evaluation.metrics import AVERAGES
from convnets.op_string import Call

STEP = 32  # pixels; sides of whole images are multiples of it
OURS = ("five", "six", "squares", "grid", "whole", "mirror")  # operations that only protocols may add


class Passes(NamedTuple):
    """The passes of one protocol.

    Attributes:
        average: a key of metrics.AVERAGES, for the views and the passes.
        passes: test strings.
        sides: shorter sides of the whole images that the network receives; 0 = the size in the data. Not every network
            accepts them.
    """

    average: str
    passes: list[str]
    sides: tuple[int, ...] = ()


class ParsedOps(NamedTuple):
    """A parsed test string `decode|resize|before|center(n)|after`; a missing part is '', a missing n is 0.

    `decode` includes `grey`, wherever it stands.
    """

    text: str
    decode: str
    resize: str
    before: str
    n: int
    after: str

    def crops(self, name: str) -> int:
        """Returns the crop side n, for the protocol `name`.

        Raises:
            UsageError: the test string has no center(n).
        """
        if not self.n:
            raise UsageError(
                f"{name} puts its crops in the place of center(n) in data.test_ops, and '{self.text}' has none: "
                "add |center(n), n the side that the network takes"
            )
        return self.n

    def resized(self, side: int) -> str:
        """Returns the resize operation as resize_short with this shorter side."""
        return re.sub(r"^\w+\(\D*\d+", f"resize_short({side}", self.resize or "resize_short(0)")


def single(test: ParsedOps) -> Passes:
    """Evaluates the test string unchanged."""
    return Passes("score", [test.text])


def ten_crop(test: ParsedOps, average: str = "softmax") -> Passes:
    """Four corner crops, the centre crop and their mirror images: 10 views (Krizhevsky et al. 2012, section 4.1).

    The softmax is averaged. He et al. 2015, section 4.1, use the same ten crops and do not say what they average.
    """
    crops = f"five({test.crops('ten_crop')})"
    return Passes(average, [_join(test.decode, test.resize, test.before, crops, test.after, "mirror")])


def crops_144(test: ParsedOps, average: str = "softmax") -> Passes:
    """4 scales x 3 squares x 6 views x 2 mirror images; the softmax is averaged (Szegedy et al. 2014, section 7).

    The shorter side is 256, 288, 320 or 352. Each image gives its left, central and right square, or upper, central and
    lower if it is tall. Each square gives its four corner crops, its centre crop and the whole square, resized.
    """
    n = test.crops("crops_144")
    _no_mean_image("crops_144", test.before)
    return Passes(average, [
        _join(test.decode, test.resized(side), "squares", f"six({n})", test.before, test.after, "mirror")
        for side in (256, 288, 320, 352)
    ])  # fmt: skip


def dense(test: ParsedOps, size: int = 0, average: str = "softmax", flip: bool = True) -> Passes:
    """Fully convolutional evaluation of the whole image and its mirror image (Simonyan & Zisserman 2015, 3.2).

    The class score map is averaged over space, then the softmax over the two images. Images are centre-cropped to
    multiples of 32 pixels, so that few sizes are compiled. VGG's pooling layers drop the excess pixels anyway; those of
    ResNet and GoogLeNet round up.

    Args:
        size: shorter side of the images; 0 = the size in the test string. If that has none either, images keep their
            size in the data, as for CIFAR-10.
        flip: whether to add the mirror image.
    """
    size = size or int((re.findall(r"\d+", test.resize) or [0])[0])
    _no_mean_image("dense", _join(test.before, test.after) if size else test.after)
    look = [test.resized(size), f"whole({STEP})"] if size else []
    ops = _join(test.decode, *look, test.before, test.after, "mirror" if flip else "")
    return Passes(average, [ops], (size,) if size else (0,) if test.n else ())


def multi_scale(test: ParsedOps, *sizes: int, average: str = "softmax") -> Passes:
    """Averages `dense` over several sizes.

    Simonyan & Zisserman 2015, section 4.2, average the softmax at sizes around the training scale: 224, 256, 288, or
    256, 384, 512 after scale jitter. He et al. 2015, section 4.1, "average the scores" at 224, 256, 384, 480, 640.
    """
    if not sizes:
        raise UsageError("multi_scale: give the shorter sides of the images, like multi_scale(256, 384, 512)")
    parts = [dense(test, size, average) for size in sizes]
    return Passes(average, [ops for p in parts for ops in p.passes], tuple(sizes))


def multi_crop(test: ParsedOps, *sizes: int, average: str = "softmax") -> Passes:
    """5 x 5 crops and their mirror images at each size, 50 views per size; the softmax is averaged.

    Simonyan & Zisserman 2015, sections 3.2 and 4.3: 150 views over 256, 384, 512. Combined with `multi_scale` it gives
    their table 5.
    """
    n = test.crops("multi_crop")
    if not sizes:
        raise UsageError("multi_crop: give the shorter sides of the images, like multi_crop(256, 384, 512)")
    _no_mean_image("multi_crop", test.before)
    return Passes(average, [
        _join(test.decode, test.resized(side), f"grid(5, {n})", test.before, test.after, "mirror") for side in sizes
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


def _read(text: str) -> ParsedOps:
    words = [w.strip() for w in text.split("|")]
    names = [_name(w) for w in words]
    if own := set(names) & set(OURS):
        raise UsageError(f"data.test_ops has '{min(own)}', which is for evaluate.protocol to put there: show one view of "
                         "one size, and choose a protocol")  # fmt: skip
    at = names.index("center") if "center" in names else len(words)
    resize = next((w for w in words if _name(w) in ("resize_short", "square")), "")
    before, after = (
        _join(*(w for w in some if _name(w) not in ("grey", "resize_short", "square", "center")))
        for some in (words[1:at], words[at:])
    )
    n = int((re.findall(r"\d+", words[at]) or [0])[0]) if at < len(words) else 0
    return ParsedOps(text, _join(words[0], "grey" if "grey" in names else ""), resize, before, n, after)


def _name(word: str) -> str:
    return word.split("(")[0].strip()


def _join(*words: str) -> str:
    return "|".join(filter(None, words))


def _no_mean_image(name: str, ops: str) -> None:
    if {"subtract_mean", "subtract_mean()"} & set(ops.split("|")):
        raise UsageError(
            f"{name}: 'subtract_mean' in data.test_ops takes a mean image of one size, and {name} shows others there: "
            "write subtract_mean('colour')"
        )
