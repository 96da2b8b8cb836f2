"""Texts, images, or both together as unit vectors in one space.

import embedder

model = embedder.load("starter")
model.encode_query("a blue bicycle")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from embedder.telemetry import disable_telemetry

if TYPE_CHECKING:
    from embedder.api import describe_model, find_model, list_models, load
    from embedder.encoding import EmbeddingModel, Item
    from embedder.errors import (
        EmbedderError,
        MissingExtraError,
        UnavailableError,
        UnknownModelError,
        UnusableFileError,
    )
    from embedder.families.registry import DEFAULT_MODEL
    from embedder.rerankers.loading import list_rerankers, load_reranker
    from embedder.rerankers.reranker import Reranker, RerankerCard
    from embedder.types import Embedder, Input, MatchHead, ModelCard, Role, Settings, Vectors

__all__ = [
    "DEFAULT_MODEL",
    "Embedder",
    "EmbedderError",
    "EmbeddingModel",
    "Input",
    "Item",
    "MatchHead",
    "MissingExtraError",
    "ModelCard",
    "Reranker",
    "RerankerCard",
    "Role",
    "Settings",
    "UnavailableError",
    "UnknownModelError",
    "UnusableFileError",
    "Vectors",
    "describe_model",
    "find_model",
    "list_models",
    "list_rerankers",
    "load",
    "load_reranker",
]

MODULES = ("types", "errors", "encoding", "api", "rerankers.loading", "rerankers.reranker")

disable_telemetry()


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the command line starts without them (PEP 562)."""
    if name in __all__:
        for module in MODULES:
            names = vars(import_module(f"embedder.{module}"))
            if name in names:
                globals()[name] = names[name]
                return names[name]
    raise AttributeError(f"module 'embedder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
