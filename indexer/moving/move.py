"""Points of a source become a collection of another store: copied beside it, checked, put in use.

Searches find the old index or the new one, whole. A run that ends, however it does, is gone on with
by the same call: how far it has come is kept with the index that is being built.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from indexer.collection import FREE_BYTES, Collection, require_disk
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.models import label as model_label
from indexer.moving.check import SAMPLE, unlike_counts, unlike_points
from indexer.moving.copy import Cursor, copy, forget_cursor, lacking, read_cursor, write_cursor
from indexer.moving.local import Kept, take_catalogues, take_thumbnails, take_votes
from indexer.moving.source import Counts, Page, Source, count, label
from indexer.places import Index, Place, layout_of
from indexer.stores.connection import Layout, masked
from indexer.types import IngestProgress, Record

Mode = Literal["new", "merge", "replace"]
NUMBER = 2  # bytes of a vector's number in the embedded store


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What was moved. Until it is `done` nothing can be seen of it, but for points that were
    merged."""

    points: int  # in the destination now
    copied: int  # by this run
    resumed: int = 0  # by those before it
    kept: int = 0  # were there already, where points are merged
    checked: int = 0  # points compared
    catalogues: int = 0
    votes: int = 0
    seconds: float = 0.0
    replaced: bool = False  # there was a collection, whose index is the old one now
    done: bool = False  # False: it was stopped, and the same call goes on

    @property
    def rate(self) -> float:
        """Points copied a second."""
        return self.copied / self.seconds if self.seconds else 0.0


