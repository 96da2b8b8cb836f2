"""The model of a collection, and how it is loaded.

What the vectors depend on (model, dim, pixel budget) comes from the collection if it exists; device
and dtype come from the settings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError, MissingExtraError
from embedder.redaction import redact_secrets
from embedder.types import Settings
from indexer.collections.model_hosts import check_model_host, remember_model_host
from indexer.errors import CollectionError, IndexerError

if TYPE_CHECKING:
    from embedder import Embedder, Input, ModelCard, Role, Vectors
    from indexer.config import Config


@dataclass(slots=True)
class LazyEmbedder:
    """An embedder that loads its weights on first use: a re-scan does not need them."""

    card: ModelCard
    load: Callable[[], Embedder]
    loaded: Embedder | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        return self.ensure_loaded().embed(inputs, role, instruction)

    def ensure_loaded(self) -> Embedder:
        """Return the model, loaded; raise `IndexerError`, `MissingExtraError` if it cannot be."""
        with self._lock:
            if self.loaded is None:
                try:
                    self.loaded = self.load()
                except MissingExtraError:
                    raise
                except EmbedderError as error:  # not the fault of the current files: end the run
                    raise IndexerError(str(error)) from error
            return self.loaded


def make_settings(config: Config, card: ModelCard | None = None) -> Settings:
    """Make the settings of a model: for a new collection, or for the collection of `card`."""
    return Settings(
        device=config.device,
        dtype=config.dtype,
        dim=card.dim if card else config.dim,
        pixel_budget=card.pixel_budget if card else config.pixel_budget,
        quantize=card.quantize if card else config.quantize,
        trust_remote_code=config.trust_remote_code,
        api_key=config.model_api_key,
        api_key_url=config.model_api_key_url or "",
    )


def forget_model(config: Config) -> Config:
    """Return the settings without those of a model, to open a collection whatever its model is."""
    return replace(config, model=None, dim=None, pixel_budget=None, quantize=None)


def load_model(config: Config, card: ModelCard, threads: int = 0) -> Embedder:
    """Load the model of a collection, with `threads` threads (0: the default).

    Raises `UnnamedHostError` for a host that only the collection names, `CollectionError` if the
    model has changed, `EmbedderError` if it does not load.
    """
    import embedder

    if config.model is None:
        check_model_host(config, card.name)
    settings = replace(make_settings(config, card), workers=threads)
    model = embedder.load(config.model or card.name, settings)
    if model.card.fingerprint != card.fingerprint:
        raise _changed_model_error(config, card, model.card)
    return model


def find_changed_model(card: ModelCard) -> ModelCard | None:
    """Return the installed version of a collection's model if its vectors are other ones.

    Loads nothing. It knows only the models that come with Polylens, which have the names of their
    families.
    """
    from embedder.families import registry
    from embedder.model_card import find_preset

    families = (family for family in registry.FAMILIES if family.name == card.name)
    installed = next((find_preset(f.implementation.CARDS, card.name) for f in families), None)
    return None if installed is None or installed.fingerprint == card.fingerprint else installed


def check_installed_model(config: Config, card: ModelCard) -> None:
    """Raise `CollectionError` if the installed version of the model makes other vectors."""
    changed = find_changed_model(card)
    if changed is not None:
        raise _changed_model_error(config, card, changed)


def check_model_settings(config: Config, card: ModelCard) -> None:
    """Raise `CollectionError` if the settings name another model than the collection's."""
    name = config.model or card.name
    if config.dim not in (None, card.dim):
        raise _other_model_error(config, card, f"vectors of dim {config.dim}", name)
    if config.pixel_budget not in (None, card.pixel_budget):
        raise _other_model_error(config, card, f"a pixel budget of {config.pixel_budget}", name)
    if config.quantize not in (None, card.quantize):
        raise _other_model_error(config, card, f"weights in {config.quantize}", name)
    if config.model is None:
        return
    import embedder

    try:
        requested = embedder.describe_model(config.model, make_settings(config, card))
    except EmbedderError:  # the model does not support this dim or pixel budget
        requested = embedder.describe_model(config.model, make_settings(config))
    check_same_model(config, card, requested)


def check_same_model(config: Config, card: ModelCard, requested: ModelCard) -> None:
    """Raise `CollectionError` if the vectors of the two models cannot be compared."""
    if requested.fingerprint != card.fingerprint:
        raise _other_model_error(config, card, format_model(requested), requested.name)


def make_lazy_embedder(config: Config, card: ModelCard | None) -> LazyEmbedder:
    """Make an embedder of the collection's model, or of the model for a new collection.

    Raises `EmbedderError`, `CollectionError`.
    """
    import embedder
    from embedder.families.registry import find_family

    if card is not None:
        check_model_settings(config, card)
        return LazyEmbedder(card, lambda: load_model(config, card))
    name, settings = config.model or embedder.DEFAULT_MODEL, make_settings(config)
    find_family(name)[0].check_installed()  # before an empty collection is created
    new_card = embedder.describe_model(name, settings)
    remember_model_host(name)  # whoever named the host here need not name it with every search
    return LazyEmbedder(new_card, lambda: embedder.load(name, settings))


def format_model(card: ModelCard) -> str:
    return f"{card.name} (revision {card.revision}, {card.fingerprint[:12]})"


def format_reindex_command(config: Config, name: str) -> str:
    """The command that rebuilds the index with the model `name`."""
    options: list[tuple[str, object]] = [("--dim", config.dim)]
    options += [("--pixel-budget", config.pixel_budget), ("--quantize", config.quantize)]
    given = "".join(f" {flag} {value}" for flag, value in options if value is not None)
    return f"indexer reindex --model {redact_secrets(name)}{given} --collection {config.collection}"


def _changed_model_error(config: Config, card: ModelCard, installed: ModelCard) -> CollectionError:
    return CollectionError(
        f"collection {config.collection!r} was made with {format_model(card)}, and the "
        f"installed model is {format_model(installed)}; rebuild the index: "
        + format_reindex_command(config, installed.name)
    )


def _other_model_error(
    config: Config, made_with: ModelCard, requested: str, name: str
) -> CollectionError:
    return CollectionError(
        f"collection {config.collection!r} was made with {format_model(made_with)}, and its "
        f"vectors cannot be compared with those of {requested}. Leave out --model, --dim and "
        "--pixel-budget to use the collection's own, or rebuild its index while search goes on: "
        + format_reindex_command(config, name)
    )
