"""Finds out a server's model by asking it: its card, and the request format it understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from embedder.checkpoint import compute_fingerprint
from embedder.client.address import Address
from embedder.client.embeddings import EmbeddingCalls, RequestFormat
from embedder.client.http import ServerClient, ServerError, sanitize_message
from embedder.errors import EmbedderError, UnknownModelError
from embedder.model_card import validate_dim
from embedder.types import Input, ModelCard, Settings, Vectors

REQUEST_VERSION = 1  # increase when inputs are sent in another way, which changes vectors
UNSUPPORTED_STATUSES = {400, 404, 405, 415, 422, 500, 501}  # for a format a server does not know
PROBE_TEXT = "picture"
PROBE_SIDE = 64  # pixels; some models refuse images of fewer than 28


def probe_model(
    server: ServerClient, address: Address, settings: Settings
) -> tuple[ModelCard, RequestFormat]:
    """Return the model's card and the format of requests; raises `EmbedderError`."""
    model, card_json = _select_model(server, address)
    if card_json is not None:
        return _read_polylens_card(address, model, card_json, settings)
    if settings.pixel_budget is not None:
        raise EmbedderError("the pixel budget of a remote model is set where its server runs")
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
        return {str(row["id"]): row.get("polylens") for row in data}
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
    card = replace(_parse_card(card_json), name=address.model_name(model), family="remote")
    if settings.pixel_budget not in (None, card.pixel_budget):
        raise EmbedderError(f"{address.url} runs with a pixel budget of {card.pixel_budget}")
    dim = validate_dim(card, settings.dim)
    request_format = RequestFormat(model, is_polylens=True, dim=dim, image_side=card.image_side)
    if dim == card.dim:
        return card, request_format
    truncated = replace(
        card,
        dim=dim,
        matryoshka=tuple(smaller for smaller in card.matryoshka if smaller < dim),
        fingerprint=compute_fingerprint(card.fingerprint, "cut to", dim),
    )
    return truncated, replace(request_format, dimensions=dim)


def _parse_card(card_json: dict[str, Any]) -> ModelCard:
    """Build a card from JSON; fields of newer servers are ignored."""
    names = {field.name for field in fields(ModelCard)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in card_json.items()
        if name in names
    }
    try:
        card = ModelCard(**values)
        if min(card.dim, card.image_side) > 0 and card.fingerprint and "text" in card.modalities:
            return card
        raise TypeError("a value is out of range")
    except TypeError as error:
        raise EmbedderError(f"the server's card cannot be used: {error}") from None


def _detect_format(
    server: ServerClient, request_format: RequestFormat
) -> tuple[RequestFormat, int]:
    """Try `messages` with an image, then texts; return the format and the dim of the vectors."""
    from PIL import Image

    text = Input(PROBE_TEXT)
    image = Input(images=(Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), "gray"),))
    with_messages = replace(request_format, uses_messages=True)
    result = _try_format(
        server, with_messages, lambda calls: (calls.embed_input(text), calls.embed_input(image))[1]
    ) or _try_format(server, request_format, lambda calls: calls.embed_texts([PROBE_TEXT]))
    if result is None:  # once more, for the server's own message
        calls = EmbeddingCalls(server, request_format, attempts=1)
        return request_format, calls.embed_texts([PROBE_TEXT]).shape[1]
    return result


def _try_format(
    server: ServerClient, request_format: RequestFormat, send: Callable[[EmbeddingCalls], Vectors]
) -> tuple[RequestFormat, int] | None:
    """Return the format with a known encoding, and the dim; None if the server refuses it."""
    for encoding in ("base64", "float"):
        attempt = replace(request_format, encoding=encoding)
        try:
            return attempt, send(EmbeddingCalls(server, attempt, attempts=2)).shape[1]
        except ServerError as error:
            if error.status not in UNSUPPORTED_STATUSES:
                raise
    return None


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
        license="not told by the server",
        source=address.url,
        fingerprint=f"remote-{digest}",
        image_side=request_format.image_side,
    )
