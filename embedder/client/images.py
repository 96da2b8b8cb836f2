"""Pictures on their way to a server."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PNG_PIXELS = 512 * 512  # pixels
JPEG_QUALITY = 95


def reduce_image(image: Image, side: int) -> Image:
    """`image` reduced by a whole factor, its shorter side no less than `side` pixels.

    The indexer's decoder does the same, so that what it made is left as it is.
    """
    factor = min(image.size) // side
    return image.reduce(factor) if factor >= 2 else image


def encode_data_url(image: Image) -> str:
    """A small picture as PNG, a large one as JPEG.

    PNG gives the model exactly the pixels that it would see here. Of a large photograph it takes
    megabytes, most of it noise; JPEG of quality 95, without colour subsampling, takes a fraction
    of that and keeps what a model that resizes it again can see.
    """
    file = BytesIO()
    image = image if image.mode == "RGB" else image.convert("RGB")
    if image.width * image.height <= MAX_PNG_PIXELS:
        kind = "png"
        image.save(file, "PNG", compress_level=1)
    else:
        kind = "jpeg"
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
