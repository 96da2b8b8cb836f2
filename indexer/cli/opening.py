"""Opens what a command needs: the collection, and its model no sooner than somebody asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError
from indexer.collection import META, Collection, read_card
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

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        if self._loaded is None:
            try:
                self._loaded = self.load()
            except EmbedderError as error:  # no fault of the files in hand: end the run
                raise IndexerError(str(error)) from error
        return self._loaded.embed(inputs, role, instruction)


class Ahead:
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


def model_loader(config: Config, card: ModelCard) -> Callable[[], Embedder]:
    """Loads the model that made a collection; `CollectionError` where it is no longer the same."""

    def load() -> Embedder:
        import embedder

        model = embedder.load(config.model or card.name, device=config.device)
        if model.card.fingerprint != card.fingerprint:
            raise CollectionError(
                f"collection {config.collection!r} was made with {card.name} "
                f"(revision {card.revision}, {card.fingerprint[:12]}), and the installed "
                f"{model.card.name} is another (revision {model.card.revision}, "
                f"{model.card.fingerprint[:12]}): index the pictures anew beside it: "
                f"indexer ingest FOLDER --collection {config.collection}-2"
            )
        return model

    return load


def collection_card(config: Config) -> ModelCard:
    """The card that the collection was made with; raises `CollectionError`."""
    return read_card(config.state / config.collection)


def exists(config: Config) -> bool:
    return (config.state / config.collection / META).exists()


def embedder_for_ingest(config: Config) -> Embedder:
    """The collection's model, or the one for a new collection; unloaded where its card is known."""
    import embedder

    name = config.model
    if name is None:
        name = collection_card(config).name if exists(config) else embedder.DEFAULT_MODEL
    card = next((card for card in embedder.cards() if card.name == name), None)
    if card is None:
        return embedder.load(name, device=config.device)
    return Deferred(card, lambda: embedder.load(name, device=config.device))


def open_with_model(
    config: Config, *, needs_model: bool
) -> tuple[Collection, Callable[[], Embedder]]:
    """The open collection and what gives its model, which loads meanwhile if it is needed."""
    load = model_loader(config, collection_card(config))
    model: Callable[[], Embedder] = Ahead(load) if needs_model else load
    return Collection.open(config), model
