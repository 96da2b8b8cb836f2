"""E5-V: a multimodal LLM prompted for one word, trained on text only.

https://arxiv.org/abs/2407.12580.

The prompts are the authors' own, with their misspellings and trailing spaces, as used for the
paper's figures. An instruction selects another of their prompts: "cirr", "fashioniq CATEGORY" such
as "fashioniq dress", or "sts" for sentences that are compared with each other.
"""

from __future__ import annotations

from embedder.checkpoint import locate
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.model_card import build_card, make_preset
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.prompts import Prompt, PromptTokenizer, UserText

VERSION = 1  # increase when prompts or preprocessing change

PROMPT_PREFIX = "<|start_header_id|>user<|end_header_id|>\n\n"
PROMPT_SUFFIX = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n \n"
FASHIONIQ_PREFIX = "fashioniq "
STS = "sts"

CARDS = (
    make_preset(
        "royokong/e5-v",
        family="e5v",
        dim=4096,
        parameters=8_360_000_000,
        languages=("de", "en", "es", "fr", "hi", "it", "pt", "th"),  # Llama 3 was tuned on them
        license="none stated",
        license_note="the weights have no license and derive from Llama 3: ask before selling",
        image_side=1008,
        memory=19_500_000_000,
        max_images=1,
    ),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded; raises `EmbedderError`."""
    return build_card(CARDS, name, locate(name), settings, VERSION, template=CARDS[0])


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a checkpoint; raises `EmbedderError`."""
    from embedder.engine import Engine
    from embedder.vlm.backbone import VisionLanguageBackbone
    from embedder.vlm.llava_next import LlavaNext
    from embedder.vlm.loading import load_model

    card, checkpoint = describe(name, settings), locate(name)
    model = load_model(checkpoint, settings)
    architecture = LlavaNext(
        model, checkpoint.folder, legacy_layout=True, pixel_budget=settings.pixel_budget
    )
    tokenizer = PromptTokenizer.read(checkpoint.folder)
    return Engine(VisionLanguageBackbone(card, architecture, tokenizer, render_prompt), settings)


def render_prompt(item: Input, role: Role, instruction: str | None = None) -> Prompt:
    """Return the prompt for one input; it is the same for both roles."""
    return [PROMPT_PREFIX, *_render_body(item, instruction), PROMPT_SUFFIX]


def _render_body(item: Input, instruction: str | None) -> Prompt:
    text = UserText(item.text or "")
    if instruction and instruction.startswith(FASHIONIQ_PREFIX):
        return _render_fashioniq(item, UserText(instruction.removeprefix(FASHIONIQ_PREFIX)))
    if instruction not in (None, "", "cirr", STS):
        raise EmbedderError(
            f"E5-V has no instruction {instruction!r}; use 'cirr', 'fashioniq CATEGORY' or 'sts'"
        )
    if instruction == STS:
        if item.images:
            raise EmbedderError("E5-V's STS prompt is for texts without images")
        return [" ", text, "\nSummary above sentence in one word:"]
    if not item.images:
        return [text, "\nSummary above sentence in one word: "]
    if item.text:
        return ['<image>Modify this image with "', text, '", desribe modified image in one word:']
    if instruction:
        return ["<image>\n Describe this image in one word:"]
    return ["<image>\nSummary above image in one word: "]


def _render_fashioniq(item: Input, category: UserText) -> Prompt:
    if item.text and item.images:
        return [
            *("<image> change the style of this ", category, " to ", UserText(item.text)),
            *("\n Desribe this modified ", category, " in one word based on its style:"),
        ]
    if item.images:
        return ["<image>\n Describe this ", category, " in one word based on its style:"]
    raise EmbedderError("E5-V's FashionIQ prompts are for images, with or without a text")


def join_fashioniq_captions(first: str, second: str) -> tuple[str, str]:
    """Join FashionIQ's two captions of a change in both orders, as the authors do; the states of
    the two inputs are added before normalization."""
    one, two = first.strip(".?, "), second.strip(".?, ")
    return f"{one}, {two}", f"{two}, {one}"


def prepare_sts_sentence(sentence: str) -> str:
    """Change a sentence of an STS set as the authors do before they embed it: it ends with a full
    stop, and has single quotes alone."""
    if sentence and sentence[-1] not in ".?\"'":
        sentence += "."
    sentence = sentence.replace('"', "'")
    return sentence[:-1] + "." if sentence.endswith("?") else sentence
