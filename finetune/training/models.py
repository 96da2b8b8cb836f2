"""From a recipe to the model that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import embedder
from embedder.checkpoint import find
from embedder.families import e5v, vlm2vec
from embedder.families.st_backbone import SentenceBackbone
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.backbone import VisionLanguage
from embedder.vlm.rendering import Prompt, Renderer
from finetune.errors import FinetuneError
from finetune.training.adapters import Adapter, checkpointing, told_of
from finetune.training.recipe import Recipe
from finetune.training.text_only import read_language_model
from finetune.training.trainable import Trainable


def trainable(
    recipe: Recipe, settings: Settings, cache: Path, languages: Sequence[str] = ()
) -> Trainable:
    """The recipe's model with what is trained in it; `cache` may keep what is computed once.

    Raises `FinetuneError` for a model that cannot be trained, `EmbedderError`.
    """
    card = embedder.describe(recipe.model, settings)
    if max(recipe.matryoshka, default=0) > card.dim:
        raise FinetuneError(
            f"{card.name} gives vectors of {card.dim} numbers; matryoshka must name shorter "
            f"lengths, not {max(recipe.matryoshka)}"
        )
    if card.family == "starter":
        from finetune.training.head import head

        return head(recipe.model, settings, cache)
    if card.family not in ("e5v", "vlm2vec", "mme5", "sentence_transformer"):
        raise FinetuneError(f"{card.name} is a {card.family} model, which cannot be trained here")
    checkpoint = find(_plain(recipe.model, card))
    if checkpoint.adapter is not None:
        raise FinetuneError(
            f"{recipe.model} is an adapter itself; merge it first (finetune export RUN --merged), "
            "and train on from the merged model"
        )
    backbone, body = _loaded(recipe, card, settings)
    if recipe.checkpointing:
        checkpointing(body)
    told = told_of(card.family, languages, recipe.matryoshka)
    if card.family == "vlm2vec":
        told |= asdict(vlm2vec.recipe_of(recipe.model, checkpoint))
    return Adapter(backbone, body, _plain(card.name, card), told, recipe.lora)


def _loaded(recipe: Recipe, card: ModelCard, settings: Settings) -> tuple[Any, Any]:
    """The backbone, and the torch module that it computes with."""
    if recipe.text_only:
        backbone: Any = _text_only(recipe, card, settings)
    else:
        loaded: Any = embedder.load(recipe.model, settings)
        backbone = loaded.backbone
    if isinstance(backbone, SentenceBackbone):
        if recipe.longest:
            raise FinetuneError(f"{card.name} cuts texts by itself; leave out --set longest")
        return backbone, backbone.transformer
    if not isinstance(backbone, VisionLanguage):
        raise FinetuneError(f"{card.name} runs code of its own, which cannot be trained here")
    if recipe.longest:
        _shorten(backbone, recipe.longest)
    return backbone, backbone.model


def _text_only(recipe: Recipe, card: ModelCard, settings: Settings) -> VisionLanguage:
    if card.family != "e5v":
        raise FinetuneError(
            f"text_only is for E5-V, which learns pictures from texts; {card.name} is no such "
            "model: add --set text_only=false"
        )
    checkpoint = find(_plain(recipe.model, card))
    architecture = read_language_model(
        checkpoint.folder, settings, four_bits=recipe.quantize == "nf4"
    )
    return VisionLanguage(card, architecture, Renderer.read(checkpoint.folder), e5v.render)


def _shorten(backbone: VisionLanguage, most: int) -> None:
    """Cut each text to `most` tokens before it is put into its prompt, as E5-V's authors do."""
    render, renderer = backbone.render, backbone.renderer

    def shortened(item: Input, role: Role, instruction: str | None) -> Prompt:
        text = renderer.shortened(item.text, most) if item.text else item.text
        return render(replace(item, text=text), role, instruction)

    backbone.render = shortened


def _plain(name: str, card: ModelCard) -> str:
    """The name without the family that may stand before it."""
    return name.removeprefix(f"{card.family}:")