def move(
    source: Source,
    place: Place,
    to: Config,
    mode: Mode = "new",
    *,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> MoveReport:
    """Make the collection `to.collection` in `place`, that of `to`, out of `source`.

    Where there is one of the same model, "merge" adds the points that it lacks, "replace" puts the
    copy in its place and keeps the old index; "new" refuses. The caller holds the collection for
    writing. Raises `CollectionError`, also where the copy is not like the source: it is not put in
    use then; `StoreError`, `DiskFullError`.
    """
    merges = place.exists(to.collection) and _accepts(source, place, to, mode)
    run = _Run(source, place, to, on_progress or (lambda _: None), stop or threading.Event())
    started = time.monotonic()
    report = run.merge() if merges else run.build()
    return replace(report, seconds=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Run:
    source: Source
    place: Place
    to: Config
    on_progress: Callable[[IngestProgress], None]
    stop: threading.Event

    def build(self) -> MoveReport:
        name, replaced = self.to.collection, self.place.exists(self.to.collection)
        index = self._index()
        with Collection.open_index(self.to, self.place, index) as new:
            begun = self._cursor(index, new)
            sample = self.source.sample(SAMPLE)
            end = self._copy(new, self.source.pages(begun.after), begun, index)
            report = MoveReport(end.copied, end.copied - begun.copied, begun.copied)
            if not end.done:
                return report
            new.store.flush()
            self._check(new, sample)
            mine, theirs = Kept(self.source.path, self.source.index), _kept(new)
            told = take_catalogues(mine, theirs), take_votes(mine, theirs)
        self.place.switch(name, index)
        forget_cursor(index.folder)
        if self.source.ingested:
            self.place.mark_ingested(name, index)
        report = replace(report, catalogues=told[0], votes=told[1], checked=len(sample))
        return replace(report, replaced=replaced, done=True)

    def merge(self) -> MoveReport:
        index = self.place.indexes(self.to.collection).in_use
        with Collection.open_index(self.to, self.place, index) as there:
            before = there.store.count()
            ((sample, _),) = lacking([Page(self.source.sample(SAMPLE), None)], there.store)
            pages = lacking(self.source.pages(), there.store)
            end = self._copy(there, pages, Cursor(self.source.identity), None)
            report = MoveReport(before + end.copied, end.copied)
            if not end.done:
                return report
            there.store.flush()
            found = Counts(there.store.count())
            why = unlike_counts(Counts(before + end.copied), found)
            why = why or unlike_points(sample, there.store)
            if why:
                raise self._unlike(why, "what was there before is there still")
            votes = take_votes(Kept(self.source.path, self.source.index), _kept(there))
        kept = self.source.counts().points - end.copied
        return replace(report, kept=kept, checked=len(sample), votes=votes, done=True)

    def _index(self) -> Index:
        """The index to go on with, or a new one; raises `CollectionError`."""
        begun = self.place.building(self.to.collection)
        if begun is None:
            self._require_disk()
            layout = layout_of(self.to, self._layout_there())
            return self.place.begin(self.to.collection, self.source.card, layout)
        if begun.card.fingerprint != self.source.card.fingerprint:
            raise self._half_built(f"an index of {model_label(begun.card)}")
        return begun

    def _layout_there(self) -> Layout:
        """Of the collection that is to be replaced, if there is one."""
        if not self.place.exists(self.to.collection):
            return Layout()
        return self.place.layout(self.place.indexes(self.to.collection).in_use)

    def _require_disk(self) -> None:
        """Raises `DiskFullError`; a server looks after its own."""
        if not self.to.is_remote:
            numbers = self.source.counts().points * self.source.card.dim
            require_disk(self.place.folder(self.to.collection), FREE_BYTES + NUMBER * numbers)

    def _cursor(self, index: Index, new: Collection) -> Cursor:
        """Where to go on, or the beginning; raises `CollectionError` where the index that is half
        built is of something else."""
        cursor, there = read_cursor(index.folder), new.store.count()
        if cursor is None and there:
            raise self._half_built("an index that this command on this machine has not begun")
        if cursor is not None and cursor.identity != self.source.identity:
            raise self._half_built(
                f"a copy of something else, or of {self.source.label} as it was,"
            )
        if cursor is None or there < cursor.copied:  # a power cut has cost points: all once more
            cursor = Cursor(self.source.identity)
            write_cursor(index.folder, cursor)
        return cursor

    def _copy(
        self, new: Collection, pages: Iterable[Page], begun: Cursor, index: Index | None
    ) -> Cursor:
        """Copy and tell of it; with `index`, keep there how far it has come."""
        total, started = self.source.counts().points, time.monotonic()

        def on_page(page: Page, cursor: Cursor) -> None:
            take_thumbnails(self.source.path, new.path, page.records)
            if index is not None:
                write_cursor(index.folder, cursor)
            self._tell("copy", cursor.copied, total, started)

        self._tell("begin", begun.copied, total, started)
        if begun.done:
            return begun
        streams = self.to.upload_concurrency if self.to.is_remote else 1
        return copy(pages, new.store, begun, on_page, streams=streams, stop=self.stop)

    def _check(self, new: Collection, sample: Sequence[Record]) -> None:
        """Raises `CollectionError` where the copy is no copy."""
        self._tell("check", len(sample), None, time.monotonic())
        kept = f"the copy was not put in use. {self._begin_anew()}"
        if not self.source.unchanged():
            raise CollectionError(f"{self.source.label} has changed while it was read; {kept}")
        why = unlike_counts(self.source.counts(), count(new.store))
        why = why or unlike_points(sample, new.store)
        if why:
            raise self._unlike(why, kept)

    def _unlike(self, why: str, kept: str) -> CollectionError:
        return CollectionError(
            f"what has arrived in {label(self.to)} is not what {self.source.label} holds: {why}; "
            f"{kept}"
        )

    def _half_built(self, what: str) -> CollectionError:
        return CollectionError(f"{what} is half built in {label(self.to)}. {self._begin_anew()}")

    def _begin_anew(self) -> str:
        return (
            f"Delete it: indexer reindex --forget --store {masked(self.to.store)} "
            f"--collection {self.to.collection}; then type the command again"
        )

    def _tell(self, stage: str, done: int, total: int | None, started: float) -> None:
        self.on_progress(IngestProgress(stage, done, total, 0, time.monotonic() - started))


def _accepts(source: Source, place: Place, to: Config, mode: Mode) -> bool:
    """Whether to merge into the collection that is there; raises `CollectionError` where neither
    that nor another one in its place would do."""
    card = place.indexes(to.collection).in_use.card
    if card.fingerprint != source.card.fingerprint:
        raise CollectionError(
            f"{label(to)} was made with {model_label(card)}, and {source.label} with "
            f"{model_label(source.card)}: their vectors cannot be compared. Give it another name, "
            "or make one of them anew with the other's model: indexer reindex --model NAME"
        )
    if mode == "new":
        raise CollectionError(
            f"{label(to)} is there already, of the same model: add what it lacks with --merge, put "
            "the copy in its place with --replace, or give the copy another name"
        )
    if mode == "replace" and to.tenant:
        raise CollectionError(
            f"--replace would put tenant {to.tenant!r} in the place of all that {label(to)} holds; "
            "add what the tenant lacks there with --merge"
        )
    return mode == "merge"


def _kept(opened: Collection) -> Kept:
    return Kept(opened.path, opened.index)
