"""GME: Qwen2-VL with a chat prompt (https://arxiv.org/abs/2412.16855).

The authors' `gme_inference.py`: a system turn with the instruction, a user's turn with the image
before the text, the start of the assistant's turn and `<|endoftext|>`, whose state is the vector.
Documents always have the default instruction. The language model counts an image's positions as
those of text, as the authors call it with embeddings alone. Images are resized twice: to multiples
of 28 pixels, then into the range of the processor. Their Python code does not run.
"""

from __future__ import annotations

from functools import partial

from embedder.checkpoint import locate, read_config
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.model_card import build_card, make_preset
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.prompts import Prompt, PromptTokenizer, UserText

VERSION = 1  # increase when prompts or preprocessing change
DEFAULT_INSTRUCTION = "You are a helpful assistant."
TEXT_QUERY = "Find an image that matches the given text."  # the authors' example
MAX_PROMPT_TOKENS = 1800  # tokens of a prompt, with one for each image
PIXELS_PER_TOKEN = 28 * 28
PIXELS = 4 * PIXELS_PER_TOKEN, 1280 * PIXELS_PER_TOKEN
FIRST_PIXELS = 4 * PIXELS_PER_TOKEN, 16384 * PIXELS_PER_TOKEN  # of the first resizing

_make_preset = partial(
    make_preset,
    family="gme",
    languages=("en", "zh"),
    license="Apache-2.0",
    image_side=4096,
    max_images=1,
)
CARDS = (
    _make_preset("Alibaba-NLP/gme-Qwen2-VL-2B-Instruct", dim=1536, parameters=2_210_000_000),
    _make_preset("Alibaba-NLP/gme-Qwen2-VL-7B-Instruct", dim=3584, parameters=8_290_000_000),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded; raises `EmbedderError`."""
    return build_card(CARDS, name, locate(name), settings, VERSION, template=CARDS[0])


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a checkpoint; raises `EmbedderError`."""
    from embedder.engine import Engine
    from embedder.vlm.backbone import VisionLanguageBackbone
    from embedder.vlm.loading import load_model
    from embedder.vlm.qwen2_vl import Qwen2VL

    card, checkpoint = describe(name, settings), locate(name)
    model_type = read_config(checkpoint.folder).get("model_type")
    if model_type != "qwen2_vl":
        raise EmbedderError(f"{name} is a {model_type} model, and GME a qwen2_vl")
    most = min(settings.pixel_budget or PIXELS[1], PIXELS[1])
    model = load_model(checkpoint, settings)
    architecture = Qwen2VL(model, checkpoint.folder, min(PIXELS[0], most), most)
    tokenizer = PromptTokenizer.read(checkpoint.folder, MAX_PROMPT_TOKENS)
    backbone = VisionLanguageBackbone(card, architecture, tokenizer, render_prompt, fit_size)
    return Engine(backbone, settings)


def render_prompt(item: Input, role: Role, instruction: str | None = None) -> Prompt:
    """Return the prompt for one input."""
    if role == "document":
        instruction = None
    elif not instruction and not item.images:
        instruction = TEXT_QUERY
    image = "<|vision_start|><|image_pad|><|vision_end|>" if item.images else ""
    return [
        "<|im_start|>system\n",
        UserText(instruction or DEFAULT_INSTRUCTION),
        f"<|im_end|>\n<|im_start|>user\n{image}",
        UserText(item.text or ""),
        "<|im_end|>\n<|im_start|>assistant\n<|endoftext|>",
    ]


def fit_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height after the authors' first resizing; raises `EmbedderError` for an
    image that is over 200 times as long as wide."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    from embedder.vlm.backbone import too_narrow_error

    try:
        height, width = smart_resize(size[1], size[0], 28, *FIRST_PIXELS)
    except ValueError:
        raise too_narrow_error(size) from None
    return width, height
