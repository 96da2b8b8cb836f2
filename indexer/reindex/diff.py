"""Compares a new index with the old one: which points are missing, and why."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from indexer.collections.collection import OpenCollection
from indexer.ingest.catalog import Catalog, is_missing
from indexer.paths import ancestors, is_local_file, resolve_display_path
from indexer.types import Payload, SkippedFile

PAGE_SIZE = 1_000
Fate = Literal["vanished", "changed", "lost"]


@dataclass(frozen=True, slots=True)
class IndexDiff:
    """Files of points of the old index that are not in the new one.

    `vanished`: the files are gone. `changed`: the files have other content now. `lost`: the files
    exist, but the new index lacks them; with the reason if they were skipped. `lost_captions`:
    images that had captions from a table and no longer have any.
    """

    vanished: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    lost: tuple[SkippedFile, ...] = ()
    lost_captions: tuple[str, ...] = ()


def compare_indexes(
    old: OpenCollection,
    new: OpenCollection,
    skipped: Iterable[SkippedFile],
    on_page: Callable[[int], None] = lambda _: None,
) -> IndexDiff:
    """Look for every point of `old` in `new`; `on_page` gets the number of points so far."""
    reasons = {skip.path: skip for skip in skipped}
    missing: dict[Fate, dict[str, None]] = {"vanished": {}, "changed": {}, "lost": {}}
    lost_captions: list[str] = []
    seen = 0
    with closing(Catalog(new.index_dir / "catalogue.db")) as catalog:
        for page in _iter_pages(old):
            existing = {record.id: record.payload for record in new.store.retrieve(list(page))}
            for id, payload in page.items():
                path = payload["paths"][0]
                if id in existing:
                    lost_captions += (
                        [path] if _is_in_table(payload) and not _is_in_table(existing[id]) else []
                    )
                else:
                    fate, path = _classify(payload, catalog, reasons)
                    missing[fate][path] = None  # a document has many points
            on_page(seen := seen + len(page))
    lost = tuple(reasons.get(path) or SkippedFile(path, "not-reached") for path in missing["lost"])
    return IndexDiff(
        tuple(missing["vanished"]), tuple(missing["changed"]), lost, tuple(lost_captions)
    )


def _iter_pages(old: OpenCollection) -> Iterator[Mapping[str, Payload]]:
    after = None
    while True:
        records, after = old.store.scroll(limit=PAGE_SIZE, after=after)
        yield {record.id: record.payload for record in records}
        if after is None:
            return


def _classify(payload: Payload, catalog: Catalog, skipped: Container[str]) -> tuple[Fate, str]:
    """Return why a point is missing, and the path that shows it."""
    available = [path for path in payload["paths"] if _is_available(path, catalog, skipped)]
    unknown = [path for path in available if catalog.get_file(resolve_display_path(path)) is None]
    if unknown:
        return "lost", unknown[0]
    return ("changed", available[0]) if available else ("vanished", payload["paths"][0])


def _is_available(path: str, catalog: Catalog, skipped: Container[str]) -> bool:
    """Whether a file exists. The ingest has just listed all remote files: one of them exists if it
    was indexed, or if it or the archive that contains it was skipped."""
    if is_local_file(path):
        return not is_missing(resolve_display_path(path))
    return catalog.get_file(path) is not None or any(one in skipped for one in ancestors(path))


def _is_in_table(payload: Payload) -> bool:
    return any(caption["source"] == "manifest" for caption in payload["captions"])
