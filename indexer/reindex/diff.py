"""What a new index lacks of the old one, and why: gone from the disk, changed, or lost."""

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

    `vanished`: their files are gone. `changed`: their files hold something else now. `lost`: their
    files are there, and the new index does without them; the reason is that of the skip, if it was
    one. `lost_captions`: images that had captions from a table and have none of those now.
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
    """Look for every point of `old` in `new`; `on_page` is told how many were looked for."""
    reasons = {skip.path: skip for skip in skipped}
    found: dict[Fate, dict[str, None]] = {"vanished": {}, "changed": {}, "lost": {}}
    silent: list[str] = []
    seen = 0
    with closing(Catalog(new.index_dir / "catalogue.db")) as catalogue:
        for page in _iter_pages(old):
            here = {record.id: record.payload for record in new.store.retrieve(list(page))}
            for id, payload in page.items():
                path = payload["paths"][0]
                if id in here:
                    silent += [path] if _is_in_table(payload) and not _is_in_table(here[id]) else []
                else:
                    fate, path = _classify(payload, catalogue, reasons)
                    found[fate][path] = None  # a document has many points
            on_page(seen := seen + len(page))
    lost = tuple(reasons.get(path) or SkippedFile(path, "not-reached") for path in found["lost"])
    return IndexDiff(tuple(found["vanished"]), tuple(found["changed"]), lost, tuple(silent))


def _iter_pages(old: OpenCollection) -> Iterator[Mapping[str, Payload]]:
    after = None
    while True:
        records, after = old.store.scroll(limit=PAGE_SIZE, after=after)
        yield {record.id: record.payload for record in records}
        if after is None:
            return


def _classify(payload: Payload, catalogue: Catalog, skipped: Container[str]) -> tuple[Fate, str]:
    """What became of a point, and the path that tells."""
    there = [path for path in payload["paths"] if _is_available(path, catalogue, skipped)]
    unknown = [path for path in there if catalogue.get_file(resolve_display_path(path)) is None]
    if unknown:
        return "lost", unknown[0]
    return ("changed", there[0]) if there else ("vanished", payload["paths"][0])


def _is_available(path: str, catalogue: Catalog, skipped: Container[str]) -> bool:
    """Whether a file is on the disk. Of what lies elsewhere the ingest has just seen all: it is
    there if it was indexed, or left out with a reason, be that of the archive that it lies in."""
    if is_local_file(path):
        return not is_missing(resolve_display_path(path))
    return catalogue.get_file(path) is not None or any(one in skipped for one in ancestors(path))


def _is_in_table(payload: Payload) -> bool:
    return any(caption["source"] == "manifest" for caption in payload["captions"])
