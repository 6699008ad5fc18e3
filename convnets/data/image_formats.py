"""Pictures of any format as 8-bit RGB, with the same pixels in training and in predict.

Of 16 bits the high byte is read, of several frames the first. Transparent pixels become white. EXIF rotation and colour
profiles are ignored, as the decoder of JPEGs does.
"""

import io
import warnings

import numpy as np
from PIL import Image, PngImagePlugin

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # some programs save long texts beside the pixels
warnings.filterwarnings("ignore", module=r"PIL\.")  # what cannot be read raises


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns an opened picture as 8-bit RGB.

    Raises:
        Exception: the picture is damaged; Pillow raises OSError, SyntaxError, ValueError, struct.error and others.
    """
    if image.mode.startswith("I;16"):  # Pillow would clip it to 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no known range; save it with 8 or 16 bits")
    if not image.has_transparency_data:
        return image.convert("RGB")
    pixels = np.asarray(image.convert("RGBA"), np.int32)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    return Image.fromarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))


def to_decodable(encoded: bytes) -> bytes:
    """Returns a picture as training decodes it: a JPEG or an opaque PNG as it is, anything else as PNG of `to_rgb`.

    What Pillow cannot read is returned as it is, for the decoder to reject.
    """
    if encoded.startswith(JPEG) or (encoded.startswith(PNG) and not _is_transparent(encoded)):
        return encoded
    try:
        with Image.open(io.BytesIO(encoded)) as image, io.BytesIO() as file:
            to_rgb(image).save(file, "PNG", compress_level=0)
            return file.getvalue()
    except Exception:
        return encoded


def _is_transparent(png: bytes) -> bool:
    """Returns whether a PNG has an alpha channel (by its colour type), or a chunk of transparent colours."""
    return png[25:26] in (b"\x04", b"\x06") or b"tRNS" in png[: png.find(b"IDAT")]
