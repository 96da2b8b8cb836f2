"""mmE5: multilingual and multimodal, trained on synthetic data (https://arxiv.org/abs/2502.08468).

A prompt is `<|image|><|begin_of_text|>{instruction} {text}` and a newline; a document without an
image is the text alone. A row of MMEB is read word for word (`Input.prompt`).
"""

from __future__ import annotations

from embedder.checkpoint import locate
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.model_card import build_card, make_preset
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.prompts import (
    ROW_IMAGE_TOKEN,
    Prompt,
    PromptTokenizer,
    UserText,
    default_instruction,
)

VERSION = 1  # increase when prompts or preprocessing change
MAX_PROMPT_TOKENS = 256  # tokens of a prompt

# XTD's and the larger ones of the 93 languages of XLM-R that the synthetic data is drawn from.
LANGUAGES = (
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "sw", "ta", "te", "th", "tr",
    "uk", "ur", "vi", "zh",
)  # fmt: skip
CARDS = (
    make_preset(
        "intfloat/mmE5-mllama-11b-instruct",
        family="mme5",
        dim=4096,
        parameters=10_600_000_000,
        languages=LANGUAGES,
        license="MIT, Llama 3.2",
        license_note="Llama 3.2's terms apply: no use by companies with over 700 million users, "
        "and its image part is not licensed to people and companies in the European Union",
        image_side=1120,
        memory=25_500_000_000,
        max_images=1,
    ),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded; raises `EmbedderError`."""
    if settings.pixel_budget:
        raise EmbedderError(
            "mmE5 always computes four tiles per image, so a pixel budget saves nothing; "
            "leave --pixel-budget out"
        )
    return build_card(CARDS, name, locate(name), settings, VERSION, template=CARDS[0])


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a checkpoint; raises `EmbedderError`."""
    from embedder.engine import Engine
    from embedder.vlm.backbone import VisionLanguageBackbone
    from embedder.vlm.loading import load_model
    from embedder.vlm.mllama import Mllama

    card, checkpoint = describe(name, settings), locate(name)
    architecture = Mllama(load_model(checkpoint, settings), checkpoint.folder)
    tokenizer = PromptTokenizer.read(checkpoint.folder, MAX_PROMPT_TOKENS)
    return Engine(VisionLanguageBackbone(card, architecture, tokenizer, render_prompt), settings)


def render_prompt(item: Input, role: Role, instruction: str | None = None) -> Prompt:
    """Return the prompt for one input. The tokenizer adds its own beginning."""
    start = "<|image|><|begin_of_text|>" if item.images else "<|begin_of_text|>"
    if item.prompt is not None:  # the authors replace the image token with its newline
        return [start, UserText(item.prompt.removeprefix(ROW_IMAGE_TOKEN).removeprefix("\n"))]
    instruction = instruction or default_instruction(item, role)
    text = [UserText(item.text)] if item.text else []
    if not instruction:
        return [start, *text]
    return [start, UserText(instruction + " " if text else instruction), *text, "\n"]
