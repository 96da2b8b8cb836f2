"""Loads the model that a recipe trains."""

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
from finetune.training.lora import LoraAdapter, enable_gradient_checkpointing
from finetune.training.presets import Recipe
from finetune.training.trainable import Trainable


def load_trainable(
    recipe: Recipe, settings: Settings, cache: Path, languages: Sequence[str] = ()
) -> Trainable:
    """Load the recipe's model with the parameters to train in it.

    `cache` is a folder that may keep what is computed once; `languages` are for the adapter's
    metadata. Raises `FinetuneError` for a model that cannot be trained, and `EmbedderError`.
    """
    card = embedder.describe_model(recipe.model, settings)
    if max(recipe.matryoshka, default=0) > card.dim:
        raise FinetuneError(
            f"{card.name} has dim {card.dim}; matryoshka must name smaller dims, not "
            f"{max(recipe.matryoshka)}"
        )
    if card.family == "starter":
        from finetune.training.starter_head import load_starter_head

        return load_starter_head(recipe.model, settings, cache)
    if card.family not in ("e5v", "vlm2vec", "mme5", "sentence_transformer"):
        raise FinetuneError(f"{card.name} is a {card.family} model, which cannot be trained")
    prefix = f"{card.family}:"
    checkpoint = locate(recipe.model.removeprefix(prefix))
    if checkpoint.adapter is not None:
        raise FinetuneError(
            f"{recipe.model} is an adapter; merge it first (finetune export RUN --merged), and "
            "train the merged model"
        )
    backbone, body = _load_backbone(recipe, card, checkpoint.folder, settings)
    if recipe.checkpointing:
        enable_gradient_checkpointing(body)
    metadata = {
        "family": card.family,
        "languages": list(languages),
        "matryoshka": list(recipe.matryoshka),
    }
    if card.family == "vlm2vec":
        metadata |= asdict(vlm2vec.detect_recipe(recipe.model, checkpoint))
    return LoraAdapter(backbone, body, card.name.removeprefix(prefix), metadata, recipe.lora)


def _load_backbone(
    recipe: Recipe, card: ModelCard, folder: Path, settings: Settings
) -> tuple[Any, Any]:
    """The backbone, and the torch module that it computes with."""
    if recipe.text_only:
        backbone: Any = _load_text_only(recipe, card, folder, settings)
    else:
        backbone = getattr(embedder.load(recipe.model, settings), "backbone", None)
    if isinstance(backbone, SentenceTransformerBackbone):
        if recipe.longest:
            raise FinetuneError(f"{card.name} truncates texts itself; leave out --set longest")
        return backbone, backbone.transformer
    if not isinstance(backbone, VisionLanguageBackbone):
        raise FinetuneError(f"{card.name} runs remote code, which cannot be trained")
    if recipe.longest:
        _truncate_texts(backbone, recipe.longest)
    return backbone, backbone.model


def _load_text_only(
    recipe: Recipe, card: ModelCard, folder: Path, settings: Settings
) -> VisionLanguageBackbone:
    if card.family != "e5v":
        raise FinetuneError(
            f"text_only is for E5-V, which learns about images from texts, and {card.name} is a "
            f"{card.family} model; add --set text_only=false"
        )
    model = load_language_model(folder, settings, four_bits=recipe.quantize == "nf4")
    tokenizer = PromptTokenizer.read(folder)
    return VisionLanguageBackbone(card, model, tokenizer, e5v.render_prompt)


def _truncate_texts(backbone: VisionLanguageBackbone, max_tokens: int) -> None:
    """Truncate each text before it is put into its prompt, as E5-V's authors do."""
    render_prompt, tokenizer = backbone.render_prompt, backbone.prompt_tokenizer

    def render_truncated(item: Input, role: Role, instruction: str | None) -> Prompt:
        text = tokenizer.truncate_text(item.text, max_tokens) if item.text else item.text
        return render_prompt(replace(item, text=text), role, instruction)

    backbone.render_prompt = render_truncated
