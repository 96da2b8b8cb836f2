"""VLM2Vec: any vision-language model with instructions (https://arxiv.org/abs/2410.05160, V2
https://arxiv.org/abs/2507.04590).

A prompt has the form of the rows that the checkpoints were trained and scored on (MMEB-train,
https://huggingface.co/datasets/TIGER-Lab/MMEB-train): the image token, a newline, instruction and
text, and a newline, which only a text document does not have. There is no chat template. Several
images have a token and a newline each: the authors' code reads them so, but they trained on one.
The demos in the authors' README have a blank after the image token and no newline at the end; their
form is `vlm2vec-readme:NAME`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, cast, get_args

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
from embedder.vlm.prompts import (
    ROW_IMAGE_TOKEN,
    Prompt,
    PromptTokenizer,
    UserText,
    default_instruction,
)

if TYPE_CHECKING:
    from embedder.vlm.backbone import Architecture, RenderPrompt, Size

PromptFormat = Literal["mmeb", "readme"]
"""The prompts of MMEB's rows, or of the demos in the authors' README."""

VERSIONS: dict[PromptFormat, int] = {"mmeb": 2, "readme": 1}
"""Of a format's prompts and preprocessing: increase one when they change."""

README_PREFIX = "vlm2vec-readme:"
PIXELS_PER_TOKEN = 28 * 28  # of Qwen2-VL
MAX_ASPECT_RATIO = 200  # of Qwen2-VL


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint was trained to take prompts and images.

    `square`: the side every image is resized to first; 0: none. `pixels`: the minimum and maximum,
    for Qwen. A fine-tuned checkpoint has them in `polylens.json`. The repr is part of the
    fingerprint, so names and order of the fields in it must not change.
    """

    version: int
    square: int = 0
    pixels: tuple[int, int] = (4 * PIXELS_PER_TOKEN, 1280 * PIXELS_PER_TOKEN)
    prompt_format: PromptFormat = field(default="mmeb", repr=False)  # counts by its version


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
    _make_preset("TIGER-Lab/VLM2Vec-LLaVa-Next", dim=4096, parameters=7_600_000_000, max_images=1),
    _make_preset(
        "TIGER-Lab/VLM2Vec-Full",
        dim=3072,
        parameters=4_200_000_000,
        license_note=REMOTE_CODE_NOTE,
        max_images=1,
    ),
)
RECIPES = {
    "VLM2Vec/VLM2Vec-V2.0": QWEN_V2,
    "TIGER-Lab/VLM2Vec-Qwen2VL-2B": QWEN_V1,
    "TIGER-Lab/VLM2Vec-Qwen2VL-7B": QWEN_V1,
}
MULTI_IMAGE_TYPES = ("qwen2_vl", "qwen2_5_vl")  # whose base reads several images in a text
IMAGE_TOKENS = {"llava_next": "<image>", "qwen2_vl": "<|image_pad|>", "qwen2_5_vl": "<|image_pad|>"}


def describe(name: str, settings: Settings, recipe: Recipe | None = None) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded, with a recipe in place of its own;
    raises `EmbedderError`.

    A name with `README_PREFIX` has the prompts of the README, and the fingerprint that collections
    and checkpoints with those prompts have.
    """
    bare_name = name.removeprefix(README_PREFIX)
    checkpoint = locate(bare_name)
    recipe = recipe or detect_recipe(name, checkpoint)
    version = f"{VERSIONS[recipe.prompt_format]} {recipe}"
    card = build_card(CARDS, bare_name, checkpoint, settings, version, template=_CARD)
    model_type = str(read_config(checkpoint.folder).get("model_type"))
    card = replace(card, max_images=0 if model_type in MULTI_IMAGE_TYPES else 1)
    if bare_name == name:
        return card
    return replace(card, name=README_PREFIX + card.name.removeprefix("vlm2vec:"))


def load(name: str, settings: Settings, recipe: Recipe | None = None) -> EmbeddingModel:
    """Load a checkpoint, with the recipe that it is to be trained with in place of its own; raises
    `EmbedderError`."""
    from embedder.engine import Engine
    from embedder.vlm.backbone import VisionLanguageBackbone

    card, checkpoint = describe(name, settings, recipe), locate(name.removeprefix(README_PREFIX))
    recipe = recipe or detect_recipe(name, checkpoint)
    model_type = str(read_config(checkpoint.folder).get("model_type"))
    if model_type == "phi3_v":
        from embedder.families.vlm2vec_phi import IMAGE_TOKEN, load_phi

        phi = replace(recipe, version=1)
        return load_phi(card, checkpoint, settings, make_prompt_renderer(IMAGE_TOKEN, phi))
    if model_type not in IMAGE_TOKENS:
        raise EmbedderError(f"{name} is a {model_type} model, which VLM2Vec does not support")
    backbone = VisionLanguageBackbone(
        card,
        _load_architecture(model_type, checkpoint, recipe, settings),
        PromptTokenizer.read(checkpoint.folder),
        make_prompt_renderer(IMAGE_TOKENS[model_type], recipe),
        make_resize_rule(recipe, settings.pixel_budget),
    )
    return Engine(backbone, settings)


