"""From what is known of a family's model to the card of the one in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embedder.checkpoint import Checkpoint, family_of, fingerprint
from embedder.errors import EmbedderError
from embedder.types import ModelCard, Settings

UNPINNED = "main"
"""The revision of a card whose weights have not been seen."""


def preset(cards: Sequence[ModelCard], name: str) -> ModelCard | None:
    return next((card for card in cards if card.name == name), None)


def known(cards: Sequence[ModelCard], name: str, like: ModelCard, dim: int) -> ModelCard:
    """The card of that name; of a model without one, what `like` says of its family."""
    return preset(cards, name) or replace(
        like, name="", source=name, dim=dim, parameters=0, memory=0
    )


def finished(
    card: ModelCard, name: str, checkpoint: Checkpoint, settings: Settings, version: object
) -> ModelCard:
    """`card` with what the checkpoint and the settings make of it. `version` changes with the
    family's prompts and preprocessing. Raises `EmbedderError` for a `dim` that is not allowed."""
    called = name if card.name == name else _reloadable(name, card.family, checkpoint)
    card = replace(card, name=called)
    dim, digest = allowed(card, settings.dim), checkpoint.digest
    return replace(
        card,
        revision=checkpoint.commit or digest[:12],
        dim=dim,
        pixel_budget=settings.pixel_budget,
        fingerprint=fingerprint(card.family, version, digest, settings.pixel_budget, dim),
    )


def allowed(card: ModelCard, dim: int | None) -> int:
    """The length of vectors; raises `EmbedderError` where the model was not trained for it."""
    if dim is None or dim == card.dim or dim in card.matryoshka:
        return dim or card.dim
    choices = ", ".join(map(str, sorted({*card.matryoshka, card.dim})))
    raise EmbedderError(f"{card.name} gives vectors of {choices} numbers, not of {dim}")


def _reloadable(name: str, family: str, checkpoint: Checkpoint) -> str:
    """A name under which the same model is found from any folder."""
    place = checkpoint.adapter or checkpoint.folder
    plain = str(place) if Path(name).expanduser().is_dir() else name
    return plain if family_of(place) == family else f"{family}:{plain}"
