"""The file of a snapshot: a plain tar of members with known names, and the digest of each.

`snapshot.json` comes first and `digests.json` last, so a file that was cut short has no end. It is
read with nothing but its headers' names and sizes: other names, other kinds of members (links,
folders, long names) and sizes beyond the limit are refused before anything is unpacked. The format
is POSIX ustar with GNU sizes, so `tar tf` lists it.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from indexer.errors import CollectionError

FIRST, LAST = "snapshot.json", "digests.json"
CHUNK_NAME_PATTERN = re.compile(r"points/\d{8}\.[a-z0-9]+(\.[a-z]+)?\.(npy|jsonl|jpgs)")
LOCAL_NAME_PATTERN = re.compile(
    r"local/(tenants/[A-Za-z0-9][A-Za-z0-9._-]{0,63}/)?"
    r"(catalogue\.db|feedback\.jsonl|feedback/[0-9a-f]{64}(\.[a-z0-9]{1,8})?)"
)
BLOCK = 512
MAX_MEMBER_BYTES = 1 << 29  # bytes of a member that is read into memory
MOST_MEMBERS = 10_000_000
BUFFER = 1 << 20


class ArchiveWriter:
    """Writes members to `out` one after the other; `close` ends the file."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._digests = out, dict[str, str]()

    def add(self, name: str, data: bytes) -> None:
        from blake3 import blake3

        self._header(name, len(data))
        self._out.write(data)
        self._pad(len(data))
        self._digests[name] = blake3(data).hexdigest()

    def add_file(self, name: str, file: Path) -> None:
        from blake3 import blake3

        size, digest = file.stat().st_size, blake3()
        self._header(name, size)
        with file.open("rb") as source:
            left = size
            while left and (data := source.read(min(left, BUFFER))):
                digest.update(data)
                self._out.write(data)
                left -= len(data)
        if left:
            raise CollectionError(
                f"{file} became shorter while it was read; type the command again"
            )
        self._pad(size)
        self._digests[name] = digest.hexdigest()

    def close(self) -> int:
        """End the file; how many bytes it has."""
        self.add(LAST, json.dumps(self._digests).encode())
        self._out.write(bytes(2 * BLOCK))
        return self._out.tell()

    def _header(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        self._out.write(info.tobuf(tarfile.GNU_FORMAT))

    def _pad(self, size: int) -> None:
        self._out.write(bytes(-size % BLOCK))


class Archive:
    """Reads the file `path`. Every method raises `CollectionError` for what is no snapshot, a
    damaged one, or one that could do harm."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        try:
            self._members = self._scan()
            self._digests = self._read_digests()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def digest(self) -> str:
        """One for the whole."""
        return self._compute_digest(LAST)

    def names(self) -> list[str]:
        """The members, in their order."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        if name not in self._members:
            raise self.damage_error(f"it has no {name}")
        offset, size = self._members[name]
        if size > MAX_MEMBER_BYTES:
            raise self.damage_error(
                f"{name} has {size:,} bytes, and {MAX_MEMBER_BYTES:,} are the limit"
            )
        self._file.seek(offset)
        return self._file.read(size)

    def unpack(self, name: str, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("wb") as out:
            for data in self._iter_bytes(name):
                out.write(data)

    def verify(self, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Compare every member with its digest; `on_bytes` is told how far it has come."""
        total, done = sum(size for _, size in self._members.values()), 0
        for name, wanted in self._digests.items():
            if self._compute_digest(name) != wanted:
                raise self.damage_error(f"{name} is not as it was written")
            done += self._members[name][1]
            on_bytes(done, total)

    def damage_error(self, why: str) -> CollectionError:
        return CollectionError(
            f"{self.path} cannot be restored: {why}. Nothing has been changed; take another copy "
            "of the file, or make one anew: indexer snapshot"
        )

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Name -> (offset, size)."""
        members: dict[str, tuple[int, int]] = {}
        for name, offset, size in self._iter_headers():
            if not members and name != FIRST:
                raise self.damage_error("it is no snapshot of indexer snapshot")
            known = (
                name in (FIRST, LAST)
                or CHUNK_NAME_PATTERN.fullmatch(name)
                or LOCAL_NAME_PATTERN.fullmatch(name)
            )
            if not known or name in members or len(members) >= MOST_MEMBERS:
                raise self.damage_error(f"it has a member {name[:80]!r} that does not belong there")
            members[name] = offset, size
        return members

    def _iter_headers(self) -> Iterator[tuple[str, int, int]]:
        end = self.path.stat().st_size
        offset = 0
        while True:
            self._file.seek(offset)
            block = self._file.read(BLOCK)
            if block == bytes(BLOCK):
                if self._file.read(BLOCK) != block:
                    raise self.damage_error("its end is missing")
                return
            name, size = self._parse_header(block)
            offset += BLOCK
            if offset + size > end:
                raise self.damage_error("its end is missing")
            yield name, offset, size
            offset += size + -size % BLOCK

    def _parse_header(self, block: bytes) -> tuple[str, int]:
        if len(block) < BLOCK:
            raise self.damage_error("its end is missing" if block else "it is empty, or has no end")
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.TarError, ValueError):
            raise self.damage_error(
                "it is no snapshot of indexer snapshot, or is damaged"
            ) from None
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise self.damage_error(f"its member {info.name[:80]!r} is no plain file")
        return info.name, info.size

    def _read_digests(self) -> dict[str, str]:
        if list(self._members)[-1:] != [LAST]:
            raise self.damage_error("its end is missing")
        try:
            digests = json.loads(self.read(LAST))
            others = set(self._members) - {LAST}
            if not isinstance(digests, dict) or set(digests) != others:
                raise ValueError("it lists other members")
        except (ValueError, RecursionError) as error:
            raise self.damage_error(f"its {LAST} cannot be read ({error})") from None
        return digests

    def _compute_digest(self, name: str) -> str:
        from blake3 import blake3

        digest = blake3()
        for data in self._iter_bytes(name):
            digest.update(data)
        return digest.hexdigest()

    def _iter_bytes(self, name: str) -> Iterator[bytes]:
        offset, size = self._members[name]
        self._file.seek(offset)
        while size and (data := self._file.read(min(size, BUFFER))):
            yield data
            size -= len(data)


def unpack_local_state(archive: Archive, folder: Path) -> None:
    """Lay out in `folder` what the snapshot holds of a machine's own: catalogue and votes."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in archive.names():
        if name.startswith("local/"):
            archive.unpack(name, folder / name.removeprefix("local/"))
