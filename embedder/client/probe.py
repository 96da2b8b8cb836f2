"""What a server's model is, found out by asking it: its card, and the form it understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from embedder.checkpoint import compute_fingerprint
from embedder.client.address import Address
from embedder.client.embeddings import EmbeddingCalls, RequestFormat
from embedder.client.http import ServerClient, ServerError, sanitize_message
from embedder.errors import EmbedderError, UnknownModelError
from embedder.types import Input, ModelCard, Settings, Vectors

REQUEST_VERSION = 1  # raised when inputs are sent otherwise, which changes vectors
UNSUPPORTED_STATUSES = {
    400,
    404,
    405,
    415,
    422,
    500,
    501,
}  # how servers say that they do not know a form
PROBE_TEXT = "picture"
PROBE_SIDE = 64  # pixels; some models refuse pictures of fewer than 28


def probe_model(
    server: ServerClient, address: Address, settings: Settings
) -> tuple[ModelCard, RequestFormat]:
    """The model's card, and how to speak to its server; raises `EmbedderError`."""
    model, card_json = _select_model(server, address)
    if card_json is not None:
        return _read_polylens_card(address, model, card_json, settings)
    if settings.pixel_budget is not None:
        raise EmbedderError("the pixel budget of a remote model is set where its server runs")
    request_format, dim = _detect_format(server, RequestFormat(model, dimensions=settings.dim))
    if settings.dim not in (None, dim):
        raise EmbedderError(f"{address.url} gives {dim} numbers; it cannot cut to {settings.dim}")
    return _build_card(address, request_format, dim), replace(request_format, dim=dim)


def _select_model(server: ServerClient, address: Address) -> tuple[str, dict[str, Any] | None]:
    """The model's id, and its card if the server is `embedder serve`."""
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
        return {}  # a server without a list; the model has been named
    except (KeyError, TypeError, AttributeError):
        raise EmbedderError(
            f"{server.url}/models is no list of models; is this an OpenAI-compatible server?"
        ) from None


def _read_polylens_card(
    address: Address, model: str, card_json: dict[str, Any], settings: Settings
) -> tuple[ModelCard, RequestFormat]:
    """The card that `embedder serve` tells, under the name that leads to it."""
    card = replace(_parse_card(card_json), name=address.model_name(model), family="remote")
    if settings.pixel_budget not in (None, card.pixel_budget):
        raise EmbedderError(f"{address.url} runs with a pixel budget of {card.pixel_budget}")
    dim = settings.dim or card.dim
    request_format = RequestFormat(model, is_polylens=True, dim=dim, image_side=card.image_side)
    if dim == card.dim:
        return card, request_format
    if dim not in card.matryoshka:
        dims = ", ".join(map(str, sorted({*card.matryoshka, card.dim})))
        raise EmbedderError(f"{card.name} gives {dims} numbers, not {dim}")
    smaller_dims = tuple(smaller for smaller in card.matryoshka if smaller < dim)
    truncated_card = replace(
        card,
        dim=dim,
        matryoshka=smaller_dims,
        fingerprint=compute_fingerprint(card.fingerprint, "cut to", dim),
    )
    return truncated_card, replace(request_format, dimensions=dim)


def _parse_card(card_json: dict[str, Any]) -> ModelCard:
    """A card from JSON; what a newer server tells besides is left out."""
    field_names = {field.name for field in fields(ModelCard)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in card_json.items()
        if name in field_names
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
    """As `messages` if the model takes pictures in them, else as texts; and the vectors' length."""
    from PIL import Image

    image = Input(images=(Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), "gray"),))
    messages_format = replace(request_format, uses_messages=True)
    found = _try_format(
        server,
        messages_format,
        lambda calls: (calls.embed_input(Input(PROBE_TEXT)), calls.embed_input(image))[1],
    )
    found = found or _try_format(
        server, request_format, lambda calls: calls.embed_texts([PROBE_TEXT])
    )
    if found is None:  # once more, for the server's own words
        return request_format, EmbeddingCalls(server, request_format, attempts=1).embed_texts(
            [PROBE_TEXT]
        ).shape[1]
    return found


def _try_format(
    server: ServerClient, request_format: RequestFormat, send: Callable[[EmbeddingCalls], Vectors]
) -> tuple[RequestFormat, int] | None:
    """The form with the encoding that the server knows, and the length; None where it refuses."""
    for encoding in ("base64", "float"):
        attempt = replace(request_format, encoding=encoding)
        try:
            return attempt, send(EmbeddingCalls(server, attempt, attempts=2)).shape[1]
        except ServerError as error:
            if error.status not in UNSUPPORTED_STATUSES:
                raise
    return None


def _build_card(address: Address, request_format: RequestFormat, dim: int) -> ModelCard:
    """What can be told of a model that only its server knows.

    The address is not in the fingerprint: the same model may move.
    """
    body_kind = "messages" if request_format.uses_messages else "input"
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
        fingerprint=f"remote-{compute_fingerprint(REQUEST_VERSION, request_format.model, dim, body_kind)}",
        image_side=request_format.image_side,
    )
