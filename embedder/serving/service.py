"""The loaded model and its queue: from a request's body to an answer's."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from embedder.errors import EmbedderError
from embedder.serving.batcher import Batcher, Ticket
from embedder.serving.limits import Limits, Refusal
from embedder.serving.metrics import Metrics
from embedder.serving.wire import Asked, Item, answer, cut, parse
from embedder.types import Embedder, Input, ModelCard, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

P = ParamSpec("P")
T = TypeVar("T")

CLIENT_GONE = 499  # nginx' status for it; nobody reads it but the metrics
SMALL = 64 << 10  # bytes that are parsed at once, without a thread
DECODERS = 4


class Service:
    """Serves once `start` has been given a model; `draining` refuses what is new."""

    def __init__(self, limits: Limits, *, max_batch: int = 32, name: str | None = None) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.draining = False
        self.busy, self._held = 0, 0  # requests in the house, and their bytes
        self._max_batch, self._name = max_batch, name
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._model: tuple[ModelCard, Batcher] | None = None

    @property
    def ready(self) -> bool:
        return self._model is not None and not self.draining

    @property
    def card(self) -> ModelCard:
        return self._loaded()[0]

    @property
    def name(self) -> str:
        """What the model is called by clients."""
        return self._name or self.card.name

    def start(self, embedder: Embedder) -> None:
        """Warm up, then serve; raises what the model raises."""
        embedder.embed([Input("warm")], "query")
        batcher = Batcher(
            embedder,
            self.metrics,
            max_batch=self._max_batch,
            max_queue=self.limits.queue,
            lanes=getattr(embedder, "lanes", 1),
        )
        self._model = (embedder.card, batcher)

    def close(self) -> None:
        """Finish what is in the queue."""
        if self._model:
            self._model[1].close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """A request of `size` bytes in the house, if it is let in; raises `Refusal`.

        For the event loop's thread alone.
        """
        self._loaded()
        if self.draining:
            self.metrics.rejected.labels("draining").inc()
            raise Refusal(503, "the server is shutting down", code="draining", retry=1)
        full = self.busy and self._held + size > self.limits.held
        if full or self.busy >= self.limits.queue:
            self.metrics.rejected.labels("queue").inc()
            raise Refusal(429, "too many requests; try again", code="busy", retry=1)
        self.busy, self._held = self.busy + 1, self._held + size
        try:
            yield
        finally:
            self.busy, self._held = self.busy - 1, self._held - size

    async def parsed(self, body: bytes) -> Asked:
        """Raises `Refusal`."""
        if len(body) <= SMALL:
            asked = parse(body, self.limits)
        else:
            asked = await self._aside(parse, body, self.limits)
        self._check(asked)
        for item in asked.items:
            self.metrics.inputs.labels(item.kind).inc()
        return asked

    async def embedded(self, asked: Asked, gone: asyncio.Future[None]) -> bytes:
        """The answer's body. When `gone` is done, the client is, and nobody waits for it.

        Raises `Refusal`.
        """
        inputs = [await self._input(item) for item in asked.items]
        ticket = self._loaded()[1].submit(inputs, asked.role, asked.instruction)
        rows = await self._answered(ticket, gone)
        if not np.isfinite(rows).all():
            raise Refusal(500, "the model gave numbers that are not finite")
        return answer(cut(rows, asked.dimensions or self.card.dim), asked, self.name)

    def _loaded(self) -> tuple[ModelCard, Batcher]:
        if self._model is None:
            raise Refusal(503, "the model is being loaded; try again", code="loading", retry=5)
        return self._model

    def _check(self, asked: Asked) -> None:
        card = self.card
        if asked.model not in {self.name, card.name}:
            raise Refusal(
                404,
                f"the model {asked.model!r} does not exist here; served: {self.name}",
                code="model_not_found",
                param="model",
            )
        if any(item.files for item in asked.items) and "image" not in card.modalities:
            raise Refusal(400, f"{self.name} takes texts, not pictures", param="messages")
        lengths = {card.dim, *(length for length in card.matryoshka if length < card.dim)}
        if asked.dimensions not in (None, *lengths):
            known = ", ".join(map(str, sorted(lengths)))
            raise Refusal(400, f"'dimensions' of {self.name}: {known}", param="dimensions")

    async def _input(self, item: Item) -> Input:
        images = [await self._aside(self._decoded, file) for file in item.files]
        return Input(item.text, tuple(images))

    def _decoded(self, file: bytes) -> Image:
        from embedder.serving.pictures import decode

        return decode(file, side=self.card.image_side, pixels=self.limits.pixels)

    async def _answered(self, ticket: Ticket, gone: asyncio.Future[None]) -> Vectors:
        """The rows, once they are there; whoever does not get them leaves the queue."""
        batcher = self._loaded()[1]
        rows = asyncio.wrap_future(ticket.answer)
        either: set[asyncio.Future[Any]] = {rows, gone}
        try:
            await asyncio.wait(either, timeout=self.limits.seconds, return_when=FIRST_COMPLETED)
            if not rows.done() and not gone.done():
                if batcher.withdraw(ticket):
                    self.metrics.rejected.labels("timeout").inc()
                    raise Refusal(503, "it waited too long; try again", code="timeout", retry=5)
                await asyncio.wait(either, return_when=FIRST_COMPLETED)  # the model is at it
            if not rows.done():
                raise Refusal(CLIENT_GONE, "the client is gone")
            return rows.result()
        except EmbedderError as error:
            raise Refusal(400, str(error)) from error
        finally:
            if not rows.done():
                batcher.drop(ticket)
                rows.cancel()

    async def _aside(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """`call` in a thread, so that the event loop goes on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, partial(call, *args, **named))
