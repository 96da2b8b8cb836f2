"""The public face of the indexer: a collection of one's own images and texts.

    from indexer import Collection

    with Collection.open("family", store="~/index", model="starter") as c:
        c.ingest("~/Pictures")
        for hit in c.search("a red bicycle", filters={"year": "2019..2022"}):
            print(hit.score, hit.path)

The command line is a thin layer over this module.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection, create_index
from indexer.collections.model import (
    LazyEmbedder,
    check_model_settings,
    load_model,
    make_lazy_embedder,
)
from indexer.errors import QueryError
from indexer.paths import display_path, is_local_file
from indexer.types import IngestProgress, IngestReport, Part, Query, SearchResults

if TYPE_CHECKING:
    from PIL.Image import Image

    from embedder import Embedder, ModelCard
    from indexer.collections import CollectionIndex
    from indexer.config import Config
    from indexer.ingest.prune import PruneReport
    from indexer.ingest.types import IngestOptions
    from indexer.search.searcher import Searcher

QueryItem: TypeAlias = "str | Path | Image | Part | Mapping[str, Any]"
"""One part of a query: words, the path of an image, a PIL image, a `Part`, or a dict with any of
the keys `text`, `image` (a path or a PIL image), `id` (of a point of the collection), `weight`."""

FilterValue: TypeAlias = "str | int | Sequence[str | int]"
"""An accepted value of a payload key, or several; a string may be a range, as in "2019..2022"."""


class Collection:
    """A collection of images and texts: ingest folders into it and search it.

    Use it as a context manager, or call `close()`. Threads may search it at the same time.
    """

    def __init__(self, config: Config) -> None:
        """Takes resolved settings; `Collection.open` is the short way."""
        self.config = config
        self.errors_file: Path | None = None  # where the last ingest listed the skipped files
        self._lock = threading.RLock()
        self._index: CollectionIndex | None = None
        self._opened: OpenCollection | None = None
        self._searcher: Searcher | None = None
        self._model: tuple[str, Future[Embedder]] | None = None  # (fingerprint, model)

    @classmethod
    def open(
        cls,
        name: str | None = None,
        *,
        store: str | Path | None = None,
        model: str | None = None,
        **settings: object,
    ) -> Collection:
        """Open the collection called `name`; the first ingest makes one that does not exist.

        What is not given comes from the environment, `.env` and `polylens.toml`, as for the
        command line.

        Args:
            name: Its name; "default" where nothing names another.
            store: A folder, or the URL of a Qdrant server.
            model: The model of a new collection, or the one that it must have: a name of
                `embedder.list_models()`, a Hugging Face id, a folder, or the URL of a server.
            **settings: Any other setting of `indexer config show`, such as `device`, `dim`,
                `tenant` or `qdrant_api_key`.

        Raises:
            ConfigError: A setting that does not exist, or a value that it cannot have.
            CollectionError: The collection was made with another model, or is damaged.
        """
        from indexer.config import load_config

        given = {"collection": name, "store": store and str(store), "model": model, **settings}
        collection = cls(load_config(given))
        index = collection._find()
        if index is not None:
            check_model_settings(collection.config, index.card)
        return collection

    @property
    def name(self) -> str:
        return self.config.collection

    @property
    def card(self) -> ModelCard:
        """The model of its vectors; raises `CollectionError` before the first ingest."""
        return self._find_or_fail().card

    def exists(self) -> bool:
        """Whether the store has it already."""
        return self._find() is not None

    def __len__(self) -> int:
        """The number of points: images, and chunks of texts. 0 before the first ingest."""
        return self.opened.store.count() if self.exists() else 0

    def ingest(
        self,
        *sources: str | Path,
        prune: bool = False,
        dry_run: bool = False,
        on_progress: Callable[[IngestProgress], None] | None = None,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> IngestReport:
        """Bring the collection up to date with folders, archives, tables or URLs.

        What is unchanged costs next to nothing. A file that cannot be used is listed in the
        report's `skipped` with a reason; the rest goes on.

        Args:
            *sources: What to read, as on the command line: `~/Pictures`, `s3://bucket/photos`.
            prune: Remove the points whose files are gone from these sources.
            dry_run: Report what would be done, and write nothing.
            on_progress: Called a few times a second.
            stop: Set it to end the run after the current batch, with everything saved.
            **options: Further fields of `indexer.ingest.types.IngestOptions`.

        Raises:
            IndexerError: A source that does not exist, a store that fails, a full disk, or
                another process that is writing to this collection.
            EmbedderError: The model cannot be loaded.
        """
        from embedder.images.decode import DecodeLimits
        from indexer.ingest.types import IngestOptions

        config = self.config
        defaults = {
            "limits": DecodeLimits(config.max_bytes, config.max_pixels),
            "batch_size": config.batch,
            "decode_threads": config.decode_threads,
        }
        ingest_options = IngestOptions(prune=prune, dry_run=dry_run, **{**defaults, **options})
        return self.run_ingest(sources, ingest_options, on_progress, stop)

    def search(
        self,
        query: QueryItem | Sequence[QueryItem] | None = None,
        *,
        filters: Mapping[str, FilterValue] | None = None,
        limit: int = 20,
        offset: int = 0,
        diversity: float = 0.0,
        group_duplicates: bool = True,
        instruction: str | None = None,
    ) -> SearchResults:
        """Find images and texts by words in any language, by images, or by both together.

        Args:
            query: One part, or a sequence of parts that are added with their weights; a negative
                weight means "less like this". None lists the collection's points. Strings are
                words as they are: the signs of the command line are not parsed here.
            filters: Payload key to accepted values; all keys must hold.
            limit: How many hits.
            offset: How many of the best to leave out.
            diversity: 0: the best hits; 1: as different ones as there are (MMR).
            group_duplicates: Hide near-duplicates behind the best of them.
            instruction: What to look for, for a model that follows instructions.

        Returns:
            The hits of one page, best first; it can be iterated over.

        Raises:
            QueryError: A part or a filter that cannot be understood.
            CollectionError: The collection does not exist yet.
        """
        side = self.card.image_side
        parts = tuple(_to_part(item, side) for item in _to_items(query))
        return self.run_query(
            Query(
                parts=parts,
                filters=_to_filters(filters or {}),
                limit=limit,
                offset=offset,
                diversity=diversity,
                group_duplicates=group_duplicates,
                instruction=instruction,
            )
        )

    def similar(self, what: str | Path, **options: Any) -> SearchResults:
        """Find what is like a point (by its id) or like an image or text (by its path).

        Takes the keywords of `search`. A file that is not in the collection is embedded.
        """
        return self.search(self.resolve_example(str(what)), **options)

    def facets(
        self, filters: Mapping[str, FilterValue] | None = None, limit: int = 20
    ) -> dict[str, list[tuple[str, int]]]:
        """The most frequent values of each facet with their counts, under the filters of the
        other facets."""
        return self._get_searcher().facets(_to_filters(filters or {}), limit)

    def prune(self, *, dry_run: bool = False) -> PruneReport:
        """Remove the points whose files are gone from the disk."""
        from indexer.ingest.prune import prune

        report = prune(self.opened, self.load_model, dry_run=dry_run)
        self._searcher = None
        return report

    def close(self) -> None:
        """Close the store. Calling anything afterwards opens it again; the model stays loaded."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = self._searcher = self._index = None

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # For the command line and other programs of Polylens

    @property
    def opened(self) -> OpenCollection:
        """The active index with its store; raises `CollectionError` before the first ingest."""
        with self._lock:
            if self._opened is None:
                self._opened = OpenCollection.open(self.config, self._find_or_fail())
            return self._opened

    def run_query(self, query: Query) -> SearchResults:
        """Answer a query that has been parsed already; `search` is the short way."""
        return self._get_searcher().search(query)

    def run_ingest(
        self,
        sources: Sequence[str | Path],
        options: IngestOptions,
        on_progress: Callable[[IngestProgress], None] | None = None,
        stop: threading.Event | None = None,
    ) -> IngestReport:
        """Ingest with all options; `ingest` is the short way."""
        from indexer.ingest.pipeline import ERRORS_FILE, ingest_with_workers
        from indexer.sources import SourceSet

        # a missing source must not leave an empty collection behind
        SourceSet.open(sources, options.source_options).check_readable()
        self.close()  # what is known of the store may be out of date
        index = self._find()
        if index is not None:
            check_model_settings(self.config, index.card)
            embedder = LazyEmbedder(index.card, self.load_model)
        else:
            embedder = make_lazy_embedder(self.config, None)
        try:
            with self._open_for_ingest(embedder.card, index, options.dry_run) as (config, opened):
                report = ingest_with_workers(
                    config, sources, opened, embedder, options, on_progress, stop
                )
                self.errors_file = opened.index_dir / ERRORS_FILE
        finally:
            self.close()  # what was known of the store is out of date
        if index is None and embedder.loaded is not None:
            future: Future[Embedder] = Future()
            future.set_result(embedder.loaded)
            self._model = (embedder.card.fingerprint, future)
        return report

    def preload_model(self) -> None:
        """Start loading the model in a thread, while something else is done."""
        card = self.card
        with self._lock:
            if self._model is None or self._model[0] != card.fingerprint:
                future: Future[Embedder] = Future()
                self._model = (card.fingerprint, future)
                load = threading.Thread(
                    target=_fill, args=(future, lambda: load_model(self.config, card)), daemon=True
                )
                load.start()

    def load_model(self) -> Embedder:
        """The collection's model, loaded once; raises `EmbedderError`, `CollectionError`."""
        self.preload_model()
        assert self._model is not None
        return self._model[1].result()

    def find_point(self, what: str) -> str | None:
        """The id of the point that `what` names: an id, or the path or content of its file.

        Returns None for a file that is not in the collection; raises `QueryError` for an id that is
        not there, and for what is neither an id nor a file.
        """
        try:
            id = str(uuid.UUID(what.removeprefix("id:")))
        except ValueError:
            return self._find_file(what)
        if not self.opened.store.retrieve([id]):
            raise QueryError(f"the collection {self.name!r} has no point {id}")
        return id

    def resolve_example(self, what: str) -> Part:
        """The point that `what` names, or the image at that path, as a part of a query."""
        from indexer.search.query_syntax import read_query_image

        id = self.find_point(what)
        if id is not None:
            return Part(id=id, label=what)
        path = Path(what).expanduser()
        return Part(image=read_query_image(path, self.card.image_side), label=path.name)

    def _find(self) -> CollectionIndex | None:
        with self._lock:
            if self._index is None:  # another process may have created it in the meantime
                self._index = open_backend(self.config).find(self.name)
            return self._index

    def _find_or_fail(self) -> CollectionIndex:
        index = self._find()
        if index is None:  # the error lists the collections that there are
            index = open_backend(self.config).get_indexes(self.name).in_use
        return index

    @contextmanager
    def _open_for_ingest(
        self, card: ModelCard, index: CollectionIndex | None, dry_run: bool
    ) -> Iterator[tuple[Config, OpenCollection]]:
        """A dry run creates no collection: where there is none, it gets a temporary one."""
        if dry_run and index is None:
            with TemporaryDirectory(prefix="polylens-") as folder:
                config = replace(self.config, store=folder)
                with OpenCollection.open_or_create(config, card) as opened:
                    yield config, opened
            return
        with self._lock:
            if self._opened is None:
                index = index or create_index(self.config, card)
                self._opened = OpenCollection.open(self.config, index)
        yield self.config, self._opened

    def _get_searcher(self) -> Searcher:
        from indexer.search.searcher import Searcher

        with self._lock:
            if self._searcher is None:
                self._searcher = Searcher(self.opened, self.load_model)
            return self._searcher

    def _find_file(self, what: str) -> str | None:
        path = Path(what).expanduser()
        named = str(path.absolute()) if is_local_file(what) else what
        found = self._find_first("paths", display_path(named))
        if found is None and path.is_file():
            found = self._find_first("content", _hash_file(path))
        if found is None and not path.exists():
            raise QueryError(f"{display_path(what)!r} is neither a point's id nor a file")
        return found

    def _find_first(self, key: str, value: str) -> str | None:
        from indexer.search.query_syntax import build_store_filter

        records, _ = self.opened.store.scroll(build_store_filter({key: (value,)}), limit=1)
        return records[0].id if records else None


