"""Whether the store has what the catalog lists: checked at the start of every ingest.

After a power cut, or with a backup whose files were copied at different moments, the store may be
older or newer than the catalog. A content that the store has lost is forgotten by the catalog, so
that the same run reads its files again. The check compares the number of points, and looks up what
was written last; it goes through everything only where one of them differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from indexer.ingest.catalog import Catalog, is_missing
from indexer.ingest.described import read_base, read_described
from indexer.ingest.payload import build_payload, is_same_payload
from indexer.ingest.tagging import keep_tags
from indexer.ingest.types import NOT_READ_HERE, CatalogContent, CatalogFile
from indexer.paths import is_local_file, is_within, make_point_ids, resolve_display_path
from indexer.stores.base import TENANT_KEY, Store, iterate_records
from indexer.types import Payload, Record

PAGE_POINTS = 1000  # points looked up at a time


def check_consistency(store: Store, catalog: Catalog, *, shared: bool) -> None:
    """Make the catalog forget the contents that `store` has lost.

    In a store that no other machine writes to (not `shared`), also those that it has as they were
    before; and points of deleted files that are there again get back into the catalog, for a prune
    to find them.
    """
    cataloged = catalog.count_points()
    if not cataloged and not catalog.list_recent():
        return
    agrees = store.count() - cataloged == catalog.get_surplus()
    has_last_writes, has_last_payloads = _check_last_writes(store, catalog, shared=shared)
    if agrees and has_last_writes and has_last_payloads:
        return
    for contents in _iter_pages(catalog):
        _forget_lost(store, catalog, contents, compare_payloads=not has_last_payloads)
    if not shared and store.count() > catalog.count_points():
        _readmit_deleted(store, catalog)
    catalog.put_surplus(store.count() - catalog.count_points())


def forget_lost(store: Store, catalog: Catalog, *, shared: bool) -> None:
    """The same after going through everything, whatever the counts and the last writes say."""
    for contents in _iter_pages(catalog):
        _forget_lost(store, catalog, contents, compare_payloads=not shared)
    catalog.put_surplus(store.count() - catalog.count_points())


def _check_last_writes(store: Store, catalog: Catalog, *, shared: bool) -> tuple[bool, bool]:
    """Whether the last contents that were written are there and the deleted ones are not, and
    whether their payloads are the last ones. Other machines may have changed a shared store."""
    recent = {id: make_point_ids(id, num_chunks) for id, num_chunks in catalog.list_recent()}
    stored = _retrieve(store, [point for ids in recent.values() for point in ids])
    is_there = is_current = True
    for content_id, ids in recent.items():
        content = catalog.get_content(content_id)
        if content is None:
            is_there &= shared or not any(id in stored for id in ids)
        elif not all(id in stored for id in ids):
            is_there = False
        elif not shared:
            is_current &= _has_payloads(content, catalog, stored)
    return is_there, is_current


def _iter_pages(catalog: Catalog) -> Iterator[list[CatalogContent]]:
    """All contents, as many at a time as have about `PAGE_POINTS` points."""
    page: list[CatalogContent] = []
    points = 0
    for content in catalog.iter_contents():
        page.append(content)
        points += max(content.num_chunks, 1)
        if points >= PAGE_POINTS:
            yield page
            page, points = [], 0
    if page:
        yield page


def _forget_lost(
    store: Store, catalog: Catalog, contents: list[CatalogContent], *, compare_payloads: bool
) -> None:
    from qdrant_client import models

    ids = [id for content in contents for id in content.point_ids]
    if not compare_payloads:  # counting is much cheaper than reading
        pages = [ids[start : start + PAGE_POINTS] for start in range(0, len(ids), PAGE_POINTS)]
        filters = [models.Filter(must=[models.HasIdCondition(has_id=[*page])]) for page in pages]
        if sum(map(store.count, filters)) == len(ids):
            return
    stored = _retrieve(store, ids)
    for content in contents:
        if not all(id in stored for id in content.point_ids) or (
            compare_payloads and not _has_payloads(content, catalog, stored)
        ):
            catalog.forget_content(content.id)


def _retrieve(store: Store, ids: list[str]) -> dict[str, Payload]:
    return {record.id: record.payload for record in store.retrieve(ids)} if ids else {}


def _has_payloads(content: CatalogContent, catalog: Catalog, stored: Mapping[str, Payload]) -> bool:
    """Whether the points have the payloads that the catalog gives; a key that one of them lacks is
    one of another version of this program."""
    files = catalog.find_files(content.id)
    for id, base in zip(content.point_ids, content.base_payloads, strict=True):
        expected = keep_tags(build_payload(base, files), stored[id]) if files else base
        common = stored[id].keys() & expected.keys()
        if not all(is_same_payload(stored[id][key], expected[key]) for key in common):
            return False
    return True


def _readmit_deleted(store: Store, catalog: Catalog) -> None:
    """Put points that the catalog does not know into it, if all their files lay under its roots and
    are gone. Those that exist are found by the ingest; others, such as merged ones, stay as is."""
    roots = catalog.list_roots()
    returned: dict[str, list[Record]] = {}
    for record in iterate_records(store):
        content_id = record.payload["content"]
        if TENANT_KEY in record.payload or catalog.has_content(content_id):
            continue
        paths = [resolve_display_path(path) for path in record.payload["paths"]]
        if all(
            is_local_file(path)
            and any(is_within(path, root) for root in roots)
            and is_missing(path)
            for path in paths
        ):
            returned.setdefault(content_id, []).append(record)
    for content_id, records in returned.items():
        payloads = sorted((r.payload for r in records), key=lambda p: p.get("passage", 0))
        num_chunks = payloads[0].get("passages", 0)
        if len(payloads) != max(num_chunks, 1):
            continue
        bases = [read_base(payload) for payload in payloads]
        catalog.put_content(CatalogContent(content_id, num_chunks, bases))
        described = read_described(payloads[0])
        for path in map(resolve_display_path, payloads[0]["paths"]):
            catalog.put_file(CatalogFile(path, NOT_READ_HERE, -1, content_id, described))
