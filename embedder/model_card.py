"""Builds the card of a family's model from what its checkpoint and the settings say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedder.checkpoint import (
    METADATA_FILE,
    Checkpoint,
    compute_fingerprint,
    detect_family,
    read_config,
)
from embedder.errors import EmbedderError
from embedder.types import QUANTIZATIONS, ModelCard, Settings

UNPINNED = "main"
"""The revision of a card whose weights have not been read."""


def make_preset(name: str, family: str, dim: int, parameters: int, **details: Any) -> ModelCard:
    """Make the card of a Hugging Face model, before anything is read of it."""
    defaults: dict[str, Any] = {
        "revision": UNPINNED,
        "fingerprint": UNPINNED,
        "modalities": ("text", "image"),
        "composes": True,
        "source": f"https://huggingface.co/{name}",
        "memory": int(parameters * 2 * 1.1 + 2e9),  # the weights, and a batch of images
    }
    return ModelCard(name, family, dim=dim, parameters=parameters, **defaults | details)


def find_preset(cards: Sequence[ModelCard], name: str) -> ModelCard | None:
    """Return the card of that name, if there is one."""
    return next((card for card in cards if card.name == name), None)


def build_card(
    cards: Sequence[ModelCard],
    name: str,
    checkpoint: Checkpoint,
    settings: Settings,
    version: object,
    *,
    template: ModelCard,
    dim: int | None = None,
) -> ModelCard:
    """Build the card of a family's model; raise `EmbedderError` for a `dim` it does not have, or an
    unknown quantization.

    Args:
        cards: The presets of the family.
        version: Changes with the family's prompts and preprocessing.
        template: For a model that is not made from a preset.
        dim: Of the model's vectors; default: the hidden size in its configuration.
    """
    if settings.quantize not in (None, *QUANTIZATIONS):
        known = " or ".join(QUANTIZATIONS)
        raise EmbedderError(f"weights cannot be quantized to {settings.quantize!r}; use {known}")
    card = derive_base_card(cards, name, checkpoint, template, dim)
    card_name = name if card.name == name else _reloadable_name(name, card.family, checkpoint)
    card = replace(card, name=card_name)
    dim, digest = validate_dim(card, settings.dim), checkpoint.digest
    parts = [card.family, version, digest, settings.pixel_budget, dim]
    parts += [settings.quantize] if settings.quantize else []
    return replace(
        card,
        revision=checkpoint.commit or digest[:12],
        dim=dim,
        pixel_budget=settings.pixel_budget,
        quantize=settings.quantize,
        fingerprint=compute_fingerprint(*parts),
    )


def derive_base_card(
    cards: Sequence[ModelCard],
    name: str,
    checkpoint: Checkpoint,
    template: ModelCard,
    dim: int | None = None,
) -> ModelCard:
    """Return the preset of that name, or a card made from the preset of the base model or, if that
    is unknown too, from `template`. `polylens.json` beside a fine-tuned model may name its
    languages and smaller dims."""
    preset = find_preset(cards, name)
    if preset is not None:
        return preset
    base = find_preset(cards, checkpoint.base_model) or replace(template, parameters=0, memory=0)
    dim = dim or _read_hidden_size(checkpoint.folder)
    matryoshka = _read_metadata_list(checkpoint, "matryoshka", int, base.matryoshka)
    return replace(
        base,
        name="",
        source=name,
        dim=dim,
        languages=_read_metadata_list(checkpoint, "languages", str, base.languages),
        matryoshka=tuple(sorted(smaller for smaller in matryoshka if smaller < dim)),
    )


def validate_dim(card: ModelCard, dim: int | None) -> int:
    """Return the dim of vectors; raise `EmbedderError` if the model was not trained for it."""
    if dim is None or dim == card.dim or dim in card.matryoshka:
        return dim or card.dim
    choices = ", ".join(map(str, sorted({*card.matryoshka, card.dim})))
    raise EmbedderError(f"{card.name} has vectors of dim {choices}, not {dim}")


def _read_hidden_size(folder: Path) -> int:
    config = read_config(folder)
    text = config.get("text_config", {})
    return int(text.get("hidden_size") or config.get("hidden_size") or 4096)


def _read_metadata_list(
    checkpoint: Checkpoint, key: str, item_type: type, default: tuple[Any, ...]
) -> tuple[Any, ...]:
    found = checkpoint.metadata.get(key, list(default))
    if not isinstance(found, list) or not all(isinstance(item, item_type) for item in found):
        problem = f"{key} is not a list of {item_type.__name__}"
        raise EmbedderError(f"{checkpoint.trained_dir / METADATA_FILE} is damaged: {problem}")
    return tuple(found)


def _reloadable_name(name: str, family: str, checkpoint: Checkpoint) -> str:
    """Return a name that leads to the same model from any working directory."""
    folder = Path(os.path.expanduser(name))
    bare_name = str(folder.absolute()) if folder.is_dir() else name
    return bare_name if detect_family(checkpoint.trained_dir) == family else f"{family}:{bare_name}"
