"""From what a user calls a point to its id: an id, the path of its file, or the file's content."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import QueryError
from indexer.filters import store_filter
from indexer.sources import is_plain
from indexer.walk import printable

if TYPE_CHECKING:
    from indexer.collection import Collection


def find_point(collection: Collection, what: str) -> str | None:
    """The id of the point that `what` names; None for a file that is not in the collection.

    Raises `QueryError` for an id that is not there, and for what is neither an id nor a file.
    """
    id = _uuid(what.removeprefix("id:"))
    if id is not None:
        if not collection.store.retrieve([id]):
            raise QueryError(f"the collection {collection.name!r} has no point {id}")
        return id
    path = Path(what).expanduser()
    found = _first(collection, "paths", printable(str(path.absolute()) if is_plain(what) else what))
    if found is None and path.is_file():
        found = _first(collection, "content", _content(path))
    if found is None and not path.exists():
        raise QueryError(f"{printable(what)!r} is neither a point's id nor a file")
    return found


def _uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _content(path: Path) -> str:
    from indexer.decode import read
    from indexer.identity import content_hash
    from indexer.skips import Undecodable

    try:
        return content_hash(read(str(path)))
    except Undecodable as error:
        raise QueryError(f"{path} cannot be searched with: {error.detail}") from error


def _first(collection: Collection, key: str, value: str) -> str | None:
    records, _ = collection.store.scroll(store_filter({key: (value,)}), limit=1)
    return records[0].id if records else None
