"""Training and predict read every encoding of a picture to the same pixels; predict explains what it cannot read."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from convnets.augment import host_ops, pipeline
from convnets.data import dataset, image_files, image_formats, sampler
from convnets.errors import UsageError

HEIGHT, WIDTH = 27, 33
FACTS = {"image_shape": (HEIGHT, WIDTH, 3), "dark_background": False}


def _draw() -> dict[str, Image.Image]:
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    rgb = colours.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    found = {mode: rgb.convert(mode) for mode in ("RGB", "L", "1", "CMYK", "YCbCr")} | {"P": rgb.quantize(16)}
    alpha = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))
    for mode in ("RGB", "L"):
        found[f"{mode}A"] = found[mode].copy()
        found[f"{mode}A"].putalpha(alpha)
    found["I;16"] = Image.fromarray(rng.integers(0, 2**16, (HEIGHT, WIDTH)).astype(np.uint16))
    return found


MODES = _draw()
ROTATED = Image.Exif()
ROTATED[image_files.ORIENTATION] = 6


def png16(channels: int) -> bytes:
    """Encodes a PNG of 16 bits a channel, which Pillow cannot write."""
    pixels = np.random.default_rng(1).integers(0, 2**16, (HEIGHT, WIDTH * channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return image_formats.PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def behind_head(png: bytes, more: bytes) -> bytes:
    """Inserts chunks behind the first one of a PNG."""
    return png[:33] + more + png[33:]


def encode(mode: str, form: str, **options) -> bytes:
    file = io.BytesIO()
    MODES[mode].save(file, form, **options)
    return file.getvalue()


ENCODINGS = {
    **{f"jpeg, {s} subsampled, quality {q}": ("RGB", "JPEG", {"subsampling": s, "quality": q})
       for s, q in (("4:4:4", 95), ("4:2:2", 75), ("4:2:0", 75), ("4:2:0", 10))},
    "jpeg, progressive": ("RGB", "JPEG", {"progressive": True}), "jpeg, optimized": ("RGB", "JPEG", {"optimize": True}),
    "jpeg, restart markers": ("RGB", "JPEG", {"restart_marker_blocks": 2}), "jpeg, rgb": ("RGB", "JPEG", {"keep_rgb": True}),
    "jpeg, grey": ("L", "JPEG", {}), "jpeg, cmyk": ("CMYK", "JPEG", {}), "jpeg, ycbcr": ("YCbCr", "JPEG", {}),
    "jpeg, rotated by exif": ("RGB", "JPEG", {"exif": ROTATED}), "jpeg, icc": ("RGB", "JPEG", {"icc_profile": b"0" * 200}),
    "several jpegs": ("RGB", "MPO", {"save_all": True, "append_images": [MODES["RGB"].rotate(180)]}),
    "png, rotated by exif": ("RGB", "PNG", {"exif": ROTATED}),
    **{f"png, {mode}": (mode, "PNG", {}) for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "I;16")},
    "png, 2 bits": ("P", "PNG", {"bits": 4}), "png, a colour transparent": ("RGB", "PNG", {"transparency": (7, 8, 9)}),
    "png, a grey transparent": ("L", "PNG", {"transparency": MODES["L"].getpixel((3, 3))}),
    "png, an index transparent": ("P", "PNG", {"transparency": 3}),
    "png, indices half transparent": ("P", "PNG", {"transparency": bytes(range(0, 256, 16))}),
    "gif": ("P", "GIF", {}), "gif, transparent": ("P", "GIF", {"transparency": 3}),
    "gif, animated": ("P", "GIF", {"save_all": True, "append_images": [MODES["P"].rotate(180)]}),
    **{f"bmp, {mode}": (mode, "BMP", {}) for mode in ("RGB", "L", "1", "P")},
    "webp": ("RGB", "WEBP", {}), "webp, transparent": ("RGBA", "WEBP", {"lossless": True}),
    **{f"tiff, {mode}": (mode, "TIFF", {}) for mode in ("RGB", "CMYK", "I;16", "LA")},
}  # fmt: skip
ENCODED = {name: encode(mode, form, **options) for name, (mode, form, options) in ENCODINGS.items()}
ENCODED |= {f"png, 16 bits, {n} channels": png16(n) for n in (1, 2, 3, 4)}
ENCODED["png, a long text"] = behind_head(ENCODED["png, RGB"], chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21))))
ENCODED["png, a broken text"] = behind_head(ENCODED["png, RGB"], chunk(b"zTXt", b"a\0\0no zlib"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns the pixels that training reads of every encoding, and of each as grey."""
    root = tmp_path_factory.mktemp("folder")
    for split in ("train", "test"):
        (root / split / "a").mkdir(parents=True)
        for i, encoded in enumerate(ENCODED.values()):
            (root / split / "a" / f"{i:03}.png").write_bytes(encoded)  # what the content says counts
    found = {}
    for ops in (f"decode|resize_center_crop({HEIGHT})", f"decode|grey|resize_center_crop({HEIGHT})"):
        train, _ = dataset.load_splits(f"folder:{root}", "", "stream", "train", "test", ops, ops, "error")
        batches = train.feed(sampler.evaluation_schedule(len(ENCODED), len(ENCODED)))
        found[ops] = dict(zip(ENCODED, next(batches)["image"], strict=True))
    return found


