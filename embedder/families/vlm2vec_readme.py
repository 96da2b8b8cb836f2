"""VLM2Vec with the prompts of the demos in its authors' README: `vlm2vec-readme:NAME`."""

from __future__ import annotations

from embedder.encoding import EmbeddingModel
from embedder.families import vlm2vec
from embedder.types import ModelCard, Settings

CARDS: tuple[ModelCard, ...] = ()


def describe(name: str, settings: Settings) -> ModelCard:
    """Return the card of a checkpoint, which may be downloaded; raises `EmbedderError`."""
    return vlm2vec.describe(vlm2vec.README_PREFIX + name, settings)


def load(name: str, settings: Settings) -> EmbeddingModel:
    """Load a checkpoint; raises `EmbedderError`."""
    return vlm2vec.load(vlm2vec.README_PREFIX + name, settings)
