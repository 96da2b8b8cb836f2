"""A prefix of a bucket, or a folder of any other file system that fsspec knows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError, unreadable
from indexer.sources.base import SourceFile, SourcePart, check_size
from indexer.sources.filesystem import (
    build_etag,
    describe_error,
    open_filesystem,
    parse_mtime_ns,
    raise_unreadable,
)
from indexer.sources.listing import PAGE_SIZE, Entry, ListedSource
from indexer.types import SkipCallback


class ObjectStorageSource(ListedSource):
    """All files under a URL such as s3://bucket/prefix; listed again in every run, page by page."""

    def check_readable(self) -> None:
        if not self._has_content():
            raise IndexerError(f"{self.root}: there is nothing there; check the name")

    def _has_content(self) -> bool:
        return any(True for _ in self.list_entries(lambda _: None))

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[SourceFile]:
        for file in super().discover(part, on_skip):
            if not self._is_file or file.path == self.root:
                yield file

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        fs, base = self._filesystem_and_path
        listing_path = self.to_listing_path(path)
        key = base + listing_path if path != self.root else base
        listing = self.__dict__.get("_listing")  # a worker reads without listing
        entry = listing.get(listing_path) if listing else None
        with raise_unreadable(self._address):
            size = entry.size if entry else int(fs.info(key)["size"] or 0)
        check_size(size, limits.max_bytes)
        with raise_unreadable(self._address):
            data = bytes(fs.cat_file(key))
        if len(data) != size:
            raise unreadable("it changed while being read; ingest again")
        return data

    @cached_property
    def _filesystem_and_path(self) -> tuple[Any, str]:
        fs, path = open_filesystem(self._address)
        return fs, path.rstrip("/")

    def list_entries(self, on_skip: SkipCallback) -> Iterator[Entry]:
        """List the files; raises `IndexerError` if that fails, in the middle as well."""
        fs, base = self._filesystem_and_path
        try:
            fs.invalidate_cache()
            for info in self._iterate_infos():
                name = str(info["name"])
                if info["type"] == "file" and not name.endswith("/"):
                    path = name.rpartition("/")[2] if self._is_file else name[len(base) :]
                    path, size = "/" + path.removeprefix("/"), int(info.get("size") or 0)
                    yield Entry(path, size, parse_mtime_ns(info), build_etag(info))
        except Exception as error:
            raise IndexerError(f"{self.root}: {describe_error(error, self._address)}") from None

    def fetch(self, entry: Entry, max_bytes: int) -> bytes:
        fs, base = self._filesystem_and_path
        base = base.rpartition("/")[0] if self._is_file else base
        with raise_unreadable(self._address):
            return bytes(fs.cat_file(base + entry.path, start=0, end=min(max_bytes, entry.size)))

    def to_listing_path(self, path: str) -> str:
        rest = path[len(self.root) :]
        if not rest:
            return "/" + path.rpartition("/")[2]  # the root is one file
        return rest if rest.startswith("/") else f"/{rest}"

    def to_catalog_path(self, listing_path: str) -> str:
        if self._is_file:
            return self.root.rpartition("/")[0] + listing_path
        return self.root + (listing_path[1:] if self.root.endswith("/") else listing_path)

    @cached_property
    def _is_file(self) -> bool:
        fs, base = self._filesystem_and_path
        try:
            return bool(fs.isfile(base))
        except Exception:
            return False

    def _iterate_infos(self) -> Iterator[dict[str, Any]]:
        """Yield `name`, `type` and whatever else the file system reports of what is there."""
        fs, base = self._filesystem_and_path
        folder, slash, name = base.rpartition("/")
        # the sidecars of one file start with its path up to the first dot of its name
        prefix = folder + slash + name.partition(".")[0] + ("." if "." in name else "")
        if hasattr(fs, "_iterdir") and hasattr(fs, "split_path"):
            yield from _iterate_s3_infos(fs, prefix if self._is_file else f"{base}/")
        elif self._is_file:
            yield from (i for i in fs.ls(folder, detail=True) if str(i["name"]).startswith(prefix))
        else:  # not fs.walk: it omits folders that cannot be listed
            stack = [base]
            while stack:
                path = stack.pop()
                for info in fs.ls(path, detail=True):
                    if info["type"] == "directory" and info["name"].rstrip("/") != path.rstrip("/"):
                        stack.append(info["name"])
                    else:
                        yield info


def _iterate_s3_infos(fs: Any, prefix: str) -> Iterator[dict[str, Any]]:
    """List S3 without folders: one request per thousand objects, however they are nested."""
    from fsspec.asyn import sync

    bucket, key_prefix, _ = fs.split_path(prefix)
    if not bucket:
        raise ValueError("name a bucket: s3://bucket, or s3://bucket/prefix")
    listing = fs._iterdir(bucket, delimiter="", prefix=key_prefix)

    async def fetch_page() -> list[dict[str, Any]]:
        infos: list[dict[str, Any]] = []
        async for info in listing:
            infos.append(info)
            if len(infos) == PAGE_SIZE:
                break
        return infos

    while infos := sync(fs.loop, fetch_page):
        yield from infos
