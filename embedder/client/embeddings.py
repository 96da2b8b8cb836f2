"""The calls that one `embed` of a remote model makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.client.http import MAX_ATTEMPTS, ServerClient, ServerError
from embedder.client.schemas import Body, build_input_body, build_messages_body, parse_vectors
from embedder.types import Input, Role, Vectors


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """How a server is spoken to.

    own: it is `embedder serve`; chat: all goes as `messages`; encoding: of vectors, "base64" or
    "float"; dimensions: the length to ask for; dim: the length that must come, None: any.
    """

    model: str
    is_polylens: bool = False
    uses_messages: bool = False
    encoding: str = "base64"
    dimensions: int | None = None
    dim: int | None = None
    image_side: int = 768  # pixels; a model that is not known may have a use for so many


@dataclass(frozen=True, slots=True)
class EmbeddingCalls:
    """Calls in one form, for one role and instruction. Each raises `EmbedderError`."""

    server: ServerClient
    request_format: RequestFormat
    role: Role = "document"
    instruction: str | None = None
    attempts: int = MAX_ATTEMPTS

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """(n, dim) of texts alone. A batch too large for the server is halved until it fits."""
        try:
            return self._post(build_input_body(texts), len(texts))
        except ServerError as error:
            if error.status != 413 or len(texts) == 1:
                raise
        half = len(texts) // 2
        return np.concatenate([self.embed_texts(texts[:half]), self.embed_texts(texts[half:])])

    def embed_input(self, item: Input) -> Vectors:
        """(1, dim) of a text, pictures, or both together."""
        system = None if self.request_format.is_polylens else self.instruction
        return self._post(build_messages_body(item, self.request_format.image_side, system), 1)

    def _post(self, body: Body, count: int) -> Vectors:
        form = self.request_format
        body |= {"model": form.model, "encoding_format": form.encoding}
        if form.dimensions:
            body["dimensions"] = form.dimensions
        if form.is_polylens:
            body["input_type"] = self.role
            if self.instruction:
                body["instruction"] = self.instruction
        reply = self.server.post("/embeddings", body, attempts=self.attempts)
        return parse_vectors(reply, count, form.dim)
