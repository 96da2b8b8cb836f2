"""The loaded model and its queue: from a request body to a response body."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError, UnusableFileError
from embedder.families.registry import FAMILIES, URL_SCHEMES
from embedder.server.batcher import Batcher, Metrics, PendingRequest
from embedder.server.schemas import (
    EmbeddingRequest,
    HTTPError,
    ServerLimits,
    build_response,
    parse_request,
)
from embedder.types import Input, ModelCard, Vectors, normalize

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

DRAINING = "the server is shutting down; try again"
CLIENT_CLOSED_REQUEST = 499  # nginx's status; only the metrics show it
INLINE_PARSE_BYTES = 64 << 10  # bytes; smaller bodies are parsed without a thread
DECODE_THREADS = 4


def make_public_name(name: str) -> str:
    """Return a model's name for others: of a folder its last part, of another server its model."""
    prefix, _, rest = name.partition(":")
    path = rest if prefix in {family.name for family in FAMILIES} else name
    if path.startswith(URL_SCHEMES):
        return path.rpartition("#")[2]
    return Path(path).name if Path(path).is_absolute() else name


class Service:
    """Serves after `start_model`; refuses new requests while `is_draining`."""

    def __init__(
        self, limits: ServerLimits, *, max_batch: int = 32, name: str | None = None
    ) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.is_draining = False
        self._refused = asyncio.Event()
        self.in_flight, self._in_flight_bytes = 0, 0  # requests, and their bytes
        self._max_batch, self._name = max_batch, name
        self._decoders = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        self._model: tuple[ModelCard, Batcher] | None = None

    @property
    def is_ready(self) -> bool:
        return self._model is not None and not self.is_draining

    @property
    def card(self) -> ModelCard:
        return self._require_model()[0]

    @property
    def name(self) -> str:
        """The name of the model for clients."""
        return self._name or make_public_name(self.card.name)

    @property
    def public_card(self) -> ModelCard:
        """The model's card without where it is on this machine, or on another server."""
        card = self.card
        if make_public_name(card.name) == card.name:
            return card
        return replace(card, name=self.name, source=self.name)

    def start_model(self, embedder: EmbeddingModel) -> None:
        """Warm up, then serve; raises what the model raises."""
        embedder.embed([Input("warm")], "query")
        batcher = Batcher(
            embedder,
            self.metrics,
            max_batch=self._max_batch,
            max_queue=self.limits.queue,
            max_concurrency=embedder.max_concurrency,
        )
        self._model = (embedder.card, batcher)

    def close(self, timeout: float | None = None) -> None:
        """Finish the queue, for so many seconds at most."""
        if self._model:
            self._model[1].close(timeout)
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def refuse_in_flight(self) -> None:
        """End the wait of all requests in flight: they are refused, and may be tried elsewhere."""
        self._refused.set()

    async def run_until_refused(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; cancel it and raise `HTTPError` if it is refused before."""
        task, refused = asyncio.ensure_future(work), asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait({task, refused}, return_when=FIRST_COMPLETED)
            if task.done():
                return task.result()
            self.metrics.rejected.labels("draining").inc()
            raise HTTPError(503, DRAINING, code="draining", retry_after=1)
        finally:
            refused.cancel()
            task.cancel()
            await asyncio.wait({task})  # it leaves the queue

    @contextlib.contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count a request of `size` bytes as in flight; raise `HTTPError` if it is refused.

        Call it only in the event loop's thread.
        """
        self._require_model()
        if self.is_draining:
            self.metrics.rejected.labels("draining").inc()
            raise HTTPError(503, DRAINING, code="draining", retry_after=1)
        is_full = self.in_flight and self._in_flight_bytes + size > 16 * self.limits.bytes
        if is_full or self.in_flight >= self.limits.queue:
            self.metrics.rejected.labels("queue").inc()
            raise HTTPError(429, "too many requests; try again", code="busy", retry_after=1)
        self.in_flight, self._in_flight_bytes = self.in_flight + 1, self._in_flight_bytes + size
        try:
            yield
        finally:
            self.in_flight, self._in_flight_bytes = self.in_flight - 1, self._in_flight_bytes - size

    async def parse(self, body: bytes) -> EmbeddingRequest:
        """Parse a body; raises `HTTPError`."""
        if len(body) <= INLINE_PARSE_BYTES:
            request = parse_request(body, self.limits)
        else:
            request = await self._run_in_thread(parse_request, body, self.limits)
        self._validate(request)
        for item in request.items:
            self.metrics.inputs.labels(item.modality).inc()
        return request

    async def embed(self, request: EmbeddingRequest, disconnected: asyncio.Future[None]) -> bytes:
        """Return the response body; stop when `disconnected` is done. Raises `HTTPError`."""
        inputs = []
        for item in request.items:
            decoded = [await self._run_in_thread(self._decode, file) for file in item.image_files]
            inputs.append(Input(item.text, tuple(decoded)))
        card, batcher = self._require_model()
        pending = batcher.submit(inputs, request.role, request.instruction)
        rows, tokens = await self._wait_for_vectors(batcher, pending, disconnected)
        if not np.isfinite(rows).all():
            raise HTTPError(500, "the model computed a vector that is not finite")
        dim = request.dimensions or card.dim
        rows = rows if rows.shape[1] == dim else normalize(rows[:, :dim])
        return build_response(rows, tokens, request, self.name)

    def _require_model(self) -> tuple[ModelCard, Batcher]:
        if self._model is None:
            message = "the model is being loaded; try again"
            raise HTTPError(503, message, code="loading", retry_after=5)
        return self._model

    def _validate(self, request: EmbeddingRequest) -> None:
        card = self.card
        if request.model not in {self.name, make_public_name(card.name)}:
            message = f"the model {request.model!r} does not exist here; served: {self.name}"
            raise HTTPError(404, message, code="model_not_found", param="model")
        has_images = any(item.image_files for item in request.items)
        if has_images and "image" not in card.modalities:
            raise HTTPError(400, f"{self.name} takes texts, not images", param="messages")
        most = max(len(item.image_files) for item in request.items)
        if 0 < card.max_images < most:
            message = f"{most} images in an input; {self.name} takes at most {card.max_images}"
            raise HTTPError(400, message, param="messages")
        dims = {card.dim, *(smaller for smaller in card.matryoshka if smaller < card.dim)}
        if request.dimensions not in (None, *dims):
            known = ", ".join(map(str, sorted(dims)))
            raise HTTPError(400, f"'dimensions' of {self.name}: {known}", param="dimensions")

    def _decode(self, file: bytes) -> Image:
        from embedder.images.decode import DecodeLimits, decode_image

        limits = DecodeLimits(max_pixels=self.limits.pixels)
        try:
            return decode_image(file, side=self.card.image_side, limits=limits).image
        except UnusableFileError as error:
            code = "image_too_large" if error.reason == "too-many-pixels" else None
            message = f"an image cannot be read: {error.detail}"
            raise HTTPError(400, message, code=code, param="messages") from None

    async def _wait_for_vectors(
        self, batcher: Batcher, pending: PendingRequest, disconnected: asyncio.Future[None]
    ) -> tuple[Vectors, int]:
        """Wait for the rows and their tokens; a request that gets none leaves the queue."""
        rows = asyncio.wrap_future(pending.future)
        either: set[asyncio.Future[Any]] = {rows, disconnected}
        try:
            await asyncio.wait(either, timeout=self.limits.seconds, return_when=FIRST_COMPLETED)
            if not rows.done() and not disconnected.done():
                if batcher.try_cancel(pending):
                    self.metrics.rejected.labels("timeout").inc()
                    message = "it waited too long; try again"
                    raise HTTPError(503, message, code="timeout", retry_after=5)
                await asyncio.wait(either, return_when=FIRST_COMPLETED)  # the model has started
            if not rows.done():
                raise HTTPError(CLIENT_CLOSED_REQUEST, "the client has disconnected")
            return rows.result()
        except EmbedderError as error:
            message = str(error).replace(self._require_model()[0].name, self.name)
            raise HTTPError(400, message) from error
        finally:
            if not rows.done():
                batcher.discard(pending)
                rows.cancel()

    async def _run_in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function` in a thread, so that the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *args)
