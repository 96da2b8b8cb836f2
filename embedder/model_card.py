"""From what is known of a family's model to the card of the one in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from embedder.checkpoint import METADATA_FILE, Checkpoint, compute_fingerprint, detect_family
from embedder.errors import EmbedderError
from embedder.types import ModelCard, Settings

T = TypeVar("T")

UNPINNED = "main"
"""The revision of a card whose weights have not been seen."""


def find_preset(cards: Sequence[ModelCard], name: str) -> ModelCard | None:
    return next((card for card in cards if card.name == name), None)


def derive_base_card(
    cards: Sequence[ModelCard], name: str, template: ModelCard, dim: int, checkpoint: Checkpoint
) -> ModelCard:
    """The card of that name; of a model without one, that of the model which it was made from;
    where that is not known either, what `like` says of its family. `polylens.json` beside a
    fine-tuned model may tell its languages, and the lengths that it was trained to be cut to."""
    preset = find_preset(cards, name)
    if preset is not None:
        return preset
    base = find_preset(cards, checkpoint.base_model) or replace(template, parameters=0, memory=0)
    dims = _read_metadata_list(checkpoint, "matryoshka", int, base.matryoshka)
    return replace(
        base,
        name="",
        source=name,
        dim=dim,
        languages=tuple(_read_metadata_list(checkpoint, "languages", str, base.languages)),
        matryoshka=tuple(sorted(smaller for smaller in dims if smaller < dim)),
    )


def _read_metadata_list(
    checkpoint: Checkpoint, key: str, item_type: type[T], default: Sequence[T]
) -> Sequence[T]:
    found = checkpoint.metadata.get(key, default)
    if not isinstance(found, list | tuple) or not all(
        isinstance(item, item_type) for item in found
    ):
        problem = f"{key} is no list of {item_type.__name__}"
        raise EmbedderError(f"{checkpoint.trained_dir / METADATA_FILE} is damaged: {problem}")
    return found


def finalize_card(
    card: ModelCard, name: str, checkpoint: Checkpoint, settings: Settings, version: object
) -> ModelCard:
    """`card` with what the checkpoint and the settings make of it. `version` changes with the
    family's prompts and preprocessing. Raises `EmbedderError` for a `dim` that is not allowed."""
    card_name = name if card.name == name else _reloadable_name(name, card.family, checkpoint)
    card = replace(card, name=card_name)
    dim, digest = validate_dim(card, settings.dim), checkpoint.digest
    return replace(
        card,
        revision=checkpoint.commit or digest[:12],
        dim=dim,
        pixel_budget=settings.pixel_budget,
        fingerprint=compute_fingerprint(card.family, version, digest, settings.pixel_budget, dim),
    )


def validate_dim(card: ModelCard, dim: int | None) -> int:
    """The length of vectors; raises `EmbedderError` where the model was not trained for it."""
    if dim is None or dim == card.dim or dim in card.matryoshka:
        return dim or card.dim
    choices = ", ".join(map(str, sorted({*card.matryoshka, card.dim})))
    raise EmbedderError(f"{card.name} gives vectors of {choices} numbers, not of {dim}")


def _reloadable_name(name: str, family: str, checkpoint: Checkpoint) -> str:
    """A name under which the same model is found from any folder."""
    folder = Path(name).expanduser()
    bare_name = str(folder.absolute()) if folder.is_dir() else name
    return bare_name if detect_family(checkpoint.trained_dir) == family else f"{family}:{bare_name}"
