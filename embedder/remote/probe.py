"""What a server's model is, found out by asking it: its card, and the form it understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from embedder.checkpoint import fingerprint
from embedder.errors import EmbedderError, UnknownModelError
from embedder.remote.address import Address
from embedder.remote.calls import Calls, Form
from embedder.remote.http import Server, ServerError, printable
from embedder.types import Input, ModelCard, Settings, Vectors

PREPARATION = 1  # raised when inputs are sent otherwise, which changes vectors
UNKNOWN_FORM = {400, 404, 405, 415, 422, 500, 501}  # how servers say that they do not know a form
WORD = "picture"
PROBE_SIDE = 64  # pixels; some models refuse pictures of fewer than 28


def probe(server: Server, address: Address, settings: Settings) -> tuple[ModelCard, Form]:
    """The model's card, and how to speak to its server; raises `EmbedderError`."""
    model, plain = _model(server, address)
    if plain is not None:
        return _own(address, model, plain, settings)
    if settings.pixel_budget is not None:
        raise EmbedderError("the pixel budget of a remote model is set where its server runs")
    form, dim = _form(server, Form(model, dimensions=settings.dim))
    if settings.dim not in (None, dim):
        raise EmbedderError(f"{address.url} gives {dim} numbers; it cannot cut to {settings.dim}")
    return _card(address, form, dim), replace(form, dim=dim)


def _model(server: Server, address: Address) -> tuple[str, dict[str, Any] | None]:
    """The model's id, and its card if the server is `embedder serve`."""
    served = _served(server, required=address.model is None)
    if address.model:
        return address.model, served.get(address.model)
    if len(served) == 1:
        return next(iter(served.items()))
    if not served:
        raise UnknownModelError(f"{address.url} names no model; type {address.name('MODEL')}")
    names = ", ".join(sorted(map(printable, served)))
    raise UnknownModelError(
        f"{address.url} has several models: type {address.name('MODEL')} with one of {names}"
    )


def _served(server: Server, *, required: bool) -> dict[str, dict[str, Any] | None]:
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


def _own(
    address: Address, model: str, plain: dict[str, Any], settings: Settings
) -> tuple[ModelCard, Form]:
    """The card that `embedder serve` tells, under the name that leads to it."""
    card = replace(_card_of(plain), name=address.name(model), family="remote")
    if settings.pixel_budget not in (None, card.pixel_budget):
        raise EmbedderError(f"{address.url} runs with a pixel budget of {card.pixel_budget}")
    wanted = settings.dim or card.dim
    form = Form(model, own=True, dim=wanted, image_side=card.image_side)
    if wanted == card.dim:
        return card, form
    if wanted not in card.matryoshka:
        lengths = ", ".join(map(str, sorted({*card.matryoshka, card.dim})))
        raise EmbedderError(f"{card.name} gives {lengths} numbers, not {wanted}")
    shorter = tuple(length for length in card.matryoshka if length < wanted)
    cut = replace(
        card,
        dim=wanted,
        matryoshka=shorter,
        fingerprint=fingerprint(card.fingerprint, "cut to", wanted),
    )
    return cut, replace(form, dimensions=wanted)


def _card_of(plain: dict[str, Any]) -> ModelCard:
    """A card from JSON; what a newer server tells besides is left out."""
    known = {field.name for field in fields(ModelCard)}
    told: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in plain.items()
        if name in known
    }
    try:
        card = ModelCard(**told)
        if min(card.dim, card.image_side) > 0 and card.fingerprint and "text" in card.modalities:
            return card
        raise TypeError("a value is out of range")
    except TypeError as error:
        raise EmbedderError(f"the server's card cannot be used: {error}") from None


def _form(server: Server, form: Form) -> tuple[Form, int]:
    """As `messages` if the model takes pictures in them, else as texts; and the vectors' length."""
    from PIL import Image

    picture = Input(images=(Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), "gray"),))
    chat = replace(form, chat=True)
    found = _tried(server, chat, lambda calls: (calls.whole(Input(WORD)), calls.whole(picture))[1])
    found = found or _tried(server, form, lambda calls: calls.texts([WORD]))
    if found is None:  # once more, for the server's own words
        return form, Calls(server, form, attempts=1).texts([WORD]).shape[1]
    return found


def _tried(server: Server, form: Form, ask: Callable[[Calls], Vectors]) -> tuple[Form, int] | None:
    """The form with the encoding that the server knows, and the length; None where it refuses."""
    for encoding in ("base64", "float"):
        attempt = replace(form, encoding=encoding)
        try:
            return attempt, ask(Calls(server, attempt, attempts=2)).shape[1]
        except ServerError as error:
            if error.status not in UNKNOWN_FORM:
                raise
    return None


def _card(address: Address, form: Form, dim: int) -> ModelCard:
    """What can be told of a model that only its server knows.

    The address is not in the fingerprint: the same model may move.
    """
    spoken = "messages" if form.chat else "input"
    return ModelCard(
        name=address.name(form.model),
        family="remote",
        revision="-",
        dim=dim,
        modalities=("text", "image") if form.chat else ("text",),
        composes=form.chat,
        languages=(),
        license="not told by the server",
        source=address.url,
        fingerprint=f"remote-{fingerprint(PREPARATION, form.model, dim, spoken)}",
        image_side=form.image_side,
    )
