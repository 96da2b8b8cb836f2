"""The public face of the indexer: a collection of one's own images and texts.

    from indexer import Collection

    with Collection.open("family", store="~/index", model="starter") as c:
        c.ingest("~/Pictures")
        for hit in c.search("a blue bicycle", filters={"year": "2019..2022"}):
            print(hit.score, hit.path)

The command line is a thin layer over this module.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, get_args

from embedder.errors import EmbedderError
from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection, create_index
from indexer.collections.model import (
    LazyEmbedder,
    check_installed_model,
    check_model_settings,
    load_model,
    make_lazy_embedder,
)
from indexer.errors import IndexerError, QueryError, StoreError
from indexer.paths import display_path, hash_content, is_local_file
from indexer.search.filters import build_store_filter, make_filters
from indexer.stores.base import iterate_records
from indexer.types import (
    FieldFilter,
    IngestProgress,
    IngestReport,
    Part,
    Query,
    SearchResults,
    SortOrder,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from embedder import Embedder, ModelCard
    from indexer.collections import CollectionIndex
    from indexer.config import Config
    from indexer.ingest.prune import PruneReport
    from indexer.search.rerank import HitReranker
    from indexer.search.searcher import Searcher

QueryItem: TypeAlias = "str | Path | Image | Part | Mapping[str, Any]"
"""One part of a query: words, the path of an image, a PIL image, a `Part`, or a dict with any of
the keys `text`, `image` (a path or a PIL image), `id` (of a point of the collection), `weight`."""

MAX_HITS = 10**9  # stores count in 64 bits
T = TypeVar("T")

FilterValues: TypeAlias = "str | Path | int | float | Sequence[str | Path | int | float]"
FilterValue: TypeAlias = "FilterValues | Mapping[str, FilterValues] | FieldFilter"
"""An accepted value of a payload key, a list of them, or `{"any": ..., "not": ...}`.

