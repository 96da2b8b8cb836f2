"""An archive of pictures and captions, as WebDataset has them: read where it lies, never unpacked.

The members whose names agree up to an extension belong together: `pets/01.jpg`, `pets/01.txt`,
`pets/01.json`. (github.com/webdataset/webdataset.)
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from embedder.images.decode import DecodeLimits
from indexer.captions.resolver import FileCaptions
from indexer.errors import IndexerError
from indexer.paths import display_path
from indexer.skip_reasons import UnusableFileError
from indexer.sources.base import SkipCallback, SourceOptions, SourcePart
from indexer.sources.byte_source import ByteSource, FileStat, make_byte_source, open_buffered
from indexer.sources.http.client import HttpClient
from indexer.sources.listed_files import ListedFiles, check_size, make_listed_files
from indexer.sources.listing import Entry, Listing, make_entry
from indexer.sources.paths import redact_url, url_scheme
from indexer.sources.walk import DiscoveredFile
from indexer.types import SkippedFile

BLOCK_BYTES = 512


class TarSource:
    """One archive, here or at a URL. Paths are `ARCHIVE#MEMBER`."""

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
        return TarSource, (self._address, self._options)

    def check_readable(self) -> None:
        try:
            head = self._byte_source.read(0, BLOCK_BYTES)
            if head == bytes(BLOCK_BYTES):
                return  # an archive of nothing
            tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
        except UnusableFileError as error:
            raise IndexerError(f"{display_path(self.root)}: {error.detail}") from None
        except tarfile.TarError:
            raise IndexerError(
                f"{display_path(self.root)} is no tar archive, or a compressed one: "
                "unpack that, or write it again as a plain .tar"
            ) from None

    def is_available(self) -> bool:
        try:
            return self._byte_source.stat().size > 0
        except (IndexerError, UnusableFileError):
            return False

    def list_parts(self) -> tuple[SourcePart]:
        self.check_readable()
        self.__dict__.pop("_stat", None)
        return (SourcePart(self.root, self._stat.etag),)

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        self.__dict__["_tree"] = tree = self._list_members(on_skip)
        yield from tree.discover(on_skip)

    def compute_stamp(self, path: str) -> str:
        return self._tree.compute_stamp(self._to_listing_path(path))

    def load_captions(self, path: str) -> FileCaptions:
        return self._tree.load_captions(self._to_listing_path(path))

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        one = self._tree.listing.get(self._to_listing_path(path))
        if one is None:
            raise UnusableFileError("unreadable", "the archive has no such member now")
        check_size(one.size, limits.max_bytes)
        return self._fetch(one, one.size)

    @cached_property
    def _byte_source(self) -> ByteSource:
        own = self._address if url_scheme(self._address) in {"http", "https"} else None
        return make_byte_source(self._address, HttpClient(own, self._options.allowed_hosts))

    @cached_property
    def _stat(self) -> FileStat:
        return self._byte_source.stat()

    @cached_property
    def _tree(self) -> ListedFiles:
        return self._list_members(lambda _: None)

    def _list_members(self, on_skip: SkipCallback) -> ListedFiles:
        listing = Listing(self._iterate_members(on_skip))
        return make_listed_files(
            listing, self._fetch, self._to_catalog_path, self._options, self._on_skip
        )

    def _iterate_members(self, on_skip: SkipCallback) -> Iterator[Entry]:
        """The regular files, with their places. What cannot be read on is told, and ends it."""
        try:
            with (
                open_buffered(self._byte_source) as file,
                tarfile.open(fileobj=file, mode="r:") as tar,
            ):
                yield from self._iterate_entries(tar, on_skip)
                file.seek(tar.offset)
                is_complete = file.read(BLOCK_BYTES) == bytes(BLOCK_BYTES)
        except (tarfile.TarError, UnusableFileError, OSError, ValueError) as error:
            on_skip(self._truncated(f"the rest cannot be read: {error}"))
            return
        if not is_complete:
            on_skip(self._truncated("the archive ends early: what follows in it is missing"))

    def _iterate_entries(self, tar: tarfile.TarFile, on_skip: SkipCallback) -> Iterator[Entry]:
        size, etag = self._stat.size, self._stat.etag
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # a million would fill the memory
            if not member.isreg() or member.issparse():
                continue
            path = _normalize_member_name(member.name)
            if path is None:
                where = display_path(f"{self.root}#{member.name}")
                on_skip(SkippedFile(where, "unsupported", "its name leads out of the archive"))
            elif member.offset_data + member.size <= size:
                changed = int(member.mtime * 1_000_000_000)
                yield make_entry(path, member.size, changed, etag, member.offset_data)

    def _fetch(self, one: Entry, max_bytes: int) -> bytes:
        size = min(max_bytes, one.size)
        data = self._byte_source.read(one.offset, one.offset + size)
        if len(data) != size:
            raise UnusableFileError(
                "unreadable", "the archive changed while being read; ingest again"
            )
        return data

    def _truncated(self, detail: str) -> SkippedFile:
        return SkippedFile(display_path(self.root), "truncated", detail)

    def _to_listing_path(self, path: str) -> str:
        return "/" + path[len(self.root) + 1 :]

    def _to_catalog_path(self, listing_path: str) -> str:
        return f"{self.root}#{listing_path[1:]}"


def is_tar(address: str) -> bool:
    """Whether a path or URL is called as a tar archive is; raises `IndexerError` for one that is
    compressed, whose members cannot be read one by one."""
    name = redact_url(address).lower()
    if name.endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")):
        raise IndexerError(
            f"{display_path(redact_url(address))} is compressed, and its pictures cannot be read one by "
            "one: unpack it, or write it again as a plain .tar"
        )
    return name.endswith(".tar")


def _normalize_member_name(name: str) -> str | None:
    """A member's name as a path from "/"; None where it leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return None if ".." in parts or not parts else "/" + "/".join(parts)
