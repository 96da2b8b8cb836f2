"""Text, pictures, or both together -> unit vectors in one space."""

from embedder.errors import EmbedderError, UnknownModelError
from embedder.registry import DEFAULT_MODEL, cards, load
from embedder.types import Embedder, Input, ModelCard, Role, Vectors

__all__ = [
    "DEFAULT_MODEL",
    "Embedder",
    "EmbedderError",
    "Input",
    "ModelCard",
    "Role",
    "UnknownModelError",
    "Vectors",
    "cards",
    "load",
]
