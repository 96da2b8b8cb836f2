"""A prefix of a bucket, or a folder of any other file system that fsspec knows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from indexer.captions import Described
from indexer.decode import Limits
from indexer.errors import IndexerError
from indexer.skips import Undecodable
from indexer.sources.addresses import clean
from indexer.sources.failures import connect, explained
from indexer.sources.listing import Entry, Listing, entry
from indexer.sources.protocol import Part, Reading, Report
from indexer.sources.stats import mark_of, mtime_of
from indexer.sources.tree import Tree, checked_size, tree_of
from indexer.walk import Found

PAGE = 1000


class RemoteSource:
    """All files under a URL such as s3://bucket/prefix; listed anew in every run, page by page."""

    is_folder = False

    def __init__(
        self, address: str, reading: Reading | None = None, skip: Report | None = None
    ) -> None:
        self._address, self._reading = address, reading or Reading()
        self.root = clean(address)
        self._skip = skip

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteSource, (self._address, self._reading)

    def require(self) -> None:
        if next(self._entries(), None) is None:
            raise IndexerError(f"{self.root}: there is nothing there; check the name")

    def is_there(self) -> bool:
        try:
            return next(self._entries(), None) is not None
        except IndexerError:
            return False

    def parts(self) -> tuple[Part]:
        return (Part(self.root),)

    def found(self, part: Part, skip: Report) -> Iterator[Found]:
        self.__dict__.pop("_tree", None)
        found = self._tree.found(skip)
        yield from (one for one in found if one.path == self.root) if self._is_file else found

    def stamp(self, path: str) -> str:
        return self._tree.stamp(self._inner(path))

    def captions_for(self, path: str) -> Described:
        return self._tree.captions_for(self._inner(path))

    def read(self, path: str, limits: Limits) -> bytes:
        fs, base = self._place
        key = base + self._inner(path) if path != self.root else base
        listed = self.__dict__.get("_tree")
        known = listed.listing.get(self._inner(path)) if listed else None
        try:
            size = known.size if known else int(fs.info(key)["size"] or 0)
            checked_size(size, limits.bytes)
            data = bytes(fs.cat_file(key))
        except Undecodable:
            raise
        except Exception as error:
            raise Undecodable("unreadable", explained(error, self._address)) from None
        if len(data) != size:
            raise Undecodable("unreadable", "it changed while being read; ingest again")
        return data

    @cached_property
    def _place(self) -> tuple[Any, str]:
        fs, path = connect(self._address)
        return fs, path.rstrip("/")

    @cached_property
    def _tree(self) -> Tree:
        listing = Listing(self._entries())
        return tree_of(listing, self._fetch, self._shown, self._reading, self._skip)

    def _entries(self) -> Iterator[Entry]:
        """Raises `IndexerError` where the listing fails, in the middle as well."""
        fs, base = self._place
        try:
            fs.invalidate_cache()
            for info in _infos(fs, base):
                name = str(info["name"])
                if info["type"] == "file" and not name.endswith("/"):
                    inner = name.rpartition("/")[2] if self._is_file else name[len(base) :]
                    inner, size = "/" + inner.removeprefix("/"), int(info.get("size") or 0)
                    yield entry(inner, size, mtime_of(info), mark_of(info))
        except Exception as error:
            raise IndexerError(f"{self.root}: {explained(error, self._address)}") from None

    def _fetch(self, one: Entry, most: int) -> bytes:
        fs, base = self._place
        base = base.rpartition("/")[0] if self._is_file else base
        try:
            return bytes(fs.cat_file(base + one.path, start=0, end=min(most, one.size)))
        except Exception as error:
            raise Undecodable("unreadable", explained(error, self._address)) from None

    def _inner(self, path: str) -> str:
        """A path of the catalogue as the listing has it."""
        rest = path[len(self.root) :]
        if not rest:
            return "/" + path.rpartition("/")[2]  # the root is one file
        return rest if rest.startswith("/") else f"/{rest}"

    def _shown(self, inner: str) -> str:
        if self._is_file:
            return self.root.rpartition("/")[0] + inner
        return self.root + (inner[1:] if self.root.endswith("/") else inner)

    @cached_property
    def _is_file(self) -> bool:
        fs, base = self._place
        try:
            return bool(fs.isfile(base))
        except Exception:
            return False


def _infos(fs: Any, base: str) -> Iterator[dict[str, Any]]:
    """What is under `base`: its `name`, `type` and what else the file system tells."""
    if hasattr(fs, "_iterdir") and hasattr(fs, "split_path"):
        yield from _pages(fs, base)
        return
    if fs.isfile(base):
        stem = _stem(base)
        beside = fs.ls(base.rpartition("/")[0], detail=True)
        yield from (info for info in beside if str(info["name"]).startswith(stem))
        return
    stack = [base]
    while stack:
        folder = stack.pop()
        for info in fs.ls(folder, detail=True):
            if info["type"] == "directory" and info["name"].rstrip("/") != folder.rstrip("/"):
                stack.append(info["name"])
            else:
                yield info


def _pages(fs: Any, base: str) -> Iterator[dict[str, Any]]:
    """S3 without folders: a request for each thousand objects, however they are nested."""
    from fsspec.asyn import sync

    bucket, key, _ = fs.split_path(base)
    if not bucket:
        raise ValueError("name a bucket: s3://bucket, or s3://bucket/prefix")
    prefix = f"{key}/" if key else ""
    prefix = _stem(key) if key and fs.isfile(base) else prefix
    listing = fs._iterdir(bucket, delimiter="", prefix=prefix)

    async def page() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for info in listing:
            found.append(info)
            if len(found) == PAGE:
                break
        return found

    while found := sync(fs.loop, page):
        yield from found


def _stem(path: str) -> str:
    """A file's path up to the first dot of its name: what those begin with that describe it."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0] + ("." if "." in name else "")
