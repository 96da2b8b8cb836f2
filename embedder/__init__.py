"""Text, pictures, or both together -> unit vectors in one space."""

from embedder.errors import EmbedderError, UnknownModelError
from embedder.registry import DEFAULT_MODEL, cards, describe, load
from embedder.types import Embedder, Input, ModelCard, Role, Settings, Vectors

__all__ = [
    "DEFAULT_MODEL",
    "Embedder",
    "EmbedderError",
    "Input",
    "ModelCard",
    "Role",
    "Settings",
    "UnknownModelError",
    "Vectors",
    "cards",
    "describe",
    "load",
]
