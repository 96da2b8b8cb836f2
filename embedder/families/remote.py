"""A model behind an OpenAI-compatible server: `embedder serve`, vLLM, and others.

Named by its address, `http://host:8000/v1`, and `#MODEL` where the server has several models.
What is sent:

- `embedder serve`: texts in batches as `input`, the rest as `messages`; the role as `input_type`
  and the instruction as `instruction`. Its card is taken over, so that collections made with the
  model and with its server are one.
- a server that takes pictures in `messages` (vLLM): every input as a conversation of one user
  message, texts too, so that all pass the same chat template; an instruction is the system message.
- any other server: texts, as `input`. Roles and instructions are left out: how a model wants to be
  told them is not known here, and an invented prompt makes worse vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from embedder.client.address import parse_address
from embedder.client.embeddings import EmbeddingCalls, RequestFormat
from embedder.client.http import MAX_CONNECTIONS, ServerClient
from embedder.client.probe import probe_model
from embedder.client.schemas import is_utf8_encodable
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.types import Input, ModelCard, Role, Settings, Vectors, check_role

CARDS: tuple[ModelCard, ...] = ()

BATCH_SIZE = 64  # texts a call


def describe(name: str, settings: Settings) -> ModelCard:
    """The card of the model at an address; asks the server. Raises `EmbedderError`."""
    remote = _connect(name, settings)
    remote.close()
    return remote.card


def load(name: str, settings: Settings) -> EmbeddingModel:
    """The model at an address; raises `EmbedderError`."""
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
        """(n, dim) unit rows, several calls at once; raises `EmbedderError`."""
        check_role(role)
        for item in inputs:
            self._validate(item)
        calls = EmbeddingCalls(self._server, self._request_format, role, instruction)
        out = np.zeros((len(inputs), self.card.dim), dtype=np.float32)
        plan = self._plan_calls(inputs, calls)
        for (rows, _), vectors in zip(
            plan, self._run_calls([call for _, call in plan]), strict=True
        ):
            out[rows] = vectors
        return out

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._server.close()

    def _plan_calls(
        self, inputs: Sequence[Input], calls: EmbeddingCalls
    ) -> list[tuple[list[int], Callable[[], Vectors]]]:
        """Each call with the rows that it is for: texts in batches, all else alone."""
        text_rows = [
            i
            for i, item in enumerate(inputs)
            if not (item.images or self._request_format.uses_messages)
        ]
        single_rows = [
            i for i, item in enumerate(inputs) if item.images or self._request_format.uses_messages
        ]
        batches = [text_rows[i : i + BATCH_SIZE] for i in range(0, len(text_rows), BATCH_SIZE)]
        return [
            *(
                (rows, partial(calls.embed_texts, [inputs[i].text or "" for i in rows]))
                for rows in batches
            ),
            *(([i], partial(calls.embed_input, inputs[i])) for i in single_rows),
        ]

    def _run_calls(self, calls: Sequence[Callable[[], Vectors]]) -> Sequence[Vectors]:
        if len(calls) == 1:
            return [calls[0]()]
        return list(self._pool.map(lambda call: call(), calls))

    def _validate(self, item: Input) -> None:
        item.validate()
        if item.images and "image" not in self.card.modalities:
            raise EmbedderError(f"{self.card.name} takes texts, not pictures")
        if item.text and not is_utf8_encodable(item.text):
            raise EmbedderError("a text holds half a letter (a lone surrogate)")
