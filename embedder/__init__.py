"""Texts, images, or both together as unit vectors in one space.

import embedder

model = embedder.load("starter")
model.encode_query("a red bicycle")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedder.api import describe_model, list_models, load
    from embedder.encoding import EmbeddingModel, Item
    from embedder.errors import (
        EmbedderError,
        UnavailableError,
        UnknownModelError,
        UnusableFileError,
    )
    from embedder.families.registry import DEFAULT_MODEL
    from embedder.types import Embedder, Input, ModelCard, Role, Settings, Vectors

_MODULES = {
    "embedder.api": ("describe_model", "list_models", "load"),
    "embedder.encoding": ("EmbeddingModel", "Item"),
    "embedder.errors": (
        "EmbedderError",
        "UnavailableError",
        "UnknownModelError",
        "UnusableFileError",
    ),
    "embedder.families.registry": ("DEFAULT_MODEL",),
    "embedder.types": ("Embedder", "Input", "ModelCard", "Role", "Settings", "Vectors"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "DEFAULT_MODEL",
    "Embedder",
    "EmbedderError",
    "EmbeddingModel",
    "Input",
    "Item",
    "ModelCard",
    "Role",
    "Settings",
    "UnavailableError",
    "UnknownModelError",
    "UnusableFileError",
    "Vectors",
    "describe_model",
    "list_models",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'embedder' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
