"""VLM2Vec: any vision-language model with instructions (https://arxiv.org/abs/2410.05160, V2
https://arxiv.org/abs/2507.04590).

A prompt is `<image token> {instruction} {text}` without a chat template; in V2 a query ends with a
newline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import METADATA_FILE, Checkpoint, locate, read_config
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.families import mmeb_prompts
from embedder.model_card import UNPINNED, derive_base_card, finalize_card
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.prompts import Prompt, PromptTokenizer, UserText

if TYPE_CHECKING:
    from embedder.vlm.backbone import Architecture, Size

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

_CARD = ModelCard(
    name="",
    family="vlm2vec",
    revision=UNPINNED,
    dim=0,
    modalities=("text", "image"),
    composes=True,
    languages=("en", "zh"),
    license="Apache-2.0",
    source="https://huggingface.co/",
    fingerprint=UNPINNED,
    image_side=1344,
)


def _make_preset(name: str, dim: int, parameters_in_billions: float, **other: Any) -> ModelCard:
    parameters = int(parameters_in_billions * 1e9)
    memory = int(parameters * 2 * 1.1 + 2e9)  # weights, and a batch of images
    return replace(
        _CARD,
        name=name,
        dim=dim,
        parameters=parameters,
        memory=memory,
        source=_CARD.source + name,
        **other,
    )


REMOTE_CODE_NOTE = "needs --trust-remote-code: the model's code comes with its weights"
CARDS = (
    _make_preset("VLM2Vec/VLM2Vec-V2.0", 1536, 2.2),
    _make_preset("TIGER-Lab/VLM2Vec-Qwen2VL-2B", 1536, 2.2),
    _make_preset("TIGER-Lab/VLM2Vec-Qwen2VL-7B", 3584, 8.3),
    _make_preset("TIGER-Lab/VLM2Vec-LLaVa-Next", 4096, 7.6),
    _make_preset("TIGER-Lab/VLM2Vec-Full", 3072, 4.2, license_note=REMOTE_CODE_NOTE),
)
RECIPES = {
    "VLM2Vec/VLM2Vec-V2.0": QWEN_V2,
    "TIGER-Lab/VLM2Vec-Qwen2VL-2B": QWEN_V1,
    "TIGER-Lab/VLM2Vec-Qwen2VL-7B": QWEN_V1,
}
IMAGE_TOKENS = {"llava_next": "<image>", "qwen2_vl": "<|image_pad|>", "qwen2_5_vl": "<|image_pad|>"}


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded; raises `EmbedderError`."""
    return _build_card(name, locate(name), settings)


def _build_card(name: str, checkpoint: Checkpoint, settings: Settings) -> ModelCard:
    config = read_config(checkpoint.folder)
    text = config.get("text_config", config)
    dim = int(text.get("hidden_size", config.get("hidden_size", 0)) or 4096)
    version = f"{VERSION} {detect_recipe(name, checkpoint)}"
    return finalize_card(
        derive_base_card(CARDS, name, _CARD, dim, checkpoint), name, checkpoint, settings, version
    )


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a checkpoint; raises `EmbedderError`."""
    from embedder.engine.engine import Engine
    from embedder.vlm.backbone import VisionLanguageBackbone

    checkpoint = locate(name)
    model_type = str(read_config(checkpoint.folder).get("model_type"))
    if model_type == "phi3_v":
        from embedder.families.vlm2vec_phi import IMAGE_TOKEN, load_phi

        card = _build_card(name, checkpoint, settings)
        return load_phi(card, checkpoint, settings, make_prompt_renderer(IMAGE_TOKEN, 1))
    if model_type not in IMAGE_TOKENS:
        raise EmbedderError(f"{name} is a {model_type} model, which VLM2Vec does not support")
    recipe = detect_recipe(name, checkpoint)
    backbone = VisionLanguageBackbone(
        _build_card(name, checkpoint, settings),
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
        metadata = read_config(folder, METADATA_FILE) if (folder / METADATA_FILE).exists() else {}
        if not metadata.keys() & {"version", "square", "pixels"}:
            continue
        pixels = metadata.get("pixels", QWEN_V2.pixels)
        return Recipe(
            int(metadata.get("version", 2)), int(metadata.get("square", 0)), tuple(pixels)
        )
    if read_config(checkpoint.folder).get("model_type") == "llava_next":
        return LLAVA
    searched_names = f"{name} {checkpoint.base_model} {checkpoint.trained_dir}".lower()
    candidates = (
        recipe
        for model_name, recipe in RECIPES.items()
        if model_name.split("/")[1].lower() in searched_names
    )
    return next(candidates, QWEN_V2)


def make_prompt_renderer(
    image_token: str, version: int
) -> Callable[[Input, Role, str | None], Prompt]:
    """Make the prompts of a backbone with that image token."""

    def render_prompt(item: Input, role: Role, instruction: str | None = None) -> Prompt:
        if len(item.images) > 1:
            raise EmbedderError("VLM2Vec takes one image per input")
        prefix_instruction = instruction or mmeb_prompts.default_instruction(item, role)
        text = " ".join(part for part in (prefix_instruction, item.text) if part)
        ends_with_newline = version == 2 and role == "query"
        image_part = [f"{image_token} "] if item.images else []
        return [
            *image_part,
            UserText(text.replace(" \n", "\n") if ends_with_newline else text),
            *["\n"] * ends_with_newline,
        ]

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
