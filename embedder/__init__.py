"""Text, pictures, or both together -> unit vectors in one space."""

from embedder.errors import EmbedderError, UnavailableError, UnknownModelError
from embedder.families.registry import DEFAULT_MODEL, describe_model, list_models, load
from embedder.types import Embedder, Input, ModelCard, Role, Settings, Vectors

__all__ = [
    "DEFAULT_MODEL",
    "Embedder",
    "EmbedderError",
    "Input",
    "ModelCard",
    "Role",
    "Settings",
    "UnavailableError",
    "UnknownModelError",
    "Vectors",
    "describe_model",
    "list_models",
    "load",
]
