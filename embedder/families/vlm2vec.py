"""VLM2Vec: any vision-language model with instructions (https://arxiv.org/abs/2410.05160, V2
https://arxiv.org/abs/2507.04590).

A prompt is `<image token> {instruction} {text}` without a chat template; in V2 a query ends with a
newline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from embedder.checkpoint import (
    METADATA_FILE,
    Checkpoint,
    locate,
    read_config,
    read_optional_config,
)
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.model_card import build_card, make_preset
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.prompts import Prompt, PromptTokenizer, UserText, default_instruction

if TYPE_CHECKING:
    from embedder.vlm.backbone import Architecture, RenderPrompt, Size

VERSION = 1  # increase when prompts or preprocessing change
PIXELS_PER_TOKEN = 28 * 28  # of Qwen2-VL


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint was trained to take images.

    `square`: the side every image is resized to first; 0: none. `pixels`: the minimum and maximum,
    for Qwen. A fine-tuned checkpoint has them in `polylens.json`. The repr is part of the
    fingerprint, so names and order of the fields must not change.
    """

    version: int
    square: int = 0
    pixels: tuple[int, int] = (4 * PIXELS_PER_TOKEN, 1280 * PIXELS_PER_TOKEN)


LLAVA = Recipe(1, square=1344)
QWEN_V1 = Recipe(1, square=1344, pixels=(256 * PIXELS_PER_TOKEN, 1280 * PIXELS_PER_TOKEN))
QWEN_V2 = Recipe(2)

_make_preset = partial(
    make_preset,
    family="vlm2vec",
    languages=("en", "zh"),
    license="Apache-2.0",
    image_side=1344,
)
_CARD = _make_preset("", dim=0, parameters=0)
REMOTE_CODE_NOTE = "needs --trust-remote-code: the model's code comes with its weights"
CARDS = (
    _make_preset("VLM2Vec/VLM2Vec-V2.0", dim=1536, parameters=2_200_000_000),
    _make_preset("TIGER-Lab/VLM2Vec-Qwen2VL-2B", dim=1536, parameters=2_200_000_000),
    _make_preset("TIGER-Lab/VLM2Vec-Qwen2VL-7B", dim=3584, parameters=8_300_000_000),
    _make_preset("TIGER-Lab/VLM2Vec-LLaVa-Next", dim=4096, parameters=7_600_000_000),
    _make_preset(
        "TIGER-Lab/VLM2Vec-Full",
        dim=3072,
        parameters=4_200_000_000,
        license_note=REMOTE_CODE_NOTE,
    ),
)
RECIPES = {
    "VLM2Vec/VLM2Vec-V2.0": QWEN_V2,
    "TIGER-Lab/VLM2Vec-Qwen2VL-2B": QWEN_V1,
    "TIGER-Lab/VLM2Vec-Qwen2VL-7B": QWEN_V1,
}
IMAGE_TOKENS = {"llava_next": "<image>", "qwen2_vl": "<|image_pad|>", "qwen2_5_vl": "<|image_pad|>"}


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded; raises `EmbedderError`."""
    checkpoint = locate(name)
    version = f"{VERSION} {detect_recipe(name, checkpoint)}"
    return build_card(CARDS, name, checkpoint, settings, version, template=_CARD)


def load(name: str, settings: Settings, recipe: Recipe | None = None) -> EmbeddingModel:
    """Load a checkpoint, with the recipe that it is to be trained with, if it has none of its own;
    raises `EmbedderError`."""
    from embedder.engine import Engine
    from embedder.vlm.backbone import VisionLanguageBackbone

    card, checkpoint = describe(name, settings), locate(name)
    model_type = str(read_config(checkpoint.folder).get("model_type"))
    if model_type == "phi3_v":
        from embedder.families.vlm2vec_phi import IMAGE_TOKEN, load_phi

        return load_phi(card, checkpoint, settings, make_prompt_renderer(IMAGE_TOKEN, 1))
    if model_type not in IMAGE_TOKENS:
        raise EmbedderError(f"{name} is a {model_type} model, which VLM2Vec does not support")
    recipe = recipe or detect_recipe(name, checkpoint)
    backbone = VisionLanguageBackbone(
        card,
        _load_architecture(model_type, checkpoint, recipe, settings),
        PromptTokenizer.read(checkpoint.folder),
        make_prompt_renderer(IMAGE_TOKENS[model_type], recipe.version),
        make_resize_rule(recipe),
    )
    return Engine(backbone, settings)


def detect_recipe(name: str, checkpoint: Checkpoint) -> Recipe:
    """Return what `polylens.json` of the model or its base says; else the recipe of a known model
    in its name, its base's or its folder's; else the newest."""
    for folder in (checkpoint.trained_dir, checkpoint.folder):
        metadata = read_optional_config(folder, METADATA_FILE)
        if metadata.keys() & {"version", "square", "pixels"}:
            pixels = tuple(metadata.get("pixels", QWEN_V2.pixels))
            return Recipe(int(metadata.get("version", 2)), int(metadata.get("square", 0)), pixels)
    if read_config(checkpoint.folder).get("model_type") == "llava_next":
        return LLAVA
    searched_names = f"{name} {checkpoint.base_model} {checkpoint.trained_dir}".lower()
    for model_name, recipe in RECIPES.items():
        if model_name.split("/")[1].lower() in searched_names:
            return recipe
    return QWEN_V2


def find_recipe(version: int, checkpoint: Checkpoint) -> Recipe:
    """Return how the authors trained version 1 or 2 from a base model like this checkpoint."""
    if read_config(checkpoint.folder).get("model_type") == "llava_next":
        return LLAVA
    return QWEN_V1 if version == 1 else QWEN_V2


def make_prompt_renderer(image_token: str, version: int) -> RenderPrompt:
    """Make the prompts of a backbone with that image token."""

    def render_prompt(item: Input, role: Role, instruction: str | None = None) -> Prompt:
        if len(item.images) > 1:
            raise EmbedderError("VLM2Vec takes one image per input")
        instruction = instruction or default_instruction(item, role)
        text = " ".join(part for part in (instruction, item.text) if part)
        image = [f"{image_token} "] if item.images else []
        if version == 2 and role == "query":
            return [*image, UserText(text.replace(" \n", "\n")), "\n"]
        return [*image, UserText(text)]

    return render_prompt


def make_resize_rule(recipe: Recipe) -> Callable[[Size], Size]:
    """Return the authors' first resizing step: V1 makes squares, V2 enlarges very small images."""

    def resize(size: Size) -> Size:
        if recipe.square:
            return recipe.square, recipe.square
        return (56, 56) if min(size) < 28 else size

    return resize


def _load_architecture(
    model_type: str, checkpoint: Checkpoint, recipe: Recipe, settings: Settings
) -> Architecture:
    from embedder.vlm.llava_next import LlavaNext
    from embedder.vlm.loading import load_model
    from embedder.vlm.qwen2_vl import Qwen2VL

    model, folder = load_model(checkpoint, settings), checkpoint.folder
    if model_type == "llava_next":
        return LlavaNext(model, folder, legacy_layout=False, pixel_budget=settings.pixel_budget)
    min_pixels, max_pixels = recipe.pixels
    max_pixels = settings.pixel_budget or max_pixels
    return Qwen2VL(model, folder, min(min_pixels, max_pixels), max_pixels)
