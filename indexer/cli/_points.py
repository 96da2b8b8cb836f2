"""From what a user calls a point to its id: an id, the path of its file, or the file's content."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import QueryError
from indexer.paths import display_path, is_local_file
from indexer.search.filters import build_store_filter

if TYPE_CHECKING:
    from indexer.collections.collection import OpenCollection


def find_point(collection: OpenCollection, what: str) -> str | None:
    """The id of the point that `what` names; None for a file that is not in the collection.

    Raises `QueryError` for an id that is not there, and for what is neither an id nor a file.
    """
    id = _parse_uuid(what.removeprefix("id:"))
    if id is not None:
        if not collection.store.retrieve([id]):
            raise QueryError(f"the collection {collection.name!r} has no point {id}")
        return id
    path = Path(what).expanduser()
    found = _find_first(
        collection, "paths", display_path(str(path.absolute()) if is_local_file(what) else what)
    )
    if found is None and path.is_file():
        found = _find_first(collection, "content", _hash_file(path))
    if found is None and not path.exists():
        raise QueryError(f"{display_path(what)!r} is neither a point's id nor a file")
    return found


def _parse_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _hash_file(path: Path) -> str:
    from embedder.images.decode import read_file
    from indexer.ids import hash_content
    from indexer.skip_reasons import UnusableFileError

    try:
        return hash_content(read_file(str(path)))
    except UnusableFileError as error:
        raise QueryError(f"{path} cannot be searched with: {error.detail}") from error


def _find_first(collection: OpenCollection, key: str, value: str) -> str | None:
    records, _ = collection.store.scroll(build_store_filter({key: (value,)}), limit=1)
    return records[0].id if records else None
