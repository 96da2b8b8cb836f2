"""The loaded model and its queue: from a request body to a response body."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from embedder.errors import EmbedderError, UnusableFileError
from embedder.server.batcher import Batcher, Metrics, PendingRequest
from embedder.server.schemas import (
    EmbeddingRequest,
    HTTPError,
    ServerLimits,
    build_response,
    parse_request,
)
from embedder.types import Embedder, Input, ModelCard, Vectors, normalize

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

CLIENT_CLOSED_REQUEST = 499  # nginx's status; only the metrics show it
INLINE_PARSE_BYTES = 64 << 10  # bytes; smaller bodies are parsed without a thread
DECODE_THREADS = 4


class Service:
    """Serves after `start_model`; refuses new requests while `is_draining`."""

    def __init__(
        self, limits: ServerLimits, *, max_batch: int = 32, name: str | None = None
    ) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.is_draining = False
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
        return self._name or self.card.name

    def start_model(self, embedder: Embedder) -> None:
        """Warm up, then serve; raises what the model raises."""
        embedder.embed([Input("warm")], "query")
        batcher = Batcher(
            embedder,
            self.metrics,
            max_batch=self._max_batch,
            max_queue=self.limits.queue,
            max_concurrency=getattr(embedder, "max_concurrency", 1),
        )
        self._model = (embedder.card, batcher)

    def close(self) -> None:
        """Finish the queue."""
        if self._model:
            self._model[1].close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count a request of `size` bytes as in flight; raise `HTTPError` if it is refused.

        Call it only in the event loop's thread.
        """
        self._require_model()
        if self.is_draining:
            self.metrics.rejected.labels("draining").inc()
            raise HTTPError(503, "the server is shutting down", code="draining", retry_after=1)
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
        rows = await self._wait_for_vectors(batcher, pending, disconnected)
        if not np.isfinite(rows).all():
            raise HTTPError(500, "the model computed a vector that is not finite")
        dim = request.dimensions or card.dim
        rows = rows if rows.shape[1] == dim else normalize(rows[:, :dim])
        return build_response(rows, request, self.name)

    def _require_model(self) -> tuple[ModelCard, Batcher]:
        if self._model is None:
            message = "the model is being loaded; try again"
            raise HTTPError(503, message, code="loading", retry_after=5)
        return self._model

    def _validate(self, request: EmbeddingRequest) -> None:
        card = self.card
        if request.model not in {self.name, card.name}:
            message = f"the model {request.model!r} does not exist here; served: {self.name}"
            raise HTTPError(404, message, code="model_not_found", param="model")
        has_images = any(item.image_files for item in request.items)
        if has_images and "image" not in card.modalities:
            raise HTTPError(400, f"{self.name} takes texts, not images", param="messages")
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
    ) -> Vectors:
        """Wait for the rows; a request that does not get them leaves the queue."""
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
            raise HTTPError(400, str(error)) from error
        finally:
            if not rows.done():
                batcher.discard(pending)
                rows.cancel()

    async def _run_in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function` in a thread, so that the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *args)