A string is one value as it is, commas and quotes included. In a field of numbers, and in a column
of one's own, it may be a range: "2019..2022", ">=800"."""


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
        self._left_open: list[OpenCollection] = []
        self._searcher: Searcher | None = None
        self._model: tuple[str, Future[Embedder]] | None = None  # (fingerprint, model)
        self._reranker: HitReranker | None = None

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
        *sources: str | Path | Sequence[str | Path],
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
            *sources: What to read, as on the command line: `~/Pictures`, `s3://bucket/photos`; or
                lists of these.
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
        from indexer.ingest.pipeline import ERRORS_FILE, ingest_with_workers
        from indexer.ingest.types import IngestOptions
        from indexer.sources import SourceSet

        addresses: list[str | Path] = []
        for source in sources:
            addresses += [source] if isinstance(source, str | Path) else source
        if not addresses or "" in addresses:  # "" would be the current folder
            raise IndexerError("ingest needs a source: a folder, an archive, a table or a URL")
        ingest_options = IngestOptions.from_config(
            self.config, prune=prune, dry_run=dry_run, **options
        )
        # a missing source must not leave an empty collection behind
        SourceSet.open(addresses, ingest_options).check_readable()
        self.close()  # what is known of the store may be out of date
        index = self._find()
        if index is not None:
            check_model_settings(self.config, index.card)
            check_installed_model(self.config, index.card)
            embedder = LazyEmbedder(index.card, self.load_model)
        else:
            embedder = make_lazy_embedder(self.config, None)
        with ExitStack() as stack:
            if index is None and not dry_run:  # if this fails, no empty collection is left behind
                if self.config.cluster is None:
                    embedder.ensure_loaded()
                else:
                    from indexer.ingest.distributed.coordinator import connect

                    stack.enter_context(connect(self.config.cluster, self.config))
            stack.callback(self.close)  # what was known of the store is out of date
            with self._open_for_ingest(embedder.card, index, dry_run) as (config, opened):
                report = ingest_with_workers(
                    config, addresses, opened, embedder, ingest_options, on_progress, stop
                )
                self.errors_file = opened.index_dir / ERRORS_FILE
                if embedder.loaded is not None and not (dry_run or report.interrupted):
                    _measure_reference(opened, embedder.loaded, report)
        if index is None and embedder.loaded is not None:
            future: Future[Embedder] = Future()
            future.set_result(embedder.loaded)
            self._model = (embedder.card.fingerprint, future)
        return report

    def search(
        self,
        query: QueryItem | Sequence[QueryItem] | None = None,
        *,
        filters: Mapping[str, FilterValue] | None = None,
        limit: int = 20,
        offset: int = 0,
        diversity: float = 0.0,
        group_duplicates: bool = True,
        min_strength: float = 0.0,
        instruction: str | None = None,
        sort: SortOrder = "strength",
        rerank: str | bool | None = None,
    ) -> SearchResults:
        """Find images and texts by words in any language, by images, or by both together.

        Args:
            query: One part, or a sequence of parts that are added with their weights; a negative
                weight means "not this". None lists the collection's points. A string is
                text as it is; `parse_query` reads the signs and weights of what people type.
            filters: Payload key to accepted values, or to `{"not": ...}`; all keys must hold.
            limit: How many hits.
            offset: How many of the best to leave out.
            diversity: 0: the best hits; 1: as different ones as there are (MMR).
            group_duplicates: Hide near-duplicates behind the best of them.
            min_strength: Leave out weaker hits: from 0.8 on, they are likely what the query asks
                for. Hits of unknown strength stay.
            instruction: What to look for, for a model that follows instructions.
            sort: "newest" or "oldest" by the date when an image was taken, "added" for the last
                added first, or "name". Undated hits come last. Of a query, these are the hits that
                are likely right, or where that is not known, those that stand out, at most 200.

        Returns:
            The hits of one page, best first if not sorted; it can be iterated over.

        Raises:
            QueryError: A part, a filter or a number that the search cannot use.
            CollectionError: The collection does not exist yet.
        """
        _check_page(limit, offset)
        if not 0 <= diversity <= 1:
            raise QueryError(f"diversity is a number from 0 to 1, not {diversity}")
        if not 0 <= min_strength <= 1:
            raise QueryError(f"min_strength is a number from 0 to 1, not {min_strength}")
        if sort not in get_args(SortOrder):
            raise QueryError(f"sort is one of {', '.join(get_args(SortOrder))}, not {sort!r}")
        if sort != "strength" and diversity:
            raise QueryError("hits are sorted, or spread by diversity; leave one of them out")
        reranker = self._choose_reranker(rerank, is_best_first=sort == "strength" and not diversity)
        items = () if query is None else query if isinstance(query, list | tuple) else (query,)
        parts = tuple(_to_part(item, self.card.image_side) for item in items)
        if any(part.id is None for part in parts):
            self._start_loading_model()  # while the store opens
        request = Query(
            parts=parts,
            filters=make_filters(filters or {}),
            limit=limit,
            offset=offset,
            diversity=diversity,
            group_duplicates=group_duplicates,
            min_strength=min_strength,
            instruction=instruction,
            sort=sort,
        )
        searcher = self._get_searcher()
        try:
            return self._run_query(searcher, request, reranker)
        except StoreError:
            if not self._reopen_without_names(searcher):
                raise
            return self._run_query(self._get_searcher(), request, reranker)

    def similar(self, what: str | Path, **options: Any) -> SearchResults:
        """Find what is like a point (by its id) or like an image or text (by its path).

        Takes the keywords of `search`. A file that is not in the collection is embedded.
        """
        id = self._find_point(str(what))
        example = {"image": what} if id is None else {"id": id, "label": str(what)}
        return self.search(example, **options)

    def facets(
        self, filters: Mapping[str, FilterValue] | None = None, limit: int = 20
    ) -> dict[str, list[tuple[str, int]]]:
        """The most frequent values of each facet with their counts, under the filters of the
        other facets."""
        _check_page(limit)
        return self._get_searcher().facets(make_filters(filters or {}), limit)

    def tag(
        self,
        ids: Sequence[str] = (),
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        filters: Mapping[str, FilterValue] | None = None,
    ) -> list[str]:
        """Give tags to points, or take them away; no file is changed.

        Args:
            ids: Those of the points, as hits have them.
            add: Tags that they get.
            remove: Tags that they lose, whether they came with the files or not.
            filters: Points that are meant beside `ids`; as for `search`.

        Returns:
            The ids of the points that were changed: the opposite call with them undoes it.

        Raises:
            QueryError: There is no tag, or a filter that the collection cannot use.
            StoreError: The store cannot be read or written.
        """
        from indexer.ingest.tagging import tag_points
        from indexer.search.filter_checks import check_columns
        from indexer.search.folders import expand_folders

        store, wanted = self.opened.store, [*ids]
        if filters:
            made = make_filters(filters)
            check_columns(store, made)
            where = build_store_filter(expand_folders(store, made))
            wanted += [record.id for record in iterate_records(store, where)]
        return tag_points(store, wanted, add=add, remove=remove)

    def prune(self, *, dry_run: bool = False) -> PruneReport:
        """Remove the points whose files are gone from the disk."""
        from indexer.ingest.prune import prune

        report = prune(self.opened, self.load_model, dry_run=dry_run)
        self._searcher = None
        return report

    def close(self) -> None:
        """Close the store. Calling anything afterwards opens it again; the model stays loaded."""
        with self._lock:
            for opened in (*self._left_open, self._opened):
                if opened is not None:
                    opened.close()
            self._left_open.clear()
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

    def load_model(self) -> Embedder:
        """The collection's model, loaded once; raises `EmbedderError`, `CollectionError`."""
        return self._start_loading_model().result()

    def _start_loading_model(self) -> Future[Embedder]:
        card = self.card
        with self._lock:
            if self._model is None or self._model[0] != card.fingerprint:
                future = _load_in_thread(lambda: load_model(self.config, card))
                self._model = (card.fingerprint, future)
            return self._model[1]

    def _choose_reranker(
        self, rerank: str | bool | None, *, is_best_first: bool
    ) -> HitReranker | None:
        """The reranker of a search, which loads meanwhile; raises `QueryError`."""
        if rerank is True and not self.config.reranker:
            raise QueryError("no reranker is set: name one, or set `reranker` (POLYLENS_RERANKER)")
        if rerank and not is_best_first:
            raise QueryError(
                "a reranker orders the hits; leave it out, or the other order and diversity"
            )
        name = rerank if isinstance(rerank, str) else self.config.reranker
        if rerank is False or not name or not is_best_first:
            return None
        with self._lock:
            if self._reranker is None or self._reranker.name != name:
                from indexer.search.rerank import HitReranker, load_configured_reranker

                config, named = self.config, name
                load = _load_in_thread(lambda: load_configured_reranker(config, named))
                self._reranker = HitReranker(name, load.result, config.rerank_depth)
            return self._reranker

    def _run_query(
        self, searcher: Searcher, query: Query, reranker: HitReranker | None
    ) -> SearchResults:
        if reranker is None:
            return searcher.search(query)
        from embedder.images.decode import DecodeLimits
        from indexer.ingest.originals import OriginalReader

        limits = DecodeLimits(self.config.max_bytes, self.config.max_pixels)
        return reranker.search(searcher, query, OriginalReader(searcher.collection, limits).read)

    def _find_point(self, what: str) -> str | None:
        """The id of the point that `what` names: an id, or the path or content of its file.

        Returns None for a file that is not in the collection; raises `QueryError` for an id that is
        not there, and for what is neither an id nor a file.
        """
        from embedder.images.decode import read_file
        from indexer.errors import UnusableFileError
        from indexer.search.query_syntax import parse_id

        id = parse_id(what)
        if id is not None:
            if not self.opened.store.retrieve([id]):
                raise QueryError(f"the collection {self.name!r} has no point {id}")
            return id
        path = Path(os.path.expanduser(what))
        named = str(path.absolute()) if is_local_file(what) else what
        found = self._find_first("paths", display_path(named))
        if found is None and path.is_file():
            with suppress(UnusableFileError):  # the search says what is wrong with it
                found = self._find_first("content", hash_content(read_file(str(path))))
        if found is None and not (what and path.exists()):
            raise QueryError(f"{display_path(what)!r} is neither a point's id nor a file")
        return found

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
                self._opened = OpenCollection.open(self.config, index, for_ingest=True)
        yield self.config, self._opened

    def _get_searcher(self) -> Searcher:
        from indexer.search.searcher import Searcher

        with self._lock:
            if self._searcher is None:
                self._searcher = Searcher(self.opened, self.load_model)
            return self._searcher

    def _reopen_without_names(self, failed: Searcher) -> bool:
        """Open the index again if another process has deleted its vectors of names; returns whether
        a search may be tried again. What other threads search stays open until `close`."""
        found = open_backend(self.config).find(self.name)
        with self._lock:
            if self._searcher is not failed or self._opened is None:
                return True
            if found is None or found.names or not self._opened.active_index.names:
                return False
            self._left_open.append(self._opened)
            self._opened = self._searcher = None
            self._index = found
            return True

    def _find_first(self, key: str, value: str) -> str | None:
        where = build_store_filter({key: FieldFilter((value,))})
        records, _ = self.opened.store.scroll(where, limit=1)
        return records[0].id if records else None


