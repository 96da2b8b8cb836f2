"""What sentence-transformers loads: SigLIP 2, Qwen3-VL-Embedding, EmbeddingGemma 2, your own.

Here the JSON files are read; the cards of known models are in `presets`, the model itself in
`backbone`. An instruction replaces the
prompt of a model with a chat template; dual encoders and text models ignore it.

Qwen3-VL-Embedding: https://github.com/QwenLM/Qwen3-VL-Embedding, https://arxiv.org/abs/2601.04720.
A system turn with the instruction, a user turn with images before the text, the start of the
assistant's turn; the state of the last token. SigLIP 2: https://arxiv.org/abs/2502.14786.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import (
    Checkpoint,
    locate,
    read_config,
    read_optional_config,
)
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.families.sentence_transformer.conventions import find_conventions, is_wemm
from embedder.families.sentence_transformer.presets import CARDS, find_template
from embedder.families.sentence_transformer.processors import (
    choose_soft_tokens,
    make_pixel_limits,
    read_image_config,
    read_image_side,
    read_max_pixels,
    read_token_side,
)
from embedder.families.sentence_transformer.remote_code import check_remote_code, read_modules
from embedder.model_card import build_card
from embedder.types import MatchHead, ModelCard, Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PROMPTS_FILE = "config_sentence_transformers.json"
VERSION = 1  # increase when prompts or preprocessing change
DEFAULT_PROMPT = "Represent the user's input."  # what Qwen3-VL-Embedding saves as its prompt
QUERY_PROMPT = "Retrieve images or text relevant to the user's query."  # its README's, for queries
QWEN3_PIXELS = (4 * 32 * 32, 1800 * 32 * 32)
"""Of an image, in Qwen3-VL-Embedding's src/models/qwen3_vl_embedding.py; its files allow less."""

DEFAULT_DIMS = {"siglip": 768, "siglip2": 768, "clip": 512}  # where config.json leaves them out


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card from the JSON files, which may be downloaded; raises `EmbedderError`."""
    checkpoint = locate(name)
    folder = _model_folder(checkpoint)
    pixel_range = _find_pixel_range(folder)
    saved = read_image_config(folder)
    if pixel_range:
        saved = {**saved, "size": make_pixel_limits(*pixel_range)}
    image_side, budget = read_image_side(saved), settings.pixel_budget
    if budget and not read_max_pixels(saved):
        raise EmbedderError(
            f"{name} takes every image at one size, so it has no pixel budget; leave it out"
        )
    if budget and "max_soft_tokens" in saved:
        choose_soft_tokens(budget, read_token_side(saved))
    dim, config = _detect_dim(folder, checkpoint), read_config(checkpoint.folder)
    template = replace(find_template(config.get("model_type")), image_side=image_side)
    if dims := config.get("matryoshka_dimensions"):  # as WeMM-Embedding's authors call them
        template = replace(template, matryoshka=tuple(map(int, dims)))
    version = f"{VERSION} {pixel_range}" if pixel_range else VERSION
    card = build_card(CARDS, name, checkpoint, settings, version, template=template, dim=dim)
    modalities, composes = _detect_modalities(folder, bool(saved))
    if is_wemm(config):
        modalities, composes = ("text", "image"), True
    return replace(
        card,
        modalities=modalities,
        composes=composes,
        image_side=max(1, int(budget**0.5)) if budget else card.image_side,
    )


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a model; raise `EmbedderError` for a damaged folder, device or too little memory."""
    from embedder.engine import Engine
    from embedder.families.sentence_transformer.backbone import SentenceTransformerBackbone

    card, checkpoint = describe(name, settings), locate(name)
    model = _load_model(checkpoint, card, settings)
    folder = _model_folder(checkpoint)
    query_prompt = QUERY_PROMPT if _has_only_default_prompt(folder) else ""
    is_as_trained = not checkpoint.adapter and settings.dim is None
    head = _read_match_head(model) if is_as_trained else None
    resizes = _find_pixel_range(folder) is not None
    return Engine(SentenceTransformerBackbone(card, model, query_prompt, head, resizes), settings)


def _has_only_default_prompt(folder: Path) -> bool:
    prompts = read_optional_config(folder, PROMPTS_FILE).get("prompts") or {}
    return {name: text for name, text in prompts.items() if text} == {"default": DEFAULT_PROMPT}


def _find_pixel_range(folder: Path) -> tuple[int, int] | None:
    """Return the pixels of an image where the authors' code has others than the files."""
    is_qwen = read_optional_config(folder, "config.json").get("model_type") == "qwen3_vl"
    return QWEN3_PIXELS if is_qwen and _has_only_default_prompt(folder) else None


