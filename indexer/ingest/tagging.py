"""Tags that people give to points, and take from them, beside those that came with the files.

`tags` of a payload is what searches, filters and facets read: the tags of the files, without those
in `hidden_tags`, and with those in `own_tags`. The latter two are in the store alone, so that they
are the same for everyone who uses it; an ingest carries them over (`keep_tags`), and so does a
reindex (`copy_tags`). A tag is of a content: a moved, renamed or copied file has it, and an edited
image keeps it. Two tags that differ in case are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from indexer.captions.normalize import MAX_TAGS, normalize_tags
from indexer.collections.schema import BM25
from indexer.errors import QueryError, StoreError
from indexer.ingest.payload import is_same_payload, keyword_texts
from indexer.search.bm25 import build_document_vector
from indexer.stores.base import Store, iterate_records
from indexer.types import Payload, Record

if TYPE_CHECKING:
    from qdrant_client import models

OWN, HIDDEN = "own_tags", "hidden_tags"
KEYS = ("tags", OWN, HIDDEN)  # that tagging writes
PAGE_SIZE = 256  # points
MAX_WRITES = 5  # of a page, while another program writes to its points


def tag_points(
    store: Store, ids: Sequence[str], *, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> list[str]:
    """Give tags to points of `store`, and take others from them; searches find it at once.

    Args:
        store: Where the points are.
        ids: Those of the points; of ids that do not exist, nothing happens.
        add: Tags that all of them have afterwards.
        remove: Tags that none of them has afterwards, whether they came with the files or not.

    Returns:
        The ids of the points that were changed, in order. The opposite call with these ids undoes
        it.

    Raises:
        QueryError: There is no tag, one is in both lists, or a point would have too many; nothing
            was changed.
        StoreError: The store cannot be read or written, or another program never stops writing to
            one of the points.
    """
    added, removed = normalize_tags(add), normalize_tags(remove)
    if not (added or removed) or _fold(added) & _fold(removed):
        raise QueryError("name the tags to add or to remove, and none in both lists")
    unique = list(dict.fromkeys(ids))
    pages = [unique[start : start + PAGE_SIZE] for start in range(0, len(unique), PAGE_SIZE)]
    if len(pages) > 1:
        for page in pages:  # if one point would have too many tags, none is changed
            _find_edits(store, page, added, removed)
    changed = [id for page in pages for id in _tag_page(store, page, added, removed)]
    if changed:
        store.flush()
    return changed


def _tag_page(
    store: Store, ids: Sequence[str], added: Sequence[str], removed: Sequence[str]
) -> list[str]:
    """Tag points; returns the ids of those that were changed. Where an ingest has written the rest
    of a payload meanwhile, the tags and the words that searches find it by are made again. The
    tags are not compared: a replica of a server may give those of a moment ago."""
    edits = _find_edits(store, ids, added, removed)
    changed = [record.id for record in edits]
    for _ in range(MAX_WRITES):
        _write(store, edits)
        written = {record.id: record.payload for record in edits}
        found = store.retrieve(list(written)) if written else []
        edits = [
            Record(record.id, {}, _edit(record.payload, added, removed))
            for record in found
            if not is_same_payload(_drop_tags(record.payload), _drop_tags(written[record.id]))
        ]
        if not edits:
            return changed
    raise StoreError(
        f"{edits[0].payload['name']} was changed by another program {MAX_WRITES} times while it "
        "was tagged; tag it again when that program has ended"
    )


def _find_edits(
    store: Store, ids: Sequence[str], added: Sequence[str], removed: Sequence[str]
) -> list[Record]:
    """The points that change, as they will be, in the order of `ids`; raises `QueryError`."""
    found = {record.id: record for record in store.retrieve(ids)}
    records = [found[id] for id in ids if id in found]
    new = [Record(record.id, {}, _edit(record.payload, added, removed)) for record in records]
    return [b for a, b in zip(records, new, strict=True) if a.payload != b.payload]


def keep_tags(payload: Payload, stored: Mapping[str, Any] | None) -> Payload:
    """`payload`, made from files, with the tags that people have given to the point `stored`."""
    own, hidden = list_edits(stored)
    if not own and not hidden:
        return payload
    file_tags = payload["tags"]
    known, without = _fold(file_tags), _fold(hidden)
    own = [tag for tag in own if tag.casefold() not in known]
    shown = [tag for tag in file_tags if tag.casefold() not in without]
    return _with_edits({**payload, "tags": [*shown, *own]}, own, hidden)


def list_edits(stored: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    """The tags that people have added to a point, and those of its files that they have hidden."""
    return list((stored or {}).get(OWN) or ()), list((stored or {}).get(HIDDEN) or ())


def list_file_tags(stored: Payload) -> tuple[str, ...]:
    """The tags of the files of a stored point: without what people have changed."""
    own, hidden = list_edits(stored)
    added = _fold(own)
    return (*(tag for tag in stored["tags"] if tag.casefold() not in added), *hidden)


def copy_tags(source: Store, target: Store) -> None:
    """Give the points of `target` the tags that people have given to those of `source`, and no
    others; points that `source` lacks stay as they are."""
    for edited in (source, target):
        records = iterate_records(edited, _build_filter())
        while page := [record.id for record in islice(records, PAGE_SIZE)]:
            wanted = {record.id: record.payload for record in source.retrieve(page)}
            pairs = [
                (record, keep_tags(_without_edits(record.payload), wanted[record.id]))
                for record in target.retrieve(page)
                if record.id in wanted
            ]
            _write(target, [Record(r.id, {}, new) for r, new in pairs if new != r.payload])


def _build_filter() -> models.Filter:
    """Points with tags that people have added or hidden."""
    from qdrant_client import models

    return models.Filter(
        should=[
            models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key))])
            for key in (OWN, HIDDEN)
        ]
    )


def _edit(payload: Payload, added: Sequence[str], removed: Sequence[str]) -> Payload:
    own, hidden = list_edits(payload)
    tags = list(payload["tags"])
    for tag in added:
        if tag.casefold() in _fold(tags):
            continue
        tags.append(tag)
        if tag.casefold() in _fold(hidden):
            hidden = [one for one in hidden if one.casefold() != tag.casefold()]
        else:
            own.append(tag)
    taken = _fold(removed)
    hidden += [t for t in tags if t.casefold() in taken and t.casefold() not in _fold(own)]
    own = [tag for tag in own if tag.casefold() not in taken]
    tags = [tag for tag in tags if tag.casefold() not in taken]
    if len(tags) > MAX_TAGS or len(hidden) > MAX_TAGS:
        raise QueryError(f"{payload['name']} would have more than {MAX_TAGS} tags; remove some")
    return _with_edits({**payload, "tags": tags}, own, hidden)


def _without_edits(payload: Payload) -> Payload:
    bare = {key: value for key, value in payload.items() if key not in (OWN, HIDDEN)}
    return {**bare, "tags": list(list_file_tags(payload))}


def _with_edits(payload: Payload, own: Sequence[str], hidden: Sequence[str]) -> Payload:
    bare = {key: value for key, value in payload.items() if key not in (OWN, HIDDEN)}
    edits = {OWN: list(own), HIDDEN: list(hidden)}
    return bare | {key: tags for key, tags in edits.items() if tags}


def _drop_tags(payload: Payload) -> Payload:
    return {key: value for key, value in payload.items() if key not in KEYS}


def _write(store: Store, records: Sequence[Record]) -> None:
    """Write the tags of payloads, with the words that searches find them by; an ingest may have
    written the rest of a payload meanwhile."""
    store.patch(
        [
            Record(
                r.id,
                {BM25: build_document_vector(keyword_texts(r.payload))},
                {key: r.payload.get(key) for key in KEYS},
            )
            for r in records
        ],
        merge=True,
    )


def _fold(tags: Iterable[str]) -> set[str]:
    return {tag.casefold() for tag in tags}