def _load_in_thread(load: Callable[[], T]) -> Future[T]:
    """Load a model while the store opens; the error of one that fails is that of its result."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(load())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _measure_reference(opened: OpenCollection, model: Embedder, report: IngestReport) -> None:
    """Measure what the strength of matches is compared with, if enough has changed."""
    from indexer.search.reference_scores import ReferenceScorer

    with suppress(EmbedderError, StoreError):  # a search makes no claim then
        changes = report.added + report.updated + report.removed
        ReferenceScorer(opened, lambda: model).update(changes)


def _check_page(limit: int, offset: int = 0) -> None:
    if not (0 <= limit <= MAX_HITS and 0 <= offset <= MAX_HITS):
        raise QueryError(f"limit and offset are from 0 to {MAX_HITS:,}, not {limit} and {offset}")


def _to_part(item: Any, side: int) -> Part:
    """Images get about `side` pixels on the shorter side; raises `QueryError`."""
    from PIL.Image import Image

    from indexer.search.query_syntax import MAX_WEIGHT, parse_id, read_query_image

    if isinstance(item, str):
        item = Part(text=item)
    elif isinstance(item, Path | Image):
        item = {"image": item}
    if isinstance(item, Mapping):
        try:
            item = Part(**item)
        except TypeError:
            raise QueryError(
                "the keys of a part are text, image, id, weight and label; got "
                + ", ".join(map(str, item))
            ) from None
    if not isinstance(item, Part):
        raise QueryError(
            f"a query cannot be made from {type(item).__name__}: give text, a pathlib.Path, a PIL "
            "image, a dict or a Part"
        )
    given = [value for value in (item.text, item.image, item.id) if value is not None]
    if len(given) != 1:
        raise QueryError(
            f"a part has exactly one of text, image and id; got {len(given)} of them. Give several "
            'parts as a list, as in [Path("car.jpg"), "red"]'
        )
    content: Any = given[0]
    image, source, label = None, None, content
    if item.image is not None:
        if not isinstance(content, str | Path | Image):
            raise QueryError(f"an image is a path or a PIL image, not {type(content).__name__}")
        label = "image" if isinstance(content, Image) else Path(content).name
        image = read_query_image(content, side)
        source = item.source or (Path(content) if isinstance(content, str) else content)
    elif not (isinstance(content, str) and content.strip()):
        raise QueryError("the text or the id of a part is a string that is not empty")
    if item.id is not None and not parse_id(item.id):
        raise QueryError(f"{item.id!r} is not the id of a point: ids are UUIDs")
    try:
        weight = float(item.weight)
    except (TypeError, ValueError):
        weight = math.nan
    if not -MAX_WEIGHT <= weight <= MAX_WEIGHT:  # nor is it NaN
        raise QueryError(
            f"the weight of a part is a number from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}, not "
            f"{item.weight!r}"
        )
    label = item.label or label
    return replace(item, image=image, source=source, weight=weight, label=label)
