"""The order of points by date and by name; those without a date come last."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from indexer.collections.schema import ADDED, TAKEN
from indexer.errors import QueryError
from indexer.search.dates import parse_time
from indexer.stores.base import Store, iterate_records
from indexer.types import Payload, Record, SortOrder

if TYPE_CHECKING:
    from qdrant_client import models

DATE_ORDERS = {"newest": (TAKEN, True), "oldest": (TAKEN, False), "added": (ADDED, True)}
"""Order -> the payload key of its date, and whether the latest comes first."""

MAX_NAMES = 300_000  # different names of files; 100,000 take 2 s
SERVER_NAMES = 100_000  # that a server lists at most
NAMES_SECONDS = 30.0  # for which names are not listed again
SKIPPED_POINTS = 1_000  # read at a time
FIRST_TIME = datetime(1, 1, 1, tzinfo=UTC)
NUMBER_PATTERN = re.compile(r"(\d{1,1000})")  # Python reads no more digits than 4,300


def make_sort_key(order: SortOrder, id: str, payload: Payload) -> tuple[Any, ...]:
    """What a point is ordered by, ascending."""
    if order == "name":
        return (*make_name_key(payload["name"]), payload.get("passage", 0), id)
    return make_date_key(*DATE_ORDERS[order], id, payload)


def make_date_key(key: str, descending: bool, id: str, payload: Payload) -> tuple[Any, ...]:
    """What a point is ordered by, ascending, in the order of its dates `key`; then by its id."""
    date = parse_time(payload.get(key))
    if date is None:
        return (True, 0.0, id)
    return (False, -date.timestamp() if descending else date.timestamp(), id)


def make_name_key(name: str) -> tuple[Any, ...]:
    """Order names as people do: `2.jpg` before `10.jpg`, capitals and accents do not count."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    parts = NUMBER_PATTERN.split(letters)  # every second one is a number
    return [(part, 0) if i % 2 == 0 else ("", int(part)) for i, part in enumerate(parts)], name


class PointLister:
    """Lists the points of a store in an order. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: tuple[object, float, list[tuple[str, int]]] = (None, 0.0, [])

    def list_page(
        self, order: SortOrder, where: models.Filter | None, offset: int, limit: int
    ) -> tuple[list[Record], bool]:
        """A page of the points that match `where`, and whether there are more; "strength" is by id.

        Raises `QueryError` for more names than can be sorted, and `StoreError`.
        """
        if order == "strength":
            return self._list_by_id(where, offset, limit)
        if order == "name":
            return self._list_by_name(where, offset, limit)
        return self._list_by_date(*DATE_ORDERS[order], where, offset, limit)

    def _list_by_id(
        self, where: models.Filter | None, offset: int, limit: int
    ) -> tuple[list[Record], bool]:
        after = None
        while offset > 0:  # stores have no pages of ids alone
            page, after = self._store.scroll(where, limit=min(offset, SKIPPED_POINTS), after=after)
            offset -= len(page)
            if after is None:
                return [], False
        page, after = self._store.scroll(where, limit=limit, after=after)
        return page, after is not None

    def _list_by_date(
        self, key: str, descending: bool, where: models.Filter | None, offset: int, limit: int
    ) -> tuple[list[Record], bool]:
        from qdrant_client import models

        given: list[models.Condition] = [where] if where else []

        def within(**bounds: datetime) -> models.Filter:
            dates = models.FieldCondition(key=key, range=models.DatetimeRange(**bounds))
            return models.Filter(must=[*given, dates])

        direction = models.Direction.DESC if descending else models.Direction.ASC
        order = models.OrderByQuery(order_by=models.OrderBy(key=key, direction=direction))
        request = models.QueryRequest(
            query=order, filter=where, limit=limit + 1, offset=offset, with_payload=True
        )
        (points,) = self._store.query_batch([request])
        times = [time for p in points if (time := parse_time((p.payload or {}).get(key)))]
        page: list[Record] = []
        if times:
            # a store may order points of one time differently for each page: these are by id;
            # thousands may have the time of a camera whose clock was never set
            first, last = times[0], times[-1]
            before = {"gt": first} if descending else {"lt": first}
            skipped = offset - (self._store.count(within(**before)) if offset else 0)
            page, _ = self._list_by_id(within(gte=first, lte=first), skipped, limit)
            if first != last and len(page) < limit:
                between = [
                    Record(p.id, {}, p.payload or {})
                    for p in points
                    if parse_time((p.payload or {}).get(key)) not in (None, first, last)
                ]
                between.sort(key=lambda r: make_date_key(key, descending, r.id, r.payload))
                at_last = within(gte=last, lte=last)
                page += between
                page += self._list_by_id(at_last, 0, max(limit - len(page), 1))[0]
            page = page[:limit]
        if len(points) > limit:
            return page, True
        if not page and offset:
            offset -= self._store.count(within(gte=FIRST_TIME))
        else:
            offset = 0
        undated = models.Filter(must=given or None, must_not=[within(gte=FIRST_TIME)])
        rest, more = self._list_by_id(undated, offset, limit + 1 - len(page))
        page += rest
        return page[:limit], more or len(page) > limit

    def _list_by_name(
        self, where: models.Filter | None, offset: int, limit: int
    ) -> tuple[list[Record], bool]:
        """Names have an index by which they are counted, but none that has an order."""
        from qdrant_client import models

        names = self._list_names(where)
        ends = list(accumulate(count for _, count in names))
        first = next((i for i, end in enumerate(ends) if end > offset), len(ends))
        last = next((i for i, end in enumerate(ends) if end >= offset + limit), len(ends) - 1)
        wanted = [name for name, _ in names[first : last + 1]]
        if not wanted:
            return [], False
        named = models.FieldCondition(key="name", match=models.MatchAny(any=wanted))
        within = models.Filter(must=[where, named] if where else [named])
        records = sorted(
            iterate_records(self._store, within),
            key=lambda record: make_sort_key("name", record.id, record.payload),
        )
        skipped = offset - (ends[first - 1] if first else 0)
        return records[skipped : skipped + limit], ends[-1] > offset + limit

    def _list_names(self, where: models.Filter | None) -> list[tuple[str, int]]:
        """The names in order, each with the number of its points."""
        asked = where.model_dump(mode="json", exclude_none=True) if where else None
        version = (json.dumps(asked), self._store.count())
        known, at, names = self._names
        if known != version or time.monotonic() - at > NAMES_SECONDS:
            names = self._store.facet("name", where, MAX_NAMES)
            is_cut = len(names) >= min(MAX_NAMES, SERVER_NAMES)
            if is_cut and sum(count for _, count in names) < self._store.count(where):
                raise QueryError(
                    f"more than {len(names):,} names of files cannot be sorted: filter the items, "
                    "or sort them by date"
                )
            names.sort(key=lambda counted: make_name_key(counted[0]))
            self._names = (version, time.monotonic(), names)
        return names
