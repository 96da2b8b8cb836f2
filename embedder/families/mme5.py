"""mmE5: multilingual and multimodal, trained on synthetic data (https://arxiv.org/abs/2502.08468).

A prompt is `<|image|><|begin_of_text|>{instruction} {text}` and a newline; a text that is looked
for stands alone, without one.
"""

from __future__ import annotations

from embedder.card import UNPINNED, finished, known
from embedder.checkpoint import Checkpoint, find, read_config
from embedder.errors import EmbedderError
from embedder.families import mmeb
from embedder.types import Embedder, Input, ModelCard, Role, Settings
from embedder.vlm.rendering import Prompt, Renderer, Words

VERSION = 1  # raised when prompts or preprocessing change
LONGEST = 256  # tokens of a prompt

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
        license_note="Llama 3.2's terms hold: no use by firms of over 700 million users, and its "
        "pictures' part is not licensed to people and firms in the European Union",
        source="https://huggingface.co/intfloat/mmE5-mllama-11b-instruct",
        fingerprint=UNPINNED,
        image_side=1120,
        parameters=10_600_000_000,
        memory=25_500_000_000,
    ),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """The card of a checkpoint; may download it. Raises `EmbedderError`."""
    return _described(name, _found(name, settings), settings)


def _found(name: str, settings: Settings) -> Checkpoint:
    if settings.pixel_budget:
        raise EmbedderError(
            "mmE5 always computes four tiles a picture, so a pixel budget would save nothing; "
            "leave --pixel-budget out"
        )
    return find(name)


def _described(name: str, checkpoint: Checkpoint, settings: Settings) -> ModelCard:
    dim = int(read_config(checkpoint.folder)["text_config"].get("hidden_size", 4096))
    return finished(
        known(CARDS, name, CARDS[0], dim, checkpoint), name, checkpoint, settings, VERSION
    )


def load(name: str, settings: Settings) -> Embedder:
    """Raises `EmbedderError`."""
    from embedder.engine.engine import Engine
    from embedder.vlm.backbone import VisionLanguage
    from embedder.vlm.loading import read_model
    from embedder.vlm.mllama import Mllama

    checkpoint = _found(name, settings)
    card = _described(name, checkpoint, settings)
    architecture = Mllama(read_model(checkpoint, settings), checkpoint.folder)
    renderer = Renderer.read(checkpoint.folder, LONGEST)
    return Engine(VisionLanguage(card, architecture, renderer, render), settings)


def render(item: Input, role: Role, instruction: str | None = None) -> Prompt:
    """The prompt for one input. The tokenizer puts its own beginning before it."""
    if len(item.images) > 1:
        raise EmbedderError("mmE5 takes one picture an input")
    told = instruction or mmeb.default(item, role)
    start = "<|image|><|begin_of_text|>" if item.images else "<|begin_of_text|>"
    lead = [Words(told + (" " if item.text else ""))] if told else []
    words = [Words(item.text)] if item.text else []
    return [start, *lead, *words, *(["\n"] if told else [])]
