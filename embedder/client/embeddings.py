"""Requests for embeddings, and the checked vectors of a response.

OpenAI: https://platform.openai.com/docs/api-reference/embeddings. With images, vLLM's extension:
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#embeddings-api.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder.client.http import MAX_ATTEMPTS, ServerClient, ServerError
from embedder.errors import EmbedderError
from embedder.images.decode import reduce_image
from embedder.types import Input, Role, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PNG_PIXELS = 512 * 512
JPEG_QUALITY = 95
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """What a server understands.

    Attributes:
        is_polylens: It is `embedder serve`.
        uses_messages: Every input goes as `messages`.
        encoding: Of vectors, "base64" or "float".
        dimensions: The dim to ask for; None: the model's own.
        dim: The dim that must come; None: any.
        image_side: The shorter side in pixels to which images are reduced.
    """

    model: str
    is_polylens: bool = False
    uses_messages: bool = False
    encoding: str = "base64"
    dimensions: int | None = None
    dim: int | None = None
    image_side: int = 768


@dataclass(frozen=True, slots=True)
class EmbeddingCalls:
    """Calls in one format, for one role and instruction. Each raises `EmbedderError`."""

    server: ServerClient
    request_format: RequestFormat
    role: Role = "document"
    instruction: str | None = None
    attempts: int = MAX_ATTEMPTS

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; a batch too large for the server is halved until it fits."""
        try:
            return self._post({"input": list(texts)}, len(texts))
        except ServerError as error:
            if error.status != 413 or len(texts) == 1:
                raise
        half = len(texts) // 2
        return np.concatenate([self.embed_texts(texts[:half]), self.embed_texts(texts[half:])])

    def embed_input(self, item: Input) -> Vectors:
        """Embed a text, images, or both together as (1, dim)."""
        system = None if self.request_format.is_polylens else self.instruction
        return self._post(_build_messages_body(item, self.request_format.image_side, system), 1)

    def _post(self, body: Body, count: int) -> Vectors:
        format = self.request_format
        body |= {"model": format.model, "encoding_format": format.encoding}
        if format.dimensions:
            body["dimensions"] = format.dimensions
        if format.is_polylens:
            body["input_type"] = self.role
            if self.instruction:
                body["instruction"] = self.instruction
        response = self.server.post("/embeddings", body, attempts=self.attempts)
        return parse_vectors(response, count, format.dim)


def is_utf8_encodable(text: str) -> bool:
    """Return whether `text` has no lone surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _build_messages_body(item: Input, image_side: int, system: str | None = None) -> Body:
    """Build a conversation: images before the text, as in the models' own templates.

    What a user typed is content and nothing else. `system` is a message of its own.
    """
    content: list[Body] = [
        {"type": "image_url", "image_url": {"url": encode_data_url(reduce_image(i, image_side))}}
        for i in item.images
    ]
    if item.has_text:
        content.append({"type": "text", "text": item.text})
    system_messages = [{"role": "system", "content": system}] if system else []
    return {"messages": [*system_messages, {"role": "user", "content": content}]}


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


def parse_vectors(response: Any, count: int, dim: int | None) -> Vectors:
    """Return (count, dim) unit rows in the order of the inputs; any dim if `dim` is None.

    Raises `EmbedderError` for any other content.
    """
    data = response.get("data") if isinstance(response, dict) else None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise EmbedderError("the server's response has no embeddings")
    if len(data) != count:
        raise EmbedderError(f"the server returned {len(data)} vectors for {count} inputs")
    indices = [row.get("index", position) for position, row in enumerate(data)]
    if sorted(map(str, indices)) != sorted(map(str, range(count))):
        raise EmbedderError("the server's vectors are not numbered from 0 on")
    by_index = {int(index): row for index, row in zip(indices, data, strict=True)}
    rows = [_decode_vector(by_index[index].get("embedding")) for index in range(count)]
    expected = dim or len(rows[0])
    for row in rows:
        if len(row) != expected:
            raise EmbedderError(f"the server returned a vector of dim {len(row)}, not {expected}")
    vectors = np.stack(rows)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise EmbedderError("the server returned a vector that is zero or not finite")
    return np.asarray(vectors / norms, dtype=np.float32)


def _decode_vector(embedding: Any) -> Vectors:
    """Decode a list of numbers, or base64 of little-endian float32, as (dim,) float32."""
    try:
        if isinstance(embedding, str):
            row: Any = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        else:
            row = np.asarray(embedding, dtype=np.float32)
    except (ValueError, TypeError, binascii.Error):
        row = np.zeros(0)
    if row.ndim != 1 or not len(row):
        raise EmbedderError("the server's response has something other than vectors")
    return np.asarray(row, dtype=np.float32)
