"""Completes the card of a family's model with what its checkpoint and the settings say."""

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
"""The revision of a card whose weights have not been read."""


def find_preset(cards: Sequence[ModelCard], name: str) -> ModelCard | None:
    return next((card for card in cards if card.name == name), None)


def derive_base_card(
    cards: Sequence[ModelCard], name: str, template: ModelCard, dim: int, checkpoint: Checkpoint
) -> ModelCard:
    """Return the preset of that name, or a card made from the preset of the base model or, if that
    is unknown too, from `template`. `polylens.json` beside a fine-tuned model may name its
    languages and smaller dims."""
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
        problem = f"{key} is not a list of {item_type.__name__}"
        raise EmbedderError(f"{checkpoint.trained_dir / METADATA_FILE} is damaged: {problem}")
    return found


def finalize_card(
    card: ModelCard, name: str, checkpoint: Checkpoint, settings: Settings, version: object
) -> ModelCard:
    """Fill in name, revision, dim and fingerprint. `version` changes with the family's prompts and
    preprocessing. Raises `EmbedderError` for a `dim` that the model does not have."""
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
    """Return the dim of vectors; raise `EmbedderError` if the model was not trained for it."""
    if dim is None or dim == card.dim or dim in card.matryoshka:
        return dim or card.dim
    choices = ", ".join(map(str, sorted({*card.matryoshka, card.dim})))
    raise EmbedderError(f"{card.name} has vectors of dim {choices}, not {dim}")


def _reloadable_name(name: str, family: str, checkpoint: Checkpoint) -> str:
    """Return a name that leads to the same model from any working directory."""
    folder = Path(name).expanduser()
    bare_name = str(folder.absolute()) if folder.is_dir() else name
    return bare_name if detect_family(checkpoint.trained_dir) == family else f"{family}:{bare_name}"
