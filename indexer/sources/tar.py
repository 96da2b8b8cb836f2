"""Tar archives of images and captions, as WebDataset writes them: read in place, never unpacked.

Members whose names agree up to the extension belong together: `pets/01.jpg`, `pets/01.txt`,
`pets/01.json`. (github.com/webdataset/webdataset.)
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import cached_property

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError, UnusableFileError, unreadable
from indexer.paths import display_path
from indexer.sources.base import SourcePart, check_size
from indexer.sources.filesystem import ByteSource, FileStat, make_byte_source
from indexer.sources.listing import Entry, ListedSource
from indexer.types import SkipCallback, SkippedFile

BLOCK_BYTES = 512


class TarSource(ListedSource):
    """One archive, here or at a URL. Paths are `ARCHIVE#MEMBER`."""

    def check_readable(self) -> None:
        shown = display_path(self.root)
        if not shown.lower().endswith(".tar"):
            raise IndexerError(
                f"{shown} is compressed, so its images cannot be read one by one: unpack it, or "
                "write it again as a plain .tar"
            )
        try:
            head = self._byte_source.read(0, BLOCK_BYTES)
            if head != bytes(BLOCK_BYTES):  # else an empty archive
                tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
        except UnusableFileError as error:
            raise IndexerError(f"{shown}: {error.detail}") from None
        except tarfile.TarError:
            raise IndexerError(
                f"{shown} is not a tar archive, or a compressed one: unpack it, or write it again "
                "as a plain .tar"
            ) from None

    def _has_content(self) -> bool:
        return self._byte_source.stat().size > 0

    def list_parts(self) -> tuple[SourcePart]:
        self.check_readable()
        self._stat = self._byte_source.stat()
        return (SourcePart(self.root, self._stat.etag),)

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        entry = self._listing.get(self.to_listing_path(path))
        if entry is None:
            raise unreadable("the archive no longer has this member")
        check_size(entry.size, limits.max_bytes)
        return self.fetch(entry, entry.size)

    @cached_property
    def _byte_source(self) -> ByteSource:
        return make_byte_source(self._address, self._http)

    @cached_property
    def _stat(self) -> FileStat:
        return self._byte_source.stat()

    def list_entries(self, on_skip: SkipCallback) -> Iterator[Entry]:
        """Yield the regular files with their offsets; a defect is reported and ends the list."""
        defect = ""
        try:
            with self._byte_source.open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
                yield from self._iterate_entries(tar, on_skip)
                file.seek(tar.offset)
                if file.read(BLOCK_BYTES) != bytes(BLOCK_BYTES):
                    defect = "the archive ends early: the members after that are missing"
        except (tarfile.TarError, UnusableFileError, OSError, ValueError) as error:
            defect = f"the rest cannot be read: {error}"
        if defect:
            on_skip(SkippedFile(display_path(self.root), "truncated", defect))

    def _iterate_entries(self, tar: tarfile.TarFile, on_skip: SkipCallback) -> Iterator[Entry]:
        size, etag = self._stat.size, self._stat.etag
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # a million would fill the memory
            if member.size < 0:  # what tarfile does next depends on its version
                raise tarfile.ReadError(f"the size of {member.name} is negative")
            if not member.isreg() or member.issparse():
                continue
            path = _normalize_member_name(member.name)
            if path is None:
                shown = display_path(f"{self.root}#{member.name}")
                on_skip(SkippedFile(shown, "unsupported", "its name leads out of the archive"))
            elif member.offset_data + member.size <= size:
                mtime_ns = int(member.mtime * 1_000_000_000)
                yield Entry(path, member.size, mtime_ns, etag, member.offset_data)

    def fetch(self, entry: Entry, max_bytes: int) -> bytes:
        size = min(max_bytes, entry.size)
        data = self._byte_source.read(entry.offset, entry.offset + size)
        if len(data) != size:
            raise unreadable("the archive changed while being read; ingest again")
        return data

    def to_listing_path(self, path: str) -> str:
        return "/" + path[len(self.root) + 1 :]

    def to_catalog_path(self, listing_path: str) -> str:
        return f"{self.root}#{listing_path[1:]}"


def _normalize_member_name(name: str) -> str | None:
    """Return a member's name as a path from "/"; None if it leads out of the archive."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return None if ".." in parts or not parts else "/" + "/".join(parts)
