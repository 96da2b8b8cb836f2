"""A picture's file, from anyone -> upright RGB. Sizes are checked before a pixel is decoded."""

from __future__ import annotations

import warnings
from io import BytesIO

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from embedder.client.images import reduce_image
from embedder.server.limits import HTTPError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # limits are ours
MAX_SCANS = 200  # of a progressive JPEG, whose decoding time grows with them; encoders write ~10


def decode_image(data: bytes, *, side: int, pixels: int) -> Image.Image:
    """Upright RGB, transparency on white, reduced while the shorter side stays >= `side`.

    Raises `Refusal`.
    """
    try:
        Image.MAX_IMAGE_PIXELS = pixels  # Pillow's own guard refuses twice that
        with Image.open(BytesIO(data), formats=FORMATS) as source:
            _check_limits(source, data, pixels)
            source.draft("RGB", (side, side))
            source.load()
            ImageOps.exif_transpose(source, in_place=True)
            return reduce_image(_to_rgb(source), side)
    except Image.DecompressionBombError:
        raise _too_large_error(f"more than {pixels}", pixels) from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        known = ", ".join(FORMATS)
        said = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise HTTPError(
            400, f"a picture cannot be read{said}; known: {known}", param="messages"
        ) from None


def _check_limits(source: ImageFile.ImageFile, data: bytes, pixels: int) -> None:
    if source.width * source.height > pixels:
        raise _too_large_error(f"{source.width} x {source.height}", pixels)
    if source.info.get("progressive") and data.count(b"\xff\xda") > MAX_SCANS:
        raise HTTPError(400, f"a progressive JPEG of more than {MAX_SCANS} scans", param="messages")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith(("I", "F")):  # 16 bits a pixel, of which RGB has room for 8
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.new("RGBA", clear.size, "white")
        image.alpha_composite(clear)
    return image.convert("RGB")


def _too_large_error(size: str, pixels: int) -> HTTPError:
    return HTTPError(
        400, f"a picture of {size} pixels; at most {pixels} in all", code="image_too_large"
    )
