"""Everything sentence-transformers 6 loads: SigLIP 2, Qwen3-VL-Embedding, your own, text models.

This module reads the JSON files; the model itself is in `backbone`. An instruction replaces the
prompt of a model with a chat template; dual encoders and text models ignore it.

Qwen3-VL-Embedding: https://github.com/QwenLM/Qwen3-VL-Embedding, https://arxiv.org/abs/2601.04720.
A system turn with the instruction, a user turn with images before the text, the start of the
assistant's turn; the state of the last token. SigLIP 2: https://arxiv.org/abs/2502.14786.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import Checkpoint, first_line, locate, read_config
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.families.sentence_transformer.processors import (
    fixed_resolution_message,
    read_image_side,
    read_max_pixels,
)
from embedder.model_card import UNPINNED, derive_base_card, finalize_card, find_preset
from embedder.types import ModelCard, Settings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

VERSION = 1  # increase when prompts or preprocessing change
DEFAULT_PROMPT = "Represent the user's input."  # what Qwen3-VL-Embedding saves as its prompt
QUERY_PROMPT = "Retrieve images or text relevant to the user's query."  # its README's, for queries
DEFAULT_DIMS = {
    "siglip": 768,
    "siglip2": 768,
    "clip": 512,
}  # where config.json leaves out the default

# The authors mention over 30 languages without names: large ones of Qwen3's.
QWEN3_LANGUAGES = (
    "ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja",
    "ko", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
# WebLI's 109 languages: the 36 of Crossmodal-3600, on which the authors measure.
XM3600_LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th",
    "tr", "uk", "vi", "zh",
)  # fmt: skip

_CARD = ModelCard(
    name="",
    family="sentence_transformer",
    revision=UNPINNED,
    dim=0,
    modalities=("text", "image"),
    composes=True,
    languages=(),
    license="see its page",
    source="",
    fingerprint=UNPINNED,
)


def _make_qwen_card(size: str, dim: int, parameters: int, matryoshka: tuple[int, ...]) -> ModelCard:
    name = f"Qwen/Qwen3-VL-Embedding-{size}"
    return replace(
        _CARD,
        name=name,
        dim=dim,
        languages=QWEN3_LANGUAGES,
        license="Apache-2.0",
        source=f"https://huggingface.co/{name}",
        image_side=1144,  # 1,280 tokens of 32 x 32 pixels
        parameters=parameters,
        memory=int(parameters * 2 * 1.1 + 2e9),  # weights, and a batch of images
        matryoshka=matryoshka,
    )


CARDS = (
    replace(
        _CARD,
        name="google/siglip2-base-patch16-256",
        dim=768,
        composes=False,
        languages=XM3600_LANGUAGES,
        license="Apache-2.0",
        license_note="reads the first 64 tokens of a text, about 40 words",
        source="https://huggingface.co/google/siglip2-base-patch16-256",
        image_side=256,
        parameters=375_000_000,
        memory=1_300_000_000,
    ),
    _make_qwen_card("2B", 2048, 2_130_000_000, (64, 128, 256, 512, 768, 1024, 1536)),
    _make_qwen_card("8B", 4096, 8_140_000_000, (64, 128, 256, 512, 768, 1024, 1536, 2048, 3072)),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card from the JSON files, which may be downloaded; raises `EmbedderError`."""
    return _build_card(name, locate(name), settings)


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a model; raise `EmbedderError` for a damaged folder, device or too little memory."""
    from embedder.engine.engine import Engine
    from embedder.families.sentence_transformer.backbone import SentenceTransformerBackbone

    checkpoint = locate(name)
    card = _build_card(name, checkpoint, settings)
    model = _load_model(checkpoint, card, settings)
    query = (
        QUERY_PROMPT
        if _read_prompts(_model_folder(checkpoint)) == {"default": DEFAULT_PROMPT}
        else ""
    )
    return Engine(SentenceTransformerBackbone(card, model, query), settings)


def _build_card(name: str, checkpoint: Checkpoint, settings: Settings) -> ModelCard:
    folder = _model_folder(checkpoint)
    saved = _read_optional_config(folder, "preprocessor_config.json")
    template = replace(_CARD, image_side=read_image_side(saved))
    card = find_preset(CARDS, name) or derive_base_card(
        CARDS, name, template, _detect_dim(folder, checkpoint), checkpoint
    )
    if settings.pixel_budget and not read_max_pixels(saved):
        raise EmbedderError(fixed_resolution_message(name))
    if settings.pixel_budget:
        card = replace(card, image_side=max(1, int(settings.pixel_budget**0.5)))
    modalities, composes = _detect_modalities(folder, bool(saved))
    card = replace(card, modalities=modalities, composes=composes)
    return finalize_card(card, name, checkpoint, settings, VERSION)


def _load_model(checkpoint: Checkpoint, card: ModelCard, settings: Settings) -> SentenceTransformer:
    """Load the model on its device, with its processor set as in training."""
    from embedder.families.sentence_transformer import processors
    from embedder.vlm.loading import (
        check_memory,
        check_weights_loaded,
        merge_adapter,
        select_device,
        silence_transformers,
        wrap_load_errors,
    )

    folder, (device, dtype) = _model_folder(checkpoint), select_device(settings)
    check_memory(checkpoint.folder, device, dtype)
    with (
        silence_transformers(),
        wrap_load_errors(folder),
        check_weights_loaded(folder),
        processors.without_video_processor(),
    ):
        model = _load_sentence_transformer(folder, settings, device, dtype)
    first: Any = model[0]
    if not hasattr(first, "processing_kwargs"):
        raise EmbedderError(f"{card.name} starts with a {type(first).__name__}, not a Transformer")
    if "image" in card.modalities:
        processors.check_image_processor(first, folder)
    if checkpoint.adapter and folder != checkpoint.adapter:
        merge_adapter(first.model, checkpoint.adapter)
    processors.apply_training_options(first)
    if settings.pixel_budget:
        processors.set_pixel_budget(first, settings.pixel_budget, card.name)
    return model.eval().requires_grad_(False)


def _load_sentence_transformer(
    folder: Path, settings: Settings, device: torch.device, dtype: torch.dtype
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            str(folder),
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            model_kwargs={
                "dtype": dtype,
                "attn_implementation": "sdpa",
                "device_map": str(device),  # directly to a GPU, without a copy in main memory
            },
        )
    except (ImportError, TypeError, AttributeError) as error:  # something is not installed
        raise EmbedderError(f"{folder} cannot be loaded: {first_line(error)}") from error


def _model_folder(checkpoint: Checkpoint) -> Path:
    """Return the folder to load: an adapter saved by sentence-transformers has its own modules."""
    adapter = checkpoint.adapter
    return adapter if adapter and (adapter / "modules.json").exists() else checkpoint.folder


def _read_optional_config(folder: Path, name: str) -> dict[str, Any]:
    return read_config(folder, name) if (folder / name).exists() else {}


def _read_prompts(folder: Path) -> dict[str, str]:
    """Read the prompts of a folder that are not empty."""
    saved = _read_optional_config(folder, "config_sentence_transformers.json").get("prompts") or {}
    return {name: str(prompt) for name, prompt in saved.items() if prompt}


def _read_modules(folder: Path) -> list[dict[str, Any]]:
    found: Any = read_config(folder, "modules.json") if (folder / "modules.json").exists() else []
    return list(found)


def _detect_modalities(folder: Path, has_preprocessor: bool) -> tuple[tuple[str, ...], bool]:
    """Return what a model takes, and whether it reads text and images together. A folder saved
    before sentence-transformers supported images does not mention them, and takes only texts."""
    modality_config = _read_optional_config(folder, "sentence_bert_config.json").get(
        "modality_config"
    )
    if modality_config is None:
        modality_config = {} if _read_modules(folder) or not has_preprocessor else {"image": {}}
        has_chat_template = (folder / "chat_template.jinja").exists() or (
            folder / "chat_template.json"
        ).exists()
        modality_config |= {"message": {}} if modality_config and has_chat_template else {}
    modalities = ("text", "image") if "image" in modality_config else ("text",)
    return modalities, "message" in modality_config


def _detect_dim(folder: Path, checkpoint: Checkpoint) -> int:
    """Return the dim of the vectors; raise `EmbedderError` if no file has it."""
    dim_found = _read_optional_config(folder, "config_sentence_transformers.json").get(
        "truncate_dim"
    )
    for module in reversed(_read_modules(folder)):
        module_config = (
            _read_optional_config(folder / module["path"], "config.json") if module["path"] else {}
        )
        keys = ("out_features", "embedding_dimension", "word_embedding_dimension")
        dim_found = dim_found or next(
            (module_config[key] for key in keys if key in module_config), None
        )
    config = read_config(checkpoint.folder)
    text = config.get("text_config", {})
    dim_found = dim_found or config.get("projection_dim") or text.get("projection_size")
    dim_found = dim_found or text.get("hidden_size") or config.get("hidden_size")
    dim = int(dim_found or DEFAULT_DIMS.get(str(config.get("model_type")), 0))
    if not dim:
        raise EmbedderError(f"no file in {folder} has the dim of the model's vectors")
    return dim