def detect_recipe(name: str, checkpoint: Checkpoint) -> Recipe:
    """Return what `polylens.json` of the model or its base says; else the recipe of a known model
    in its name, its base's or its folder's; else the newest. Raises `EmbedderError`.

    A `polylens.json` without `prompt_format` is of a time when all prompts were the README's.
    """
    recipe = _read_recipe(checkpoint) or _guess_recipe(name, checkpoint)
    return replace(recipe, prompt_format="readme") if name.startswith(README_PREFIX) else recipe


def _read_recipe(checkpoint: Checkpoint) -> Recipe | None:
    for folder in (checkpoint.trained_dir, checkpoint.folder):
        metadata = read_optional_config(folder, METADATA_FILE)
        if not metadata.keys() & {"version", "square", "pixels", "prompt_format"}:
            continue
        prompt_format = metadata.get("prompt_format", "readme")
        if prompt_format not in get_args(PromptFormat):
            raise EmbedderError(
                f"{folder / METADATA_FILE} is damaged: prompt_format is {prompt_format!r}, not "
                f"{' or '.join(map(repr, get_args(PromptFormat)))}"
            )
        return Recipe(
            int(metadata.get("version", 2)),
            int(metadata.get("square", 0)),
            tuple(metadata.get("pixels", QWEN_V2.pixels)),
            cast(PromptFormat, prompt_format),
        )
    return None


def _guess_recipe(name: str, checkpoint: Checkpoint) -> Recipe:
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


def make_prompt_renderer(image_token: str, recipe: Recipe) -> RenderPrompt:
    """Make the prompts of a backbone with that image token."""

    def render_prompt(item: Input, role: Role, instruction: str | None = None) -> Prompt:
        if item.prompt is not None:
            return _render_row(item.prompt, image_token)
        instruction = instruction or default_instruction(item, role)
        text = " ".join(part for part in (instruction, item.text) if part)
        if recipe.version == 2 and role == "query":
            text = text.replace(" \n", "\n")
        if recipe.prompt_format == "readme":
            images = [f"{image_token} "] * len(item.images)
            ends_with_newline = recipe.version == 2 and role == "query"
        else:
            images = [f"{image_token}\n"] * len(item.images)
            ends_with_newline = (role == "query" or bool(images)) and not text.endswith("\n")
        return [*images, UserText(text), *(["\n"] if ends_with_newline else [])]

    return render_prompt


def _render_row(prompt: str, image_token: str) -> Prompt:
    """Return a row of MMEB word for word, with the backbone's image token, as the authors do.

    Some queries (WebQA's) have an image token and no image: there it is a token like another.
    """
    first, *others = prompt.split(ROW_IMAGE_TOKEN)
    pieces: list[str | UserText] = [UserText(first)] if first else []
    for text in others:
        pieces += [image_token, UserText(text)]
    return pieces


def make_resize_rule(recipe: Recipe, pixel_budget: int | None = None) -> Callable[[Size], Size]:
    """Return the authors' first resizing step: V1 makes squares, V2 enlarges very small images and
    makes a square of one with a side over 200 times the other, as their `smart_resize` does."""

    def resize(size: Size) -> Size:
        if recipe.square:
            return recipe.square, recipe.square
        if min(size) < 28:
            return 56, 56
        if max(size) > MAX_ASPECT_RATIO * min(size):
            from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

            side = max(size)
            height, width = smart_resize(side, side, 28, *_limit_pixels(recipe, pixel_budget))
            return width, height
        return size

    return resize


def _limit_pixels(recipe: Recipe, pixel_budget: int | None) -> tuple[int, int]:
    """Return the least and the most pixels of an image."""
    least, most = recipe.pixels
    most = pixel_budget or most
    return min(least, most), most


def _load_architecture(
    model_type: str, checkpoint: Checkpoint, recipe: Recipe, settings: Settings
) -> Architecture:
    from embedder.vlm.llava_next import LlavaNext
    from embedder.vlm.loading import load_model
    from embedder.vlm.qwen2_vl import Qwen2VL

    model, folder = load_model(checkpoint, settings), checkpoint.folder
    if model_type == "llava_next":
        return LlavaNext(model, folder, legacy_layout=False, pixel_budget=settings.pixel_budget)
    return Qwen2VL(model, folder, *_limit_pixels(recipe, settings.pixel_budget))
