"""Loads the model that a recipe trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import embedder
from embedder.checkpoint import Checkpoint, locate
from embedder.errors import EmbedderError
from embedder.families import e5v, vlm2vec
from embedder.families.registry import find_family
from embedder.families.sentence_transformer.backbone import SentenceTransformerBackbone
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.attention import choose_attention
from embedder.vlm.backbone import Architecture, Size, VisionLanguageBackbone
from embedder.vlm.loading import (
    check_missing_weights,
    finish_loading,
    prepare_loading,
    select_device,
)
from embedder.vlm.prompts import Prompt, PromptTokenizer
from finetune.errors import FinetuneError
from finetune.training.presets import Recipe
from finetune.training.trainable import LoraAdapter, Trainable, enable_gradient_checkpointing

LANGUAGE_MODEL_KEYS = {r"^language_model\.model\.": "", r"^model\.language_model\.": ""}  # old, new


class TextOnlyModel(Architecture):
    """An architecture that takes no images.

    E5-V is trained on texts alone (https://arxiv.org/abs/2407.12580, section 3.3), since its prompt
    maps images and texts to one space.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model, image_token=-1)

    def count_image_tokens(self, size: Size) -> int:
        raise EmbedderError("this recipe trains on texts alone, without images")


def load_base(recipe: Recipe, settings: Settings) -> Any:
    """Load the recipe's model as it is before training; raises `FinetuneError`, `EmbedderError`."""
    if not recipe.vlm2vec_version:
        return embedder.load(recipe.model, settings)
    family, name = find_family(recipe.model)
    if family.name != "vlm2vec":
        raise FinetuneError(
            f"vlm2vec_version is for VLM2Vec, and {recipe.model} is a {family.name} model; add "
            "--set vlm2vec_version=0"
        )
    family.check_installed()
    return vlm2vec.load(name, settings, _find_vlm2vec_recipe(recipe, locate(name)))


def _find_vlm2vec_recipe(recipe: Recipe, checkpoint: Checkpoint) -> vlm2vec.Recipe:
    if recipe.vlm2vec_version:
        return vlm2vec.find_recipe(recipe.vlm2vec_version, checkpoint)
    return vlm2vec.detect_recipe(recipe.model, checkpoint)


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

        if recipe.lora.targets:
            raise FinetuneError(
                "of the starter only the head is trained, without LoRA: choose --preset "
                "starter-head, and leave --lora-targets out"
            )
        return load_starter_head(recipe.model, settings, cache)
    if card.family not in ("e5v", "vlm2vec", "mme5", "sentence_transformer"):
        raise FinetuneError(f"{card.name} is a {card.family} model, which cannot be trained")
    checkpoint = locate(find_family(recipe.model)[1])
    if checkpoint.adapter is not None:
        raise FinetuneError(
            f"{recipe.model} is an adapter; merge it first (finetune export RUN --out FOLDER), "
            "and train the merged model"
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
        metadata |= asdict(_find_vlm2vec_recipe(recipe, checkpoint))
    return LoraAdapter(backbone, body, find_family(card.name)[1], metadata, recipe.lora)


def _load_backbone(
    recipe: Recipe, card: ModelCard, folder: Path, settings: Settings
) -> tuple[Any, Any]:
    """The backbone, and the torch module that it computes with."""
    if recipe.text_only:
        backbone: Any = _load_text_only(recipe, card, folder, settings)
    else:
        backbone = getattr(load_base(recipe, settings), "backbone", None)
    if isinstance(backbone, SentenceTransformerBackbone):
        if recipe.longest:
            raise FinetuneError(f"{card.name} truncates texts itself; leave out --set longest")
        return backbone, backbone.model
    if not isinstance(backbone, VisionLanguageBackbone):
        raise FinetuneError(f"{card.name} runs remote code, which cannot be trained")
    if recipe.longest:
        _truncate_texts(backbone, recipe.longest)
    return backbone, backbone.model


def _load_text_only(
    recipe: Recipe, card: ModelCard, folder: Path, settings: Settings
) -> VisionLanguageBackbone:
    """Load the language model of a LLaVA-NeXT checkpoint, without its vision tower.

    The weights may be quantized to nf4 (QLoRA, https://arxiv.org/abs/2305.14314).
    """
    from transformers import AutoConfig, AutoModel

    if card.family != "e5v":
        raise FinetuneError(
            f"text_only is for E5-V, which learns about images from texts, and {card.name} is a "
            f"{card.family} model; add --set text_only=false"
        )
    quantize = None if recipe.quantize == "none" else recipe.quantize
    settings = replace(settings, quantize=quantize)
    with prepare_loading(folder, settings) as placement:
        auto: Any = AutoModel
        config = AutoConfig.from_pretrained(folder).text_config
        model, report = auto.from_pretrained(
            folder,
            config=config,
            key_mapping=LANGUAGE_MODEL_KEYS,
            attn_implementation=choose_attention(auto, config.model_type, *select_device(settings)),
            output_loading_info=True,
            **placement,
        )
    check_missing_weights(folder, report["missing_keys"])
    finish_loading(model, settings)
    language_model = TextOnlyModel(model.eval().requires_grad_(False))
    tokenizer = PromptTokenizer.read(folder)
    return VisionLanguageBackbone(card, language_model, tokenizer, e5v.render_prompt)


def _truncate_texts(backbone: VisionLanguageBackbone, max_tokens: int) -> None:
    """Truncate each text before it is put into its prompt, as E5-V's authors do."""
    render_prompt, tokenizer = backbone.render_prompt, backbone.prompt_tokenizer

    def render_truncated(item: Input, role: Role, instruction: str | None) -> Prompt:
        text = tokenizer.truncate_text(item.text, max_tokens) if item.text else item.text
        return render_prompt(replace(item, text=text, prompt=None), role, instruction)

    backbone.render_prompt = render_truncated
