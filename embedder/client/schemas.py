"""Bodies of requests for embeddings, and the vectors in an answer, checked.

OpenAI: https://platform.openai.com/docs/api-reference/embeddings. With pictures, vLLM's form of it:
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#embeddings-api.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder.errors import EmbedderError
from embedder.images.color import reduce_image
from embedder.types import Input, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PNG_PIXELS = 512 * 512
JPEG_QUALITY = 95
Body = dict[str, Any]


def is_utf8_encodable(text: str) -> bool:
    """Whether `text` can be written as UTF-8: without surrogates, halves of letters."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def build_input_body(texts: Sequence[str]) -> Body:
    return {"input": list(texts)}


def build_messages_body(item: Input, image_side: int, system: str | None = None) -> Body:
    """One input as a conversation: pictures first, as the models' own templates have them.

    What a user typed is content and nothing else. `system` is a message of its own.
    """
    image_parts = [
        {
            "type": "image_url",
            "image_url": {"url": encode_data_url(reduce_image(image, image_side))},
        }
        for image in item.images
    ]
    text_parts = [{"type": "text", "text": item.text}] if item.has_text else []
    system_messages = [{"role": "system", "content": system}] if system else []
    return {
        "messages": [*system_messages, {"role": "user", "content": [*image_parts, *text_parts]}]
    }


def parse_vectors(reply: Any, count: int, dim: int | None) -> Vectors:
    """(count, dim) unit rows in the order of the inputs; any length where `dim` is None.

    Raises `EmbedderError` for anything else.
    """
    data = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise EmbedderError("the server's answer holds no embeddings")
    if len(data) != count:
        raise EmbedderError(f"the server gave {len(data)} vectors for {count} inputs")
    rows = [_decode_vector(row.get("embedding")) for row in _sort_by_index(data)]
    expected_dim = len(rows[0]) if dim is None else dim
    wrong_dim = next((len(row) for row in rows if len(row) != expected_dim), None)
    if wrong_dim is not None:
        raise EmbedderError(
            f"the server gave a vector of {wrong_dim} numbers where {expected_dim} belong"
        )
    return _normalize_checked(np.stack(rows))


def _sort_by_index(data: list[Body]) -> list[Body]:
    """By `index`, where the server tells it."""
    indices = [row.get("index", place) for place, row in enumerate(data)]
    if sorted(map(str, indices)) != sorted(map(str, range(len(data)))):
        raise EmbedderError("the server's vectors are not numbered from 0 on")
    return sorted(data, key=lambda row: int(row.get("index", 0))) if len(data) > 1 else data


def _decode_vector(embedding: Any) -> Vectors:
    """(dim,) float32 of a list of numbers, or of base64 of little-endian float32."""
    try:
        if isinstance(embedding, str):
            row: Any = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        else:
            row = np.asarray(embedding, dtype=np.float32)
    except (ValueError, TypeError, binascii.Error):
        raise EmbedderError("the server's answer holds something else than vectors") from None
    if row.ndim != 1 or not len(row):
        raise EmbedderError("the server's answer holds something else than vectors")
    return np.asarray(row, dtype=np.float32)


def _normalize_checked(rows: Vectors) -> Vectors:
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise EmbedderError("the server gave a vector that is zero or not finite")
    return np.asarray(rows / norms, dtype=np.float32)


def encode_data_url(image: Image) -> str:
    """Encode an image as a data URL: a small one as PNG, a large one as JPEG.

    PNG gives the model exactly the pixels it would see here. A large photograph takes megabytes as
    PNG, most of it noise; JPEG of quality 95, without chroma subsampling, takes a fraction of that
    and keeps what a model that resizes it again can see.
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
