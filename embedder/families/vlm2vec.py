"""VLM2Vec: any vision-language model, told what to look for (https://arxiv.org/abs/2410.05160, V2
https://arxiv.org/abs/2507.04590).

A prompt is `<picture's token> {instruction} {text}` without a chat template; in V2 a query ends
with a newline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from embedder.card import UNPINNED, finished, known
from embedder.checkpoint import OURS, Checkpoint, find, read_config
from embedder.errors import EmbedderError
from embedder.families import mmeb
from embedder.types import Embedder, Input, ModelCard, Role, Settings
from embedder.vlm.rendering import Prompt, Renderer, Words

if TYPE_CHECKING:
    from embedder.vlm.backbone import Architecture, Size

VERSION = 1  # raised when prompts or preprocessing change
CELL = 28 * 28  # pixels that are one token of Qwen2-VL


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint was trained to see. `square`: the side that every picture is brought to
    first; 0: none. `pixels`: the least and the most, for Qwen. A checkpoint of one's own says it
    in `polylens.json`."""

    version: int
    square: int = 0
    pixels: tuple[int, int] = (4 * CELL, 1280 * CELL)


LLAVA = Recipe(1, square=1344)
QWEN_V1 = Recipe(1, square=1344, pixels=(256 * CELL, 1280 * CELL))
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


def _card(name: str, dim: int, billions: float, **other: Any) -> ModelCard:
    parameters = int(billions * 1e9)
    memory = int(parameters * 2 * 1.1 + 2e9)  # weights, and a batch of pictures
    return replace(
        _CARD,
        name=name,
        dim=dim,
        parameters=parameters,
        memory=memory,
        source=_CARD.source + name,
        **other,
    )


PHI = "needs --trust-remote-code: the model's code comes with its weights"
CARDS = (
    _card("VLM2Vec/VLM2Vec-V2.0", 1536, 2.2),
    _card("TIGER-Lab/VLM2Vec-Qwen2VL-2B", 1536, 2.2),
    _card("TIGER-Lab/VLM2Vec-Qwen2VL-7B", 3584, 8.3),
    _card("TIGER-Lab/VLM2Vec-LLaVa-Next", 4096, 7.6),
    _card("TIGER-Lab/VLM2Vec-Full", 3072, 4.2, license_note=PHI),
)
RECIPES = {
    "VLM2Vec/VLM2Vec-V2.0": QWEN_V2,
    "TIGER-Lab/VLM2Vec-Qwen2VL-2B": QWEN_V1,
    "TIGER-Lab/VLM2Vec-Qwen2VL-7B": QWEN_V1,
}
TOKENS = {"llava_next": "<image>", "qwen2_vl": "<|image_pad|>", "qwen2_5_vl": "<|image_pad|>"}


def describe(name: str, settings: Settings) -> ModelCard:
    """The card of a checkpoint; may download it. Raises `EmbedderError`."""
    return _described(name, find(name), settings)


def _described(name: str, checkpoint: Checkpoint, settings: Settings) -> ModelCard:
    config = read_config(checkpoint.folder)
    text = config.get("text_config", config)
    dim = int(text.get("hidden_size", config.get("hidden_size", 0)) or 4096)
    version = f"{VERSION} {recipe_of(name, checkpoint)}"
    return finished(known(CARDS, name, _CARD, dim, checkpoint), name, checkpoint, settings, version)


def load(name: str, settings: Settings) -> Embedder:
    """Raises `EmbedderError`."""
    from embedder.engine.engine import Engine
    from embedder.vlm.backbone import VisionLanguage

    checkpoint = find(name)
    kind = str(read_config(checkpoint.folder).get("model_type"))
    if kind == "phi3_v":
        from embedder.families.vlm2vec_phi import TOKEN, load_phi

        card = _described(name, checkpoint, settings)
        return load_phi(card, checkpoint, settings, renderer(TOKEN, 1))
    if kind not in TOKENS:
        raise EmbedderError(f"{name} is a {kind} model, and VLM2Vec has no prompts for that")
    recipe = recipe_of(name, checkpoint)
    backbone = VisionLanguage(
        _described(name, checkpoint, settings),
        _architecture(kind, checkpoint, recipe, settings),
        Renderer.read(checkpoint.folder),
        renderer(TOKENS[kind], recipe.version),
        framing(recipe),
    )
    return Engine(backbone, settings)


def recipe_of(name: str, checkpoint: Checkpoint) -> Recipe:
    """What `polylens.json` beside the weights says, or beside those of its base; else what is known
    of a model of that name, of its base's, or of that folder's; else the newest."""
    for folder in (checkpoint.home, checkpoint.folder):
        said = read_config(folder, OURS) if (folder / OURS).exists() else {}
        if not said.keys() & {"version", "square", "pixels"}:
            continue
        pixels = said.get("pixels", QWEN_V2.pixels)
        return Recipe(int(said.get("version", 2)), int(said.get("square", 0)), tuple(pixels))
    if read_config(checkpoint.folder).get("model_type") == "llava_next":
        return LLAVA
    called = f"{name} {checkpoint.base} {checkpoint.home}".lower()
    known = (recipe for of, recipe in RECIPES.items() if of.split("/")[1].lower() in called)
    return next(known, QWEN_V2)


def renderer(token: str, version: int) -> Callable[[Input, Role, str | None], Prompt]:
    """The prompts of a backbone whose pictures are written `token`."""

    def render(item: Input, role: Role, instruction: str | None = None) -> Prompt:
        if len(item.images) > 1:
            raise EmbedderError("VLM2Vec takes one picture an input")
        told = instruction or mmeb.default(item, role)
        words = " ".join(part for part in (told, item.text) if part)
        ends = version == 2 and role == "query"
        picture = [f"{token} "] if item.images else []
        return [*picture, Words(words.replace(" \n", "\n") if ends else words), *["\n"] * ends]

    return render


def framing(recipe: Recipe) -> Callable[[Size], Size]:
    """The authors' first step with a picture: V1 makes it square, V2 mends the very small."""

    def framed(size: Size) -> Size:
        if recipe.square:
            return recipe.square, recipe.square
        return (56, 56) if min(size) < 28 else size

    return framed


def _architecture(
    kind: str, checkpoint: Checkpoint, recipe: Recipe, settings: Settings
) -> Architecture:
    from embedder.vlm.llava_next import LlavaNext
    from embedder.vlm.loading import read_model
    from embedder.vlm.qwen_vl import QwenVL

    model, folder = read_model(checkpoint, settings), checkpoint.folder
    if kind == "llava_next":
        return LlavaNext(model, folder, as_in_4_41=False, pixel_budget=settings.pixel_budget)
    smallest, largest = recipe.pixels
    largest = settings.pixel_budget or largest
    return QwenVL(model, folder, min(smallest, largest), largest)
