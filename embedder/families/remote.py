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
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from embedder.checkpoint import compute_fingerprint
from embedder.client.embeddings import EmbeddingCalls, RequestFormat, is_utf8_encodable
from embedder.client.http import (
    MAX_CONNECTIONS,
    Address,
    ServerClient,
    ServerError,
    parse_address,
    sanitize_message,
)
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError, UnknownModelError
from embedder.model_card import validate_dim
from embedder.types import Input, ModelCard, Role, Settings, Vectors, check_role

CARDS: tuple[ModelCard, ...] = ()

BATCH_SIZE = 64  # texts per call
REQUEST_VERSION = 1  # increase when inputs are sent in another way, which changes vectors
UNSUPPORTED_STATUSES = {400, 404, 405, 415, 422, 500, 501}  # for a format a server does not know
PROBE_TEXT = "picture"
PROBE_SIDE = 64  # pixels; some models refuse images of fewer than 28


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
    server = ServerClient(
        address,
        api_key=settings.api_key,
        api_key_url=settings.api_key_url,
        timeout=settings.timeout,
    )
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
        item.validate(self.card.max_images)
        if item.images and "image" not in self.card.modalities:
            raise EmbedderError(f"{self.card.name} takes texts, not images")
        if item.text and not is_utf8_encodable(item.text):
            raise EmbedderError("a text has a lone surrogate, which is not a character")


def probe_model(
    server: ServerClient, address: Address, settings: Settings
) -> tuple[ModelCard, RequestFormat]:
    """Return the model's card and the format of requests; raises `EmbedderError`."""
    model, card_json = _select_model(server, address)
    if card_json is not None:
        return _read_polylens_card(address, model, card_json, settings)
    if settings.pixel_budget is not None:
        raise EmbedderError("the pixel budget of a remote model is set where its server runs")
    if settings.quantize is not None:
        raise EmbedderError("a remote model is quantized where its server runs")
    request_format, dim = _detect_format(server, RequestFormat(model, dimensions=settings.dim))
    if settings.dim not in (None, dim):
        raise EmbedderError(f"{address.url} returns dim {dim}; it cannot cut to {settings.dim}")
    return _build_card(address, request_format, dim), replace(request_format, dim=dim)


def _select_model(server: ServerClient, address: Address) -> tuple[str, dict[str, Any] | None]:
    """Return the model's id, and its card if the server is `embedder serve`."""
    served = _list_served_models(server, required=address.model is None)
    if address.model:
        return address.model, served.get(address.model)
    if len(served) == 1:
        return next(iter(served.items()))
    if not served:
        raise UnknownModelError(f"{address.url} names no model; type {address.model_name('MODEL')}")
    names = ", ".join(sorted(map(sanitize_message, served)))
    raise UnknownModelError(
        f"{address.url} has several models: type {address.model_name('MODEL')} with one of {names}"
    )


def _list_served_models(
    server: ServerClient, *, required: bool
) -> dict[str, dict[str, Any] | None]:
    try:
        data = server.get("/models")["data"]
        rows = {str(row["id"]): row.get("polylens") for row in data}
        return {name: card for name, card in rows.items() if name.isprintable()}
    except ServerError as error:
        if required or error.status not in {404, 405, 501}:
            raise
        return {}  # the server has no list, but the user has named the model
    except (KeyError, TypeError, AttributeError):
        raise EmbedderError(
            f"{server.url}/models is not a list of models; is this an OpenAI-compatible server?"
        ) from None


def _read_polylens_card(
    address: Address, model: str, card_json: dict[str, Any], settings: Settings
) -> tuple[ModelCard, RequestFormat]:
    """Return the card that `embedder serve` sends, under the name that leads to it."""
    try:
        own = {"name": address.model_name(model), "family": "remote"}
        card = ModelCard.from_json({**card_json, **own})
    except (TypeError, ValueError) as error:
        raise EmbedderError(f"the server's card cannot be used: {error}") from None
    if settings.pixel_budget not in (None, card.pixel_budget):
        raise EmbedderError(f"{address.url} runs with a pixel budget of {card.pixel_budget}")
    if settings.quantize not in (None, card.quantize):
        raise EmbedderError(f"{address.url} runs with weights in {card.quantize or 'all bits'}")
    dim = validate_dim(card, settings.dim)
    request_format = RequestFormat(model, is_polylens=True, dim=dim, image_side=card.image_side)
    if dim != card.dim:
        matryoshka = tuple(smaller for smaller in card.matryoshka if smaller < dim)
        fingerprint = compute_fingerprint(card.fingerprint, "cut to", dim)
        card = replace(card, dim=dim, matryoshka=matryoshka, fingerprint=fingerprint)
        request_format = replace(request_format, dimensions=dim)
    return card, request_format


def _detect_format(
    server: ServerClient, request_format: RequestFormat
) -> tuple[RequestFormat, int]:
    """Try `messages` with an image, then texts; return the format and the dim of the vectors."""
    from PIL import Image

    image = Input(images=(Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), "gray"),))
    for uses_messages, encoding in product((True, False), ("base64", "float")):
        attempt = replace(request_format, uses_messages=uses_messages, encoding=encoding)
        calls = EmbeddingCalls(server, attempt, attempts=2)
        try:
            if not uses_messages:
                return attempt, calls.embed_texts([PROBE_TEXT]).shape[1]
            calls.embed_input(Input(PROBE_TEXT))
            return attempt, calls.embed_input(image).shape[1]
        except ServerError as error:
            if error.status not in UNSUPPORTED_STATUSES:
                raise
    # once more, for the server's own message
    calls = EmbeddingCalls(server, request_format, attempts=1)
    return request_format, calls.embed_texts([PROBE_TEXT]).shape[1]


def _build_card(address: Address, request_format: RequestFormat, dim: int) -> ModelCard:
    """Build the card of a model that only its server knows.

    The address is not in the fingerprint: the same model may move.
    """
    body_kind = "messages" if request_format.uses_messages else "input"
    digest = compute_fingerprint(REQUEST_VERSION, request_format.model, dim, body_kind)
    return ModelCard(
        name=address.model_name(request_format.model),
        family="remote",
        revision="-",
        dim=dim,
        modalities=("text", "image") if request_format.uses_messages else ("text",),
        composes=request_format.uses_messages,
        languages=(),
        license="not stated by the server",
        source=address.url,
        fingerprint=f"remote-{digest}",
        image_side=request_format.image_side,
    )