def _fill(future: Future[Embedder], load: Callable[[], Embedder]) -> None:
    try:
        future.set_result(load())
    except BaseException as error:
        future.set_exception(error)


def _hash_file(path: Path) -> str:
    from embedder.images.decode import read_file
    from indexer.ids import hash_content
    from indexer.skip_reasons import UnusableFileError

    try:
        return hash_content(read_file(str(path)))
    except UnusableFileError as error:
        raise QueryError(f"{path} cannot be searched with: {error.detail}") from error


def _to_items(query: QueryItem | Sequence[QueryItem] | None) -> Sequence[QueryItem]:
    if query is None:
        return ()
    if isinstance(query, list | tuple):
        return query
    return (query,)  # type: ignore[return-value]


def _to_part(item: QueryItem, side: int) -> Part:
    """Images get about `side` pixels on the shorter side; raises `QueryError`."""
    from PIL.Image import Image

    if isinstance(item, Part):
        return item
    if isinstance(item, str):
        item = {"text": item}
    elif isinstance(item, Path | Image):
        item = {"image": item}
    if not isinstance(item, Mapping):
        raise QueryError(
            f"a query cannot be made from {type(item).__name__}: give text, a pathlib.Path, a PIL "
            "image, a dict or a Part"
        )
    unknown = set(item) - {"text", "image", "id", "weight", "label"}
    given = [key for key in ("text", "image", "id") if item.get(key) is not None]
    if unknown or len(given) != 1:
        raise QueryError(
            f"a part of a query has exactly one of text, image and id, and a weight; got "
            f"{', '.join(map(str, item)) or 'nothing'}"
        )
    image, label = item.get("image"), str(item.get("text") or item.get("id") or "image")
    if image is not None and not isinstance(image, str | Path | Image):
        raise QueryError(f"an image is a path or a PIL image, not {type(image).__name__}")
    if image is not None and not isinstance(image, Image):
        from indexer.search.query_syntax import read_query_image

        label = Path(image).name
        image = read_query_image(Path(image).expanduser(), side)
    try:
        weight = float(item.get("weight", 1.0))
    except (TypeError, ValueError):
        weight = math.nan
    if not math.isfinite(weight) or not all(
        isinstance(item[key], str) for key in given if key != "image"
    ):
        raise QueryError("text and id of a part are strings, and its weight is a finite number")
    label = str(item.get("label", label))
    return Part(text=item.get("text"), image=image, id=item.get("id"), weight=weight, label=label)


def _to_filters(filters: Mapping[str, FilterValue]) -> dict[str, tuple[str, ...]]:
    if not isinstance(filters, Mapping):
        raise QueryError("filters map payload keys to values, as in {'kind': 'image'}")
    return {
        str(key): tuple(map(str, value)) if isinstance(value, list | tuple | set) else (str(value),)
        for key, value in filters.items()
    }
