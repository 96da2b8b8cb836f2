"""mmE5: multilingual and multimodal, trained on synthetic data (https://arxiv.org/abs/2502.08468).

A prompt is `<|image|><|begin_of_text|>{instruction} {text}` and a newline; a document without an
image is the text alone.
"""

from __future__ import annotations

from embedder.checkpoint import Checkpoint, locate, read_config
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.families import mmeb_prompts
from embedder.model_card import UNPINNED, derive_base_card, finalize_card
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.prompts import Prompt, PromptTokenizer, UserText

VERSION = 1  # increase when prompts or preprocessing change
MAX_PROMPT_TOKENS = 256  # tokens of a prompt

# XTD's and the larger ones of the 93 languages of XLM-R that the synthetic data is drawn from.
LANGUAGES = (
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "sw", "ta", "te", "th", "tr",
    "uk", "ur", "vi", "zh",
)  # fmt: skip
CARDS = (
    ModelCard(
        name="intfloat/mmE5-mllama-11b-instruct",
        family="mme5",
        revision=UNPINNED,
        dim=4096,
        modalities=("text", "image"),
        composes=True,
        languages=LANGUAGES,
        license="MIT, Llama 3.2",
        license_note="Llama 3.2's terms apply: no use by companies with over 700 million users, "
        "and its image part is not licensed to people and companies in the European Union",
        source="https://huggingface.co/intfloat/mmE5-mllama-11b-instruct",
        fingerprint=UNPINNED,
        image_side=1120,
        parameters=10_600_000_000,
        memory=25_500_000_000,
    ),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded; raises `EmbedderError`."""
    return _build_card(name, _locate(name, settings), settings)


def _locate(name: str, settings: Settings) -> Checkpoint:
    if settings.pixel_budget:
        raise EmbedderError(
            "mmE5 always computes four tiles per image, so a pixel budget saves nothing; "
            "leave --pixel-budget out"
        )
    return locate(name)


def _build_card(name: str, checkpoint: Checkpoint, settings: Settings) -> ModelCard:
    dim = int(read_config(checkpoint.folder)["text_config"].get("hidden_size", 4096))
    return finalize_card(
        derive_base_card(CARDS, name, CARDS[0], dim, checkpoint),
        name,
        checkpoint,
        settings,
        VERSION,
    )


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a checkpoint; raises `EmbedderError`."""
    from embedder.engine.engine import Engine
    from embedder.vlm.backbone import VisionLanguageBackbone
    from embedder.vlm.loading import load_model
    from embedder.vlm.mllama import Mllama

    checkpoint = _locate(name, settings)
    card = _build_card(name, checkpoint, settings)
    architecture = Mllama(load_model(checkpoint, settings), checkpoint.folder)
    prompt_tokenizer = PromptTokenizer.read(checkpoint.folder, MAX_PROMPT_TOKENS)
    return Engine(
        VisionLanguageBackbone(card, architecture, prompt_tokenizer, render_prompt), settings
    )


def render_prompt(item: Input, role: Role, instruction: str | None = None) -> Prompt:
    """Return the prompt for one input. The tokenizer adds its own beginning."""
    if len(item.images) > 1:
        raise EmbedderError("mmE5 takes one image per input")
    prefix_instruction = instruction or mmeb_prompts.default_instruction(item, role)
    start = "<|image|><|begin_of_text|>" if item.images else "<|begin_of_text|>"
    instruction_part = (
        [UserText(prefix_instruction + (" " if item.text else ""))] if prefix_instruction else []
    )
    text_part = [UserText(item.text)] if item.text else []
    return [start, *instruction_part, *text_part, *(["\n"] if prefix_instruction else [])]
