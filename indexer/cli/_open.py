"""Opens what a command needs: the collection, and its model no sooner than somebody asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import load_model, make_lazy_embedder

if TYPE_CHECKING:
    from embedder import Embedder, ModelCard
    from indexer.config import Config


class BackgroundLoader:
    """A model that loads in a thread of its own while the collection opens."""

    def __init__(self, load: Callable[[], Embedder]) -> None:
        self._load = load
        self._loaded: Embedder | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __call__(self) -> Embedder:
        self._thread.join()
        if self._loaded is None:
            raise self._error or RuntimeError("the model has not been loaded")
        return self._loaded

    def _run(self) -> None:
        try:
            self._loaded = self._load()
        except BaseException as error:
            self._error = error


def read_collection_card(config: Config) -> ModelCard:
    """The card that the collection was made with; raises `CollectionError`."""
    return open_backend(config).get_indexes(config.collection).in_use.card


def collection_exists(config: Config) -> bool:
    return open_backend(config).exists(config.collection)


def make_ingest_embedder(config: Config) -> Embedder:
    """The collection's model, or the one for a new collection; unloaded."""
    return make_lazy_embedder(
        config, read_collection_card(config) if collection_exists(config) else None
    )


def open_with_model(
    config: Config, *, needs_model: bool
) -> tuple[OpenCollection, Callable[[], Embedder]]:
    """The open collection and what gives its model, which loads meanwhile if it is needed."""
    card = read_collection_card(config)

    def load() -> Embedder:
        return load_model(config, card)

    model: Callable[[], Embedder] = BackgroundLoader(load) if needs_model else load
    opened = OpenCollection.open(config)
    if opened.card.fingerprint == card.fingerprint:
        return opened, model
    opened.close()  # re-indexed at this very moment: the model is another
    return open_with_model(config, needs_model=needs_model)
