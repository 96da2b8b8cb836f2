"""From what is known of a family's model to the card of the one in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from embedder.checkpoint import OURS, Checkpoint, family_of, fingerprint
from embedder.errors import EmbedderError
from embedder.types import ModelCard, Settings

T = TypeVar("T")

UNPINNED = "main"
"""The revision of a card whose weights have not been seen."""


def preset(cards: Sequence[ModelCard], name: str) -> ModelCard | None:
    return next((card for card in cards if card.name == name), None)


def known(
    cards: Sequence[ModelCard], name: str, like: ModelCard, dim: int, checkpoint: Checkpoint
) -> ModelCard:
    """The card of that name; of a model without one, that of the model which it was made from;
    where that is not known either, what `like` says of its family. `polylens.json` beside a
    fine-tuned model may tell its languages, and the lengths that it was trained to be cut to."""
    found = preset(cards, name)
    if found is not None:
        return found
    base = preset(cards, checkpoint.base) or replace(like, parameters=0, memory=0)
    lengths = _told(checkpoint, "matryoshka", int, base.matryoshka)
    return replace(
        base,
        name="",
        source=name,
        dim=dim,
        languages=tuple(_told(checkpoint, "languages", str, base.languages)),
        matryoshka=tuple(sorted(length for length in lengths if length < dim)),
    )


def _told(checkpoint: Checkpoint, key: str, kind: type[T], otherwise: Sequence[T]) -> Sequence[T]:
    found = checkpoint.told.get(key, otherwise)
    if not isinstance(found, list | tuple) or not all(isinstance(one, kind) for one in found):
        what = f"{key} is no list of {kind.__name__}"
        raise EmbedderError(f"{checkpoint.home / OURS} is damaged: {what}")
    return found


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
    folder = Path(name).expanduser()
    plain = str(folder.absolute()) if folder.is_dir() else name
    return plain if family_of(checkpoint.home) == family else f"{family}:{plain}"
