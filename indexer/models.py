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
class Deferred:
    """An embedder whose weights load when something must be embedded: a re-scan needs none."""

    card: ModelCard
    load: Callable[[], Embedder]
    _loaded: Embedder | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        return self._model().embed(inputs, role, instruction)

    def _model(self) -> Embedder:
        with self._lock:
            if self._loaded is None:
                try:
                    self._loaded = self.load()
                except EmbedderError as error:  # no fault of the files in hand: end the run
                    raise IndexerError(str(error)) from error
            return self._loaded


def settings_for(config: Config, made_with: ModelCard | None = None) -> Settings:
    """How a model is loaded: for a new collection, or again for one that was `made_with` it."""
    return Settings(
        device=config.device,
        dtype=config.dtype,
        dim=made_with.dim if made_with else config.dim,
        pixel_budget=made_with.pixel_budget if made_with else config.pixel_budget,
        trust_remote_code=config.trust_remote_code,
        api_key=config.model_api_key,
    )


def load_model(config: Config, made_with: ModelCard, threads: int = 0) -> Embedder:
    """The model of a collection, with `threads` of this machine (0: as many as it wants).

    Raises `CollectionError` where it is no longer the same, `EmbedderError` where it does not load.
    """
    import embedder

    settings = replace(settings_for(config, made_with), workers=threads)
    model = embedder.load(config.model or made_with.name, settings)
    if model.card.fingerprint != made_with.fingerprint:
        raise CollectionError(
            f"collection {config.collection!r} was made with {label(made_with)}, and the installed "
            f"{label(model.card)} is another; make its index anew while search goes on: "
            + reindex(config, model.card.name)
        )
    return model


def check_same(config: Config, made_with: ModelCard) -> None:
    """Raise `CollectionError` where the settings name another model than the collection's."""
    name = config.model or made_with.name
    if config.dim not in (None, made_with.dim):
        raise _other(config, made_with, f"vectors of {config.dim} numbers", name)
    if config.pixel_budget not in (None, made_with.pixel_budget):
        raise _other(config, made_with, f"a pixel budget of {config.pixel_budget}", name)
    if config.model is None:
        return
    import embedder

    try:
        asked = embedder.describe_model(config.model, settings_for(config, made_with))
    except EmbedderError:  # a model that has no such length or pixel budget is another
        asked = embedder.describe_model(config.model, settings_for(config))
    require_same(config, made_with, asked)


def require_same(config: Config, made_with: ModelCard, asked: ModelCard) -> None:
    """Raise `CollectionError` where vectors of the two cannot be compared."""
    if asked.fingerprint != made_with.fingerprint:
        raise _other(config, made_with, label(asked), asked.name)


def model_for_ingest(config: Config, made_with: ModelCard | None) -> Embedder:
    """The collection's model, or the one for a new collection; its weights are not loaded yet.

    Raises `EmbedderError`, `CollectionError`.
    """
    import embedder

    if made_with is not None:
        check_same(config, made_with)
        return Deferred(made_with, lambda: load_model(config, made_with))
    name, settings = config.model or embedder.DEFAULT_MODEL, settings_for(config)
    return Deferred(embedder.describe_model(name, settings), lambda: embedder.load(name, settings))


def label(card: ModelCard) -> str:
    return f"{card.name} (revision {card.revision}, {card.fingerprint[:12]})"


def reindex(config: Config, name: str) -> str:
    """What to type for an index made with the model called `name`."""
    lengths = [("--dim", config.dim), ("--pixel-budget", config.pixel_budget)]
    given = "".join(f" {flag} {value}" for flag, value in lengths if value is not None)
    return f"indexer reindex --model {name}{given} --collection {config.collection}"


def _other(config: Config, made_with: ModelCard, asked: str, name: str) -> CollectionError:
    return CollectionError(
        f"collection {config.collection!r} was made with {label(made_with)}, and its vectors "
        f"cannot be compared with those of {asked}. Leave out --model, --dim and --pixel-budget to "
        "use the collection's own, or make its index anew while search goes on: "
        + reindex(config, name)
    )
