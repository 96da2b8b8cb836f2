"""When a content came into the collection: `added` of its payload, in UTC.

A content keeps its date for as long as it is in the collection: the catalog and the point have it.
A file that is edited in place keeps that of what it held before, and `indexer reindex` those of the
index that it replaces. A content of a version that kept no dates has none: the day of the next
ingest would be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from indexer.collections.schema import ADDED
from indexer.ingest.catalog import Catalog
from indexer.ingest.reconcile import ContentChange
from indexer.ingest.types import CatalogContent
from indexer.stores.base import Store
from indexer.types import Payload


@dataclass(frozen=True, slots=True)
class FormerIndex:
    """The index that an ingest builds a new one for: its points and its catalog."""

    store: Store
    catalog: Catalog


def date_new_contents(
    changes: Sequence[ContentChange], catalog: Catalog, former: FormerIndex | None = None
) -> None:
    """Give a date to the contents of `changes` that neither the catalog nor the store has.

    Takes a request to `former`, if there is one.
    """
    new = [change for change in changes if not change.before and not change.payloads]
    ids = [change.content.point_ids[0] for change in new]
    found = former.store.retrieve(ids) if former and ids else ()
    known = {record.id: record.payload for record in found}
    for change, id in zip(new, ids, strict=True):
        date = catalog.find_forgotten_date(change.content.id)
        if date is None:
            date = _find_date(change, known.get(id), former)
        if date:
            for base in change.content.base_payloads:
                base[ADDED] = date


def _find_date(change: ContentChange, payload: Payload | None, former: FormerIndex | None) -> str:
    """The date of a new content; "" where what it is, or replaces, has none: that is older."""
    if payload is not None:
        return str(payload.get(ADDED, ""))
    replaced = change.replaced or (_find_replaced(change, former.catalog) if former else [])
    dates = [str(content.base_payloads[0].get(ADDED, "")) for content in replaced]
    return min(dates, default=datetime.now(UTC).isoformat(timespec="microseconds"))


def _find_replaced(change: ContentChange, catalog: Catalog) -> list[CatalogContent]:
    """What the files held when the former index was made."""
    files = [catalog.get_file(item.file.path) for item in change.arrived]
    contents = [catalog.get_content(file.content_id) for file in files if file]
    return [content for content in contents if content]
