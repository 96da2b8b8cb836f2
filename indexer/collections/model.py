"""Which model a collection has, and how the settings load it.

What its vectors depend on (the model, their length, the pixel budget) comes from the collection
where there is one; where it runs comes from the settings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError
from embedder.types import Settings
from indexer.errors import CollectionError, IndexerError

if TYPE_CHECKING:
    from embedder import Embedder, Input, ModelCard, Role, Vectors
    from indexer.config import Config


@dataclass(slots=True)
class LazyEmbedder:
    """An embedder whose weights load when something must be embedded: a re-scan needs none."""

    card: ModelCard
    load: Callable[[], Embedder]
    loaded: Embedder | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        return self._ensure_loaded().embed(inputs, role, instruction)

    def _ensure_loaded(self) -> Embedder:
        with self._lock:
            if self.loaded is None:
                try:
                    self.loaded = self.load()
                except EmbedderError as error:  # no fault of the files in hand: end the run
                    raise IndexerError(str(error)) from error
            return self.loaded


def make_settings(config: Config, card: ModelCard | None = None) -> Settings:
    """How a model is loaded: for a new collection, or again for the collection of `card`."""
    return Settings(
        device=config.device,
        dtype=config.dtype,
        dim=card.dim if card else config.dim,
        pixel_budget=card.pixel_budget if card else config.pixel_budget,
        trust_remote_code=config.trust_remote_code,
        api_key=config.model_api_key,
    )


def load_model(config: Config, card: ModelCard, threads: int = 0) -> Embedder:
    """The model of a collection, with `threads` of this machine (0: as many as it wants).

    Raises `CollectionError` where it is no longer the same, `EmbedderError` where it does not load.
    """
    import embedder

    settings = replace(make_settings(config, card), workers=threads)
    model = embedder.load(config.model or card.name, settings)
    if model.card.fingerprint != card.fingerprint:
        raise CollectionError(
            f"collection {config.collection!r} was made with {format_model(card)}, and the "
            f"installed {format_model(model.card)} is another; "
            "make its index anew while search goes on: "
            + format_reindex_command(config, model.card.name)
        )
    return model


def check_model_settings(config: Config, card: ModelCard) -> None:
    """Raise `CollectionError` where the settings name another model than the collection's."""
    name = config.model or card.name
    if config.dim not in (None, card.dim):
        raise _other_model_error(config, card, f"vectors of {config.dim} numbers", name)
    if config.pixel_budget not in (None, card.pixel_budget):
        raise _other_model_error(config, card, f"a pixel budget of {config.pixel_budget}", name)
    if config.model is None:
        return
    import embedder

    try:
        asked = embedder.describe_model(config.model, make_settings(config, card))
    except EmbedderError:  # a model that has no such length or pixel budget is another
        asked = embedder.describe_model(config.model, make_settings(config))
    check_same_model(config, card, asked)


def check_same_model(config: Config, card: ModelCard, requested: ModelCard) -> None:
    """Raise `CollectionError` where vectors of the two cannot be compared."""
    if requested.fingerprint != card.fingerprint:
        raise _other_model_error(config, card, format_model(requested), requested.name)


def make_lazy_embedder(config: Config, card: ModelCard | None) -> LazyEmbedder:
    """The collection's model, or the one for a new collection; its weights are not loaded yet.

    Raises `EmbedderError`, `CollectionError`.
    """
    import embedder

    if card is not None:
        check_model_settings(config, card)
        return LazyEmbedder(card, lambda: load_model(config, card))
    name, settings = config.model or embedder.DEFAULT_MODEL, make_settings(config)
    return LazyEmbedder(
        embedder.describe_model(name, settings), lambda: embedder.load(name, settings)
    )


def format_model(card: ModelCard) -> str:
    return f"{card.name} (revision {card.revision}, {card.fingerprint[:12]})"


def format_reindex_command(config: Config, name: str) -> str:
    """What to type for an index made with the model called `name`."""
    lengths = [("--dim", config.dim), ("--pixel-budget", config.pixel_budget)]
    given = "".join(f" {flag} {value}" for flag, value in lengths if value is not None)
    return f"indexer reindex --model {name}{given} --collection {config.collection}"


def _other_model_error(
    config: Config, made_with: ModelCard, asked: str, name: str
) -> CollectionError:
    return CollectionError(
        f"collection {config.collection!r} was made with {format_model(made_with)}, and its "
        f"vectors cannot be compared with those of {asked}. Leave out --model, --dim and "
        "--pixel-budget to use the collection's own, or make its index anew while search goes on: "
        + format_reindex_command(config, name)
    )
