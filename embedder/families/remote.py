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

from embedder.errors import EmbedderError
from embedder.remote.address import parse
from embedder.remote.calls import Calls, Form
from embedder.remote.http import CONCURRENT, Server
from embedder.remote.probe import probe
from embedder.remote.wire import is_whole
from embedder.types import Embedder, Input, ModelCard, Role, Settings, Vectors

CARDS: tuple[ModelCard, ...] = ()

BATCH = 64  # texts a call


def describe(name: str, settings: Settings) -> ModelCard:
    """The card of the model at an address; asks the server. Raises `EmbedderError`."""
    remote = _connect(name, settings)
    remote.close()
    return remote.card


def load(name: str, settings: Settings) -> Embedder:
    """The model at an address; raises `EmbedderError`."""
    return _connect(name, settings)


def _connect(name: str, settings: Settings) -> Remote:
    address = parse(name)
    server = Server(address, api_key=settings.api_key, timeout=settings.timeout)
    return Remote(server, *probe(server, address, settings))


class Remote:
    """A model behind a server. Thread-safe."""

    def __init__(self, server: Server, card: ModelCard, form: Form) -> None:
        self.card = card
        self._server, self._form = server, form
        self._pool = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="remote")

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """(n, dim) unit rows, several calls at once; raises `EmbedderError`."""
        for item in inputs:
            self._check(item)
        calls = Calls(self._server, self._form, role, instruction)
        out = np.zeros((len(inputs), self.card.dim), dtype=np.float32)
        plan = self._plan(inputs, calls)
        for (rows, _), made in zip(plan, self._run([call for _, call in plan]), strict=True):
            out[rows] = made
        return out

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._server.close()

    def _plan(
        self, inputs: Sequence[Input], calls: Calls
    ) -> list[tuple[list[int], Callable[[], Vectors]]]:
        """Each call with the rows that it is for: texts in batches, all else alone."""
        plain = [i for i, item in enumerate(inputs) if not (item.images or self._form.chat)]
        alone = [i for i, item in enumerate(inputs) if item.images or self._form.chat]
        batches = [plain[i : i + BATCH] for i in range(0, len(plain), BATCH)]
        return [
            *(
                (rows, partial(calls.texts, [inputs[i].text or "" for i in rows]))
                for rows in batches
            ),
            *(([i], partial(calls.whole, inputs[i])) for i in alone),
        ]

    def _run(self, calls: Sequence[Callable[[], Vectors]]) -> Sequence[Vectors]:
        if len(calls) == 1:
            return [calls[0]()]
        return list(self._pool.map(lambda call: call(), calls))

    def _check(self, item: Input) -> None:
        item.check()
        if item.images and "image" not in self.card.modalities:
            raise EmbedderError(f"{self.card.name} takes texts, not pictures")
        if item.text and not is_whole(item.text):
            raise EmbedderError("a text holds half a letter (a lone surrogate)")
