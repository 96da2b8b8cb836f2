"""Finds and loads models by name."""

from __future__ import annotations

from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.families import registry
from embedder.families.registry import DEFAULT_MODEL, expand_name, find_family
from embedder.model_card import find_preset
from embedder.types import ModelCard, Settings


def list_models() -> list[ModelCard]:
    """Return the cards of all models that have a name; no weights are loaded."""
    return [card for family in registry.FAMILIES for card in family.implementation.CARDS]


def find_model(name: str) -> ModelCard | None:
    """Return the card of a model of `list_models()` by its name or short name, such as "e5-v".

    None for any other model.
    """
    return find_preset(list_models(), expand_name(name))


def describe_model(name: str = DEFAULT_MODEL, settings: Settings | None = None) -> ModelCard:
    """Return the card of a model without loading its weights; may download its checkpoint.

    Args:
        name: As in `load`.
        settings: How it would be loaded; changes the fingerprint.

    Raises:
        UnknownModelError: No family knows the name.
        EmbedderError: The checkpoint cannot be read, or the settings do not fit the model.
    """
    try:
        family, bare_name = find_family(name)
        card: ModelCard = family.implementation.describe(bare_name, settings or Settings())
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise EmbedderError(
            f"{name} is not a model: a value in its files is of another kind than expected: {error}"
        ) from error
    return card


def load(
    name: str = DEFAULT_MODEL,
    settings: Settings | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    dim: int | None = None,
    pixel_budget: int | None = None,
    quantize: str | None = None,
    trust_remote_code: bool | None = None,
    api_key: str | None = None,
) -> EmbeddingModel:
    """Load a model.

    Args:
        name: A name of `list_models()` or its short name ("e5-v"), a Hugging Face id, the folder of
            a checkpoint, an adapter or a fine-tuning run, or the URL of a server; `family:name` if
            the family cannot be detected.
        settings: All settings at once. The keywords below replace single ones.
        device: "cpu", "cuda:1", or several separated by commas, each with a copy of the model.
        dtype: "bfloat16", "float16" or "float32".
        dim: Truncate vectors to this many dimensions, if the model was trained for it.
        pixel_budget: The most pixels per image: fewer are faster and show less.
        quantize: "int8" or "nf4": hold the weights in eight or four bits, for less memory and other
            vectors.
        trust_remote_code: Run Python code that comes with the weights.
        api_key: The key for a model behind a server.

    Raises:
        UnknownModelError: No family knows the name.
        MissingExtraError: It needs packages that are not installed.
        EmbedderError: The model cannot be loaded; the message says why.
    """
    settings = (settings or Settings()).override(
        device=device,
        dtype=dtype,
        dim=dim,
        pixel_budget=pixel_budget,
        quantize=quantize,
        trust_remote_code=trust_remote_code,
        api_key=api_key,
    )
    if settings.device and "," in settings.device:
        from embedder.multi_device import MultiDeviceEmbedder

        return MultiDeviceEmbedder(name, settings)
    family, bare_name = find_family(name)
    return family.load(bare_name, settings)
