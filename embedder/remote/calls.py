"""The calls that one `embed` of a remote model makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.remote.http import ATTEMPTS, Server, ServerError
from embedder.remote.wire import Body, messages_body, plain_body, vectors
from embedder.types import Input, Role, Vectors


@dataclass(frozen=True, slots=True)
class Form:
    """How a server is spoken to.

    own: it is `embedder serve`; chat: all goes as `messages`; encoding: of vectors, "base64" or
    "float"; dimensions: the length to ask for; dim: the length that must come, None: any.
    """

    model: str
    own: bool = False
    chat: bool = False
    encoding: str = "base64"
    dimensions: int | None = None
    dim: int | None = None
    image_side: int = 768  # pixels; a model that is not known may have a use for so many


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls in one form, for one role and instruction. Each raises `EmbedderError`."""

    server: Server
    form: Form
    role: Role = "document"
    instruction: str | None = None
    attempts: int = ATTEMPTS

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(n, dim) of texts alone. A batch too large for the server is halved until it fits."""
        try:
            return self._post(plain_body(texts), len(texts))
        except ServerError as error:
            if error.status != 413 or len(texts) == 1:
                raise
        half = len(texts) // 2
        return np.concatenate([self.texts(texts[:half]), self.texts(texts[half:])])

    def whole(self, item: Input) -> Vectors:
        """(1, dim) of a text, pictures, or both together."""
        system = None if self.form.own else self.instruction
        return self._post(messages_body(item, self.form.image_side, system), 1)

    def _post(self, body: Body, count: int) -> Vectors:
        form = self.form
        body |= {"model": form.model, "encoding_format": form.encoding}
        if form.dimensions:
            body["dimensions"] = form.dimensions
        if form.own:
            body["input_type"] = self.role
            if self.instruction:
                body["instruction"] = self.instruction
        reply = self.server.post("/embeddings", body, attempts=self.attempts)
        return vectors(reply, count, form.dim)
