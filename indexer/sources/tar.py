"""An archive of pictures and captions, as WebDataset has them: read where it lies, never unpacked.

The members whose names agree up to an extension belong together: `pets/01.jpg`, `pets/01.txt`,
`pets/01.json`. (github.com/webdataset/webdataset.)
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from indexer.captions import Described
from indexer.decode import Limits
from indexer.errors import IndexerError
from indexer.skips import Undecodable
from indexer.sources.addresses import clean, scheme
from indexer.sources.blobs import Blob, Stat, blob_of, opened
from indexer.sources.listing import Entry, Listing, entry
from indexer.sources.protocol import Part, Reading, Report
from indexer.sources.tree import Tree, checked_size, tree_of
from indexer.sources.web import Web
from indexer.types import Skip
from indexer.walk import Found, printable

BLOCK = 512


class TarSource:
    """One archive, here or at a URL. Paths are `ARCHIVE#MEMBER`."""

    is_folder = False

    def __init__(
        self, address: str, reading: Reading | None = None, skip: Report | None = None
    ) -> None:
        self._address, self._reading = address, reading or Reading()
        self.root = clean(address)
        self._skip = skip

    def __reduce__(self) -> tuple[Any, ...]:
        return TarSource, (self._address, self._reading)

    def require(self) -> None:
        try:
            head = self._blob.read(0, BLOCK)
            if head == bytes(BLOCK):
                return  # an archive of nothing
            tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
        except Undecodable as error:
            raise IndexerError(f"{printable(self.root)}: {error.detail}") from None
        except tarfile.TarError:
            raise IndexerError(
                f"{printable(self.root)} is no tar archive, or a compressed one: "
                "unpack that, or write it again as a plain .tar"
            ) from None

    def is_there(self) -> bool:
        try:
            return self._blob.stat().size > 0
        except (IndexerError, Undecodable):
            return False

    def parts(self) -> tuple[Part]:
        self.require()
        self.__dict__.pop("_stat", None)
        return (Part(self.root, self._stat.mark),)

    def found(self, part: Part, skip: Report) -> Iterator[Found]:
        self.__dict__["_tree"] = tree = self._listed(skip)
        yield from tree.found(skip)

    def stamp(self, path: str) -> str:
        return self._tree.stamp(self._inner(path))

    def captions_for(self, path: str) -> Described:
        return self._tree.captions_for(self._inner(path))

    def read(self, path: str, limits: Limits) -> bytes:
        one = self._tree.listing.get(self._inner(path))
        if one is None:
            raise Undecodable("unreadable", "the archive has no such member now")
        checked_size(one.size, limits.bytes)
        return self._fetch(one, one.size)

    @cached_property
    def _blob(self) -> Blob:
        own = self._address if scheme(self._address) in {"http", "https"} else None
        return blob_of(self._address, Web(own, self._reading.hosts))

    @cached_property
    def _stat(self) -> Stat:
        return self._blob.stat()

    @cached_property
    def _tree(self) -> Tree:
        return self._listed(lambda _: None)

    def _listed(self, skip: Report) -> Tree:
        listing = Listing(self._members(skip))
        return tree_of(listing, self._fetch, self._shown, self._reading, self._skip)

    def _members(self, skip: Report) -> Iterator[Entry]:
        """The regular files, with their places. What cannot be read on is told, and ends it."""
        try:
            with opened(self._blob) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                yield from self._entries(tar, skip)
                file.seek(tar.offset)
                whole = file.read(BLOCK) == bytes(BLOCK)
        except (tarfile.TarError, Undecodable, OSError, ValueError) as error:
            skip(self._torn(f"the rest cannot be read: {error}"))
            return
        if not whole:
            skip(self._torn("the archive ends early: what follows in it is missing"))

    def _entries(self, tar: tarfile.TarFile, skip: Report) -> Iterator[Entry]:
        size, mark = self._stat.size, self._stat.mark
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # a million would fill the memory
            if not member.isreg() or member.issparse():
                continue
            path = _normal(member.name)
            if path is None:
                where = printable(f"{self.root}#{member.name}")
                skip(Skip(where, "unsupported", "its name leads out of the archive"))
            elif member.offset_data + member.size <= size:
                changed = int(member.mtime * 1_000_000_000)
                yield entry(path, member.size, changed, mark, member.offset_data)

    def _fetch(self, one: Entry, most: int) -> bytes:
        size = min(most, one.size)
        data = self._blob.read(one.place, one.place + size)
        if len(data) != size:
            raise Undecodable("unreadable", "the archive changed while being read; ingest again")
        return data

    def _torn(self, detail: str) -> Skip:
        return Skip(printable(self.root), "truncated", detail)

    def _inner(self, path: str) -> str:
        return "/" + path[len(self.root) + 1 :]

    def _shown(self, inner: str) -> str:
        return f"{self.root}#{inner[1:]}"


def is_tar(address: str) -> bool:
    """Whether a path or URL is called as a tar archive is; raises `IndexerError` for one that is
    compressed, whose members cannot be read one by one."""
    name = clean(address).lower()
    if name.endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")):
        raise IndexerError(
            f"{printable(clean(address))} is compressed, and its pictures cannot be read one by "
            "one: unpack it, or write it again as a plain .tar"
        )
    return name.endswith(".tar")


def _normal(name: str) -> str | None:
    """A member's name as a path from "/"; None where it leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return None if ".." in parts or not parts else "/" + "/".join(parts)