def _read_match_head(model: SentenceTransformer) -> MatchHead | None:
    """SigLIP's; the softmax that CLIP was trained by says nothing of one image alone."""
    first: Any = model[0]
    scale, bias = (getattr(first.model, name, None) for name in ("logit_scale", "logit_bias"))
    if scale is None or bias is None:
        return None
    return MatchHead(scale=float(scale.exp()), bias=float(bias))


def _load_model(checkpoint: Checkpoint, card: ModelCard, settings: Settings) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel

    from embedder.families.sentence_transformer import processors
    from embedder.families.sentence_transformer.wemm import load_wemm
    from embedder.vlm.attention import FLASH, choose_attention
    from embedder.vlm.loading import (
        check_weights_loaded,
        finish_loading,
        merge_adapter,
        prepare_loading,
        select_device,
    )

    config, (device, dtype) = read_config(checkpoint.folder), select_device(settings)
    folder = checkpoint.folder if is_wemm(config) else _model_folder(checkpoint)
    conventions = find_conventions(config)
    conventions.check_dtype(card.name, dtype)
    if not is_wemm(config):
        check_remote_code(card.name, folder, trusted=settings.trust_remote_code)
    with (
        prepare_loading(checkpoint.folder, settings) as placement,
        check_weights_loaded(folder),
        processors.without_video_processor(),
    ):
        attention = choose_attention(AutoModel, str(config.get("model_type")), device, dtype)
        if attention == FLASH:  # otherwise transformers' own default, as not all have sdpa
            placement["attn_implementation"] = attention
        if is_wemm(config):
            model = load_wemm(folder, placement)
        else:
            model = SentenceTransformer(
                str(folder),
                local_files_only=True,
                trust_remote_code=settings.trust_remote_code,
                config_kwargs=conventions.config_overrides,
                model_kwargs=placement,
            )
    first: Any = model[0]
    if not hasattr(first, "processing_kwargs"):
        raise EmbedderError(
            f"{card.name} starts with a {type(first).__name__}; Polylens needs a model whose first "
            "module is sentence-transformers' Transformer, or a class derived from it"
        )
    if "image" in card.modalities and not hasattr(first.processor, "image_processor"):
        # AutoProcessor silently returns only a tokenizer for a processor it does not know
        raise EmbedderError(
            f"{folder.name} takes images, but its processor is unknown; its "
            "processor_config.json may be missing, or it needs --trust-remote-code"
        )
    if checkpoint.adapter and folder != checkpoint.adapter:
        merge_adapter(first.model, checkpoint.adapter)
    finish_loading(first.model, settings)
    if settings.quantize:
        model.to(device)
    processors.apply_training_options(first)
    if pixel_range := _find_pixel_range(folder):
        first.processor.image_processor.size = make_pixel_limits(*pixel_range)
    if settings.pixel_budget:
        processors.set_pixel_budget(first, settings.pixel_budget)
    return model.eval().requires_grad_(False)


def _model_folder(checkpoint: Checkpoint) -> Path:
    """Return the folder to load: an adapter saved by sentence-transformers has its own modules."""
    adapter = checkpoint.adapter
    return adapter if adapter and (adapter / "modules.json").exists() else checkpoint.folder


def _detect_modalities(folder: Path, has_preprocessor: bool) -> tuple[tuple[str, ...], bool]:
    """Return what a model takes, and whether it reads text and images together. A folder saved
    before sentence-transformers supported images does not mention them, and takes only texts."""
    saved = read_optional_config(folder, "sentence_bert_config.json").get("modality_config")
    if saved is not None:
        return ("text", "image") if "image" in saved else ("text",), "message" in saved
    if read_modules(folder) or not has_preprocessor:
        return ("text",), False
    templates = (folder / "chat_template.jinja", folder / "chat_template.json")
    return ("text", "image"), any(template.exists() for template in templates)


def _detect_dim(folder: Path, checkpoint: Checkpoint) -> int:
    """Return the dim of the vectors; raise `EmbedderError` if no file has it."""
    found = read_optional_config(folder, PROMPTS_FILE).get("truncate_dim")
    for module in reversed(read_modules(folder)):
        path = module["path"]
        module_config = read_optional_config(folder / path, "config.json") if path else {}
        for key in ("out_features", "embedding_dimension", "word_embedding_dimension"):
            found = found or module_config.get(key)
    config = read_config(checkpoint.folder)
    text = config.get("text_config", {})
    found = found or config.get("projection_dim") or text.get("projection_size")
    found = found or text.get("hidden_size") or config.get("hidden_size")
    dim = int(found or DEFAULT_DIMS.get(str(config.get("model_type")), 0))
    if not dim:
        raise EmbedderError(f"no file in {folder} has the dim of the model's vectors")
    return dim