@pytest.mark.parametrize("name", ENCODED)
def test_training_and_predict_read_the_same_pixels(trained, tmp_path, name):
    file = tmp_path / "a.png"
    file.write_bytes(ENCODED[name])
    for ops, images in trained.items():
        facts = {**FACTS, "image_shape": (HEIGHT, HEIGHT, 1 if "grey" in ops else 3)}
        np.testing.assert_array_equal(image_files.read([str(file)], facts, ops, False)[0], images[name])


def pixels_of(tmp_path, encoded: bytes) -> np.ndarray:
    (tmp_path / "a.png").write_bytes(encoded)
    return image_files.read([str(tmp_path / "a.png")], FACTS, "decode", False)[0]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_of_grey_keep_their_range(tmp_path, form):
    wanted = np.asarray(MODES["I;16"]) >> 8
    assert wanted.max() - wanted.min() > 200
    for channel in np.moveaxis(pixels_of(tmp_path, encode("I;16", form)), -1, 0):
        np.testing.assert_array_equal(channel, wanted)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_ink_on_a_transparent_ground_is_on_white(tmp_path, capsys, mode):
    ink = Image.new("L", (WIDTH, HEIGHT))
    ink.paste(255, (8, 8, 20, 20))
    image = Image.new(mode[:-1], ink.size)  # black, and transparent but for a square
    image.putalpha(ink)
    file = io.BytesIO()
    image.save(file, "PNG")
    found = pixels_of(tmp_path, file.getvalue())
    assert (found[8:20, 8:20] == 0).all() and (found[0] == 255).all() and np.isin(found, (0, 255)).all()
    assert "a.png has transparent parts; they are white" in capsys.readouterr().out


def test_a_rotation_by_exif_is_said(tmp_path, capsys):
    pixels_of(tmp_path, ENCODED["jpeg, rotated by exif"])
    assert "a.png is stored rotated (EXIF)" in capsys.readouterr().out
    pixels_of(tmp_path, ENCODED["png, RGB"])
    assert not capsys.readouterr().out


def huge(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return image_formats.PNG + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


PNG = ENCODED["png, RGB"]
UNREADABLE = {
    "empty": b"", "text": b"not an image", "cut": PNG[: len(PNG) // 2], "a head alone": PNG[:33], "a signature alone": PNG[:8],
    "a bomb": huge(60000), "a negative side": huge(2**31), "a broken chunk": PNG[:40] + b"\0\1\2" + PNG[43:],
    "a broken head": behind_head(PNG, b"")[:20] + b"\xff" * 4 + PNG[24:], "a chunk without end": behind_head(PNG, b"\x7f\0\0\0tEXt"),
    "32 bits": b"", "floats": b"",
    "a jpeg cut": ENCODED["jpeg, grey"][:300], "a webp cut": ENCODED["webp"][:60], "a gif cut": ENCODED["gif"][:40],
    "a bmp cut": ENCODED["bmp, RGB"][:60], "a tiff cut": ENCODED["tiff, RGB"][:100],
}  # fmt: skip
for name, dtype in (("32 bits", np.int32), ("floats", np.float32)):
    file = io.BytesIO()
    Image.fromarray(np.ones((4, 5), dtype)).save(file, "TIFF")
    UNREADABLE[name] = file.getvalue()


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_picture_that_cannot_be_read_is_one_line(tmp_path, name):
    with pytest.raises(UsageError, match=r"^.*/a\.png cannot be read as an image: [^\n]+$"):
        pixels_of(tmp_path, UNREADABLE[name])
    assert image_formats.to_decodable(UNREADABLE[name]) == UNREADABLE[name]  # the decoder of training rejects it


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_file_that_is_none_is_one_line(tmp_path, what):
    with pytest.raises(UsageError, match=r"cannot be read as an image: "):
        image_files.read([str(tmp_path / "none" if what == "missing" else tmp_path)], FACTS, "decode", False)


def test_grey_is_pillows_and_leaves_grey_as_it_is():
    rgb = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    host, device = pipeline.parse("decode|grey", test=True)
    assert [call.name for call in host] == ["decode", "grey"] and not device
    np.testing.assert_array_equal(host_ops.show(host, rgb)[..., 0], np.asarray(Image.fromarray(rgb).convert("L")))
    grey = rgb[..., :1]
    np.testing.assert_array_equal(host_ops.show(host, grey), grey)
    np.testing.assert_array_equal(host_ops.show(host, np.repeat(grey, 3, -1)), grey)
