"""A model behind an OpenAI-compatible server: `embedder serve`, vLLM, and others.

Its name is its address, `http://host:8000/v1`, with `#MODEL` if the server has several models.
What is sent:

- `embedder serve`: texts in batches as `input`, everything else as `messages`; the role as
  `input_type` and the instruction as `instruction`. The fingerprint of its card is kept, so the
  model and its server can use the same collection.
- a server that takes images in `messages` (vLLM): every input, texts too, as a conversation of one
  user message, so that all go through the same chat template; an instruction is the system message.
- any other server: texts, as `input`. Roles and instructions are left out: the model's prompts are
  not known here, and a wrong prompt makes worse vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from embedder.client.address import parse_address
from embedder.client.embeddings import EmbeddingCalls, RequestFormat, is_utf8_encodable
from embedder.client.http import MAX_CONNECTIONS, ServerClient
from embedder.client.probe import probe_model
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.types import Input, ModelCard, Role, Settings, Vectors, check_role

CARDS: tuple[ModelCard, ...] = ()

BATCH_SIZE = 64  # texts per call


def describe(name: str, settings: Settings) -> ModelCard:
    """Ask the server at an address for its model's card; raises `EmbedderError`."""
    remote = _connect(name, settings)
    remote.close()
    return remote.card


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Connect to the model at an address; raises `EmbedderError`."""
    return _connect(name, settings)


def _connect(name: str, settings: Settings) -> RemoteEmbedder:
    address = parse_address(name)
    server = ServerClient(address, api_key=settings.api_key, timeout=settings.timeout)
    return RemoteEmbedder(server, *probe_model(server, address, settings))


class RemoteEmbedder(EmbeddingModel):
    """A model behind a server. Thread-safe."""

    def __init__(
        self, server: ServerClient, card: ModelCard, request_format: RequestFormat
    ) -> None:
        self.card = card
        self._server, self._request_format = server, request_format
        self._pool = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="remote")

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs` with several calls at once: texts in batches, everything else alone."""
        check_role(role)
        for item in inputs:
            self._validate(item)
        calls = EmbeddingCalls(self._server, self._request_format, role, instruction)
        is_single = [bool(i.images) or self._request_format.uses_messages for i in inputs]
        text_rows = [row for row, single in enumerate(is_single) if not single]
        batches = [text_rows[i : i + BATCH_SIZE] for i in range(0, len(text_rows), BATCH_SIZE)]
        batches += [[row] for row, single in enumerate(is_single) if single]

        def embed_batch(rows: list[int]) -> Vectors:
            if is_single[rows[0]]:
                return calls.embed_input(inputs[rows[0]])
            return calls.embed_texts([inputs[row].text or "" for row in rows])

        vectors = np.zeros((len(inputs), self.card.dim), dtype=np.float32)
        run = self._pool.map if len(batches) > 1 else map
        for rows, batch_vectors in zip(batches, run(embed_batch, batches), strict=True):
            vectors[rows] = batch_vectors
        return vectors

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._server.close()

    def _validate(self, item: Input) -> None:
        item.validate()
        if item.images and "image" not in self.card.modalities:
            raise EmbedderError(f"{self.card.name} takes texts, not images")
        if item.text and not is_utf8_encodable(item.text):
            raise EmbedderError("a text has a lone surrogate, which is not a character")
