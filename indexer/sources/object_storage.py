"""A prefix of a bucket, or a folder of any other file system that fsspec knows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from embedder.images.decode import DecodeLimits
from indexer.captions.resolver import FileCaptions
from indexer.errors import IndexerError
from indexer.skip_reasons import UnusableFileError
from indexer.sources.base import SkipCallback, SourceOptions, SourcePart
from indexer.sources.file_info import build_etag, parse_mtime_ns
from indexer.sources.filesystem import describe_error, open_filesystem
from indexer.sources.listed_files import ListedFiles, check_size, make_listed_files
from indexer.sources.listing import Entry, Listing, make_entry
from indexer.sources.paths import redact_url
from indexer.sources.walk import DiscoveredFile

PAGE_SIZE = 1000


class ObjectStorageSource:
    """All files under a URL such as s3://bucket/prefix; listed anew in every run, page by page."""

    is_folder = False

    def __init__(
        self,
        address: str,
        options: SourceOptions | None = None,
        on_skip: SkipCallback | None = None,
    ) -> None:
        self._address, self._options = address, options or SourceOptions()
        self.root = redact_url(address)
        self._on_skip = on_skip

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectStorageSource, (self._address, self._options)

    def check_readable(self) -> None:
        if next(self._iterate_entries(), None) is None:
            raise IndexerError(f"{self.root}: there is nothing there; check the name")

    def is_available(self) -> bool:
        try:
            return next(self._iterate_entries(), None) is not None
        except IndexerError:
            return False

    def list_parts(self) -> tuple[SourcePart]:
        return (SourcePart(self.root),)

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        self.__dict__.pop("_tree", None)
        found = self._tree.discover(on_skip)
        yield from (one for one in found if one.path == self.root) if self._is_file else found

    def compute_stamp(self, path: str) -> str:
        return self._tree.compute_stamp(self._to_listing_path(path))

    def load_captions(self, path: str) -> FileCaptions:
        return self._tree.load_captions(self._to_listing_path(path))

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        fs, base = self._filesystem_and_path
        key = base + self._to_listing_path(path) if path != self.root else base
        listed = self.__dict__.get("_tree")
        known = listed.listing.get(self._to_listing_path(path)) if listed else None
        try:
            size = known.size if known else int(fs.info(key)["size"] or 0)
            check_size(size, limits.max_bytes)
            data = bytes(fs.cat_file(key))
        except UnusableFileError:
            raise
        except Exception as error:
            raise UnusableFileError("unreadable", describe_error(error, self._address)) from None
        if len(data) != size:
            raise UnusableFileError("unreadable", "it changed while being read; ingest again")
        return data

    @cached_property
    def _filesystem_and_path(self) -> tuple[Any, str]:
        fs, path = open_filesystem(self._address)
        return fs, path.rstrip("/")

    @cached_property
    def _tree(self) -> ListedFiles:
        listing = Listing(self._iterate_entries())
        return make_listed_files(
            listing, self._fetch, self._to_catalog_path, self._options, self._on_skip
        )

    def _iterate_entries(self) -> Iterator[Entry]:
        """Raises `IndexerError` where the listing fails, in the middle as well."""
        fs, base = self._filesystem_and_path
        try:
            fs.invalidate_cache()
            for info in _iterate_infos(fs, base):
                name = str(info["name"])
                if info["type"] == "file" and not name.endswith("/"):
                    listing_path = name.rpartition("/")[2] if self._is_file else name[len(base) :]
                    listing_path, size = (
                        "/" + listing_path.removeprefix("/"),
                        int(info.get("size") or 0),
                    )
                    yield make_entry(listing_path, size, parse_mtime_ns(info), build_etag(info))
        except Exception as error:
            raise IndexerError(f"{self.root}: {describe_error(error, self._address)}") from None

    def _fetch(self, listed_entry: Entry, max_bytes: int) -> bytes:
        fs, base = self._filesystem_and_path
        base = base.rpartition("/")[0] if self._is_file else base
        try:
            return bytes(
                fs.cat_file(
                    base + listed_entry.path, start=0, end=min(max_bytes, listed_entry.size)
                )
            )
        except Exception as error:
            raise UnusableFileError("unreadable", describe_error(error, self._address)) from None

    def _to_listing_path(self, path: str) -> str:
        """A path of the catalogue as the listing has it."""
        rest = path[len(self.root) :]
        if not rest:
            return "/" + path.rpartition("/")[2]  # the root is one file
        return rest if rest.startswith("/") else f"/{rest}"

    def _to_catalog_path(self, listing_path: str) -> str:
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


def _iterate_infos(fs: Any, base: str) -> Iterator[dict[str, Any]]:
    """What is under `base`: its `name`, `type` and what else the file system tells."""
    if hasattr(fs, "_iterdir") and hasattr(fs, "split_path"):
        yield from _iterate_s3_infos(fs, base)
        return
    if fs.isfile(base):
        prefix = _sibling_prefix(base)
        siblings = fs.ls(base.rpartition("/")[0], detail=True)
        yield from (info for info in siblings if str(info["name"]).startswith(prefix))
        return
    stack = [base]
    while stack:
        folder = stack.pop()
        for info in fs.ls(folder, detail=True):
            if info["type"] == "directory" and info["name"].rstrip("/") != folder.rstrip("/"):
                stack.append(info["name"])
            else:
                yield info


def _iterate_s3_infos(fs: Any, base: str) -> Iterator[dict[str, Any]]:
    """S3 without folders: a request for each thousand objects, however they are nested."""
    from fsspec.asyn import sync

    bucket, key, _ = fs.split_path(base)
    if not bucket:
        raise ValueError("name a bucket: s3://bucket, or s3://bucket/prefix")
    prefix = f"{key}/" if key else ""
    prefix = _sibling_prefix(key) if key and fs.isfile(base) else prefix
    listing = fs._iterdir(bucket, delimiter="", prefix=prefix)

    async def page() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for info in listing:
            found.append(info)
            if len(found) == PAGE_SIZE:
                break
        return found

    while found := sync(fs.loop, page):
        yield from found


def _sibling_prefix(path: str) -> str:
    """A file's path up to the first dot of its name: what those begin with that describe it."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0] + ("." if "." in name else "")
