"""The starter: text in about 100 languages and images in one space, offline, on a CPU.

A small head, made by `python -m recipes.starter`, joins a text tower from a PyPI package and two
vision towers, whose graphs are beside this file; `model` has the embedder. A folder with
`polylens.json` and a head of its own is the starter adapted by `finetune train`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import locate
from embedder.errors import EmbedderError, UnavailableError
from embedder.extras import format_install_command
from embedder.model_card import build_card
from embedder.types import ModelCard, Settings

if TYPE_CHECKING:
    from embedder.encoding import EmbeddingModel

DIM = 384

HEAD_FILE = Path(__file__).with_name("starter_head.safetensors")
LEXICON_FILE = Path(__file__).with_name("starter_lexicon.xz")
NOUN_EMBEDDINGS_FILE = Path(__file__).with_name("starter_vocabulary.safetensors")
SHIPPED_FILES = (HEAD_FILE, LEXICON_FILE, NOUN_EMBEDDINGS_FILE)
DIGEST_FILE = Path(__file__).with_name("starter_head.digest")
PREPROCESSING_VERSION = 3  # increase when images or texts are prepared in another way
SHIPPED_DIGEST = DIGEST_FILE.read_text("ascii").strip()
VERSION = f"{PREPROCESSING_VERSION}-{SHIPPED_DIGEST}"  # of everything an adapted head depends on

LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it",
    "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "ta", "te", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip


CARDS = (
    ModelCard(
        name="starter",
        family="starter",
        revision=SHIPPED_DIGEST[:12],
        dim=DIM,
        modalities=("text", "image"),
        composes=False,
        languages=LANGUAGES,
        license="Apache-2.0",
        source="python -m recipes.starter",
        fingerprint=f"starter-{VERSION}",
        image_side=260,
        parameters=130_000_000,
        memory=300_000_000,
    ),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of the starter, or of an adapted one in a folder.

    Raises `EmbedderError` for settings it does not support, `UnknownModelError` for a folder that
    does not exist.
    """
    if settings.device not in (None, "cpu"):
        raise EmbedderError(f"the starter model runs on the CPU, not on {settings.device!r}")
    if settings.pixel_budget:
        raise EmbedderError(
            "the starter takes every image at one size, so it has no pixel budget; "
            "leave --pixel-budget out"
        )
    if settings.quantize:
        raise EmbedderError("the starter is small as it is; leave --quantize out")
    if settings.dim not in (None, DIM):
        raise EmbedderError(f"the starter has vectors of dim {DIM}, not {settings.dim}")
    if name == CARDS[0].name:
        return CARDS[0]
    return build_card(CARDS, name, locate(name), settings, VERSION, template=CARDS[0], dim=DIM)


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load the starter, or an adapted one in a folder; its towers are loaded on first use.

    Raises `EmbedderError`, `UnknownModelError`.
    """
    from embedder.families.starter.model import Starter

    card = describe(name, settings)
    head = HEAD_FILE if card is CARDS[0] else locate(name).folder / HEAD_FILE.name
    return Starter(card, head, settings.workers)


def import_runtime(name: str) -> Any:
    """Import the package that runs a tower; raise `UnavailableError` if that is not possible."""
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise UnavailableError(
            f"{name}, which the starter model needs, cannot be imported ({error}); "
            f"type: {format_install_command('starter')}"
        ) from error
