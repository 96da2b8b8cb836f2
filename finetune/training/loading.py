"""From a recipe to the model that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import embedder
from embedder.checkpoint import locate
from embedder.families import e5v, vlm2vec
from embedder.families.sentence_transformer.backbone import SentenceTransformerBackbone
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.backbone import VisionLanguageBackbone
from embedder.vlm.prompts import Prompt, PromptTokenizer
from finetune.errors import FinetuneError
from finetune.training.language_model import load_language_model
from finetune.training.lora import LoraAdapter, describe_adapter, enable_gradient_checkpointing
from finetune.training.presets import Recipe
from finetune.training.trainable import Trainable


def load_trainable(
    recipe: Recipe, settings: Settings, cache: Path, languages: Sequence[str] = ()
) -> Trainable:
    """The recipe's model with what is trained in it; `cache` may keep what is computed once.

    Raises `FinetuneError` for a model that cannot be trained, `EmbedderError`.
    """
    card = embedder.describe_model(recipe.model, settings)
    if max(recipe.matryoshka, default=0) > card.dim:
        raise FinetuneError(
            f"{card.name} gives vectors of {card.dim} numbers; matryoshka must name shorter "
            f"lengths, not {max(recipe.matryoshka)}"
        )
    if card.family == "starter":
        from finetune.training.starter_head import load_starter_head

        return load_starter_head(recipe.model, settings, cache)
    if card.family not in ("e5v", "vlm2vec", "mme5", "sentence_transformer"):
        raise FinetuneError(f"{card.name} is a {card.family} model, which cannot be trained here")
    checkpoint = locate(_strip_family(recipe.model, card))
    if checkpoint.adapter is not None:
        raise FinetuneError(
            f"{recipe.model} is an adapter itself; merge it first (finetune export RUN --merged), "
            "and train on from the merged model"
        )
    backbone, body = _load_backbone(recipe, card, settings)
    if recipe.checkpointing:
        enable_gradient_checkpointing(body)
    metadata = describe_adapter(card.family, languages, recipe.matryoshka)
    if card.family == "vlm2vec":
        metadata |= asdict(vlm2vec.detect_recipe(recipe.model, checkpoint))
    return LoraAdapter(backbone, body, _strip_family(card.name, card), metadata, recipe.lora)


def _load_backbone(recipe: Recipe, card: ModelCard, settings: Settings) -> tuple[Any, Any]:
    """The backbone, and the torch module that it computes with."""
    if recipe.text_only:
        backbone: Any = _load_text_only(recipe, card, settings)
    else:
        loaded: Any = embedder.load(recipe.model, settings)
        backbone = loaded.backbone
    if isinstance(backbone, SentenceTransformerBackbone):
        if recipe.longest:
            raise FinetuneError(f"{card.name} cuts texts by itself; leave out --set longest")
        return backbone, backbone.transformer
    if not isinstance(backbone, VisionLanguageBackbone):
        raise FinetuneError(f"{card.name} runs code of its own, which cannot be trained here")
    if recipe.longest:
        _truncate_texts(backbone, recipe.longest)
    return backbone, backbone.model


def _load_text_only(recipe: Recipe, card: ModelCard, settings: Settings) -> VisionLanguageBackbone:
    if card.family != "e5v":
        raise FinetuneError(
            f"text_only is for E5-V, which learns pictures from texts; {card.name} is no such "
            "model: add --set text_only=false"
        )
    checkpoint = locate(_strip_family(recipe.model, card))
    architecture = load_language_model(
        checkpoint.folder, settings, four_bits=recipe.quantize == "nf4"
    )
    return VisionLanguageBackbone(
        card, architecture, PromptTokenizer.read(checkpoint.folder), e5v.render_prompt
    )


def _truncate_texts(backbone: VisionLanguageBackbone, max_tokens: int) -> None:
    """Cut each text to `most` tokens before it is put into its prompt, as E5-V's authors do."""
    render, renderer = backbone.render_prompt, backbone.prompt_tokenizer

    def shortened(item: Input, role: Role, instruction: str | None) -> Prompt:
        text = renderer.truncate_text(item.text, max_tokens) if item.text else item.text
        return render(replace(item, text=text), role, instruction)

    backbone.render_prompt = shortened


def _strip_family(name: str, card: ModelCard) -> str:
    """The name without the family that may stand before it."""
    return name.removeprefix(f"{card.family}:")
