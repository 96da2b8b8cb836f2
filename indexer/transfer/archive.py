"""The file of a snapshot: a plain tar of members with known names, and the digest of each.

`snapshot.json` is the first member and `digests.json` the last, so a file that was cut short has
no end. Names that are not expected, members that are not plain files (links, folders, extended
headers) and sizes beyond the limit are refused before anything is unpacked. The format is POSIX
ustar with GNU sizes, so `tar tf` lists it.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from blake3 import blake3

from embedder.files import make_private_dir, open_private
from indexer.errors import CollectionError

FIRST, LAST = "snapshot.json", "digests.json"
CHUNK_NAME_PATTERN = re.compile(r"points/\d{8}\.[a-z0-9]+(\.[a-z]+)?\.(npy|jsonl|jpgs)")
LOCAL_NAME_PATTERN = re.compile(
    r"local/(tenants/[A-Za-z0-9][A-Za-z0-9._-]{0,63}/)?"
    r"(catalogue\.db|feedback\.jsonl|feedback/[0-9a-f]{64}(\.[a-z0-9]{1,8})?)"
)
BLOCK = tarfile.BLOCKSIZE
MAX_MEMBER_BYTES = 1 << 29  # of a member that is read into memory
MAX_MEMBERS = 10_000_000
BUFFER_BYTES = 1 << 20


class ArchiveWriter:
    """Writes members to `out` one after the other; `close` ends the file."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._digests = out, dict[str, str]()

    def add(self, name: str, data: bytes) -> None:
        self._write(name, io.BytesIO(data), len(data))

    def add_file(self, name: str, file: Path) -> None:
        with file.open("rb") as source:
            self._write(name, source, file.stat().st_size)

    def close(self) -> int:
        """End the file; return its size in bytes."""
        self.add(LAST, json.dumps(self._digests).encode())
        self._out.write(bytes(2 * BLOCK))
        return self._out.tell()

    def _write(self, name: str, source: IO[bytes], size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        self._out.write(info.tobuf(tarfile.GNU_FORMAT))
        digest, left = blake3(), size
        while left and (data := source.read(min(left, BUFFER_BYTES))):
            digest.update(data)
            self._out.write(data)
            left -= len(data)
        if left:
            raise CollectionError(f"{name} became shorter while it was read; run the command again")
        self._out.write(bytes(-size % BLOCK))
        self._digests[name] = digest.hexdigest()


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open the snapshot `path`; raises as the methods of `Archive` do."""
    with path.open("rb") as file:
        yield Archive(path, file)


class Archive:
    """Reads the snapshot in `file`. Every method raises `CollectionError` for a file that is not a
    snapshot, is damaged, or could do harm."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self._file = path, file
        self._members = self._scan()
        self._digests = self._read_digests()
        self.names = list(self._members)  # in their order
        self.digest = self._compute_digest(LAST)  # one for the whole file

    def read(self, name: str) -> bytes:
        if name not in self._members:
            raise self.damage_error(f"{name} is missing")
        size = self._members[name][1]
        if size > MAX_MEMBER_BYTES:
            raise self.damage_error(f"{name} has {size:,} bytes; the limit is {MAX_MEMBER_BYTES:,}")
        return b"".join(self._iter_bytes(name))

    def unpack_local_state(self, folder: Path) -> None:
        """Write the catalogs and votes of the snapshot to `folder`, which is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        for name in self._members:
            if name.startswith("local/"):
                path = folder / name.removeprefix("local/")
                make_private_dir(path.parent)
                with open_private(path, "wb") as out:
                    out.writelines(self._iter_bytes(name))

    def verify(self, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Compare every member with its digest; `on_bytes` gets the bytes read and their total."""
        total, done = sum(size for _, size in self._members.values()), 0
        for name, digest in self._digests.items():
            if self._compute_digest(name) != digest:
                raise self.damage_error(f"{name} was changed after it was written")
            done += self._members[name][1]
            on_bytes(done, total)

    def damage_error(self, reason: str) -> CollectionError:
        return CollectionError(
            f"{self.path} cannot be restored: {reason}. Nothing has been changed; use another copy "
            "of the file, or create it again: indexer snapshot"
        )

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Name -> (offset, size)."""
        members: dict[str, tuple[int, int]] = {}
        end = 0
        for info in self._iter_headers():
            # an extended header (a long name, pax) lies between a member's header and its data
            if (
                info.type != tarfile.REGTYPE
                or info.size < 0
                or info.offset_data - BLOCK != info.offset
            ):
                raise self.damage_error(f"its member {info.name[:80]!r} is not a plain file")
            if not members and info.name != FIRST:
                raise self.damage_error("it is not a file of indexer snapshot")
            is_expected = (
                info.name in (FIRST, LAST)
                or CHUNK_NAME_PATTERN.fullmatch(info.name)
                or LOCAL_NAME_PATTERN.fullmatch(info.name)
            )
            if not is_expected or info.name in members or len(members) >= MAX_MEMBERS:
                raise self.damage_error(f"its member {info.name[:80]!r} does not belong there")
            members[info.name] = info.offset_data, info.size
            end = info.offset_data + info.size + -info.size % BLOCK
        self._file.seek(end)
        if list(members)[-1:] != [LAST] or self._file.read(2 * BLOCK) != bytes(2 * BLOCK):
            raise self.damage_error("its end is missing")
        return members

    def _iter_headers(self) -> Iterator[tarfile.TarInfo]:
        try:
            with tarfile.TarFile(fileobj=self._file, encoding="ascii", errors="strict") as tar:
                while (info := tar.next()) is not None:
                    yield info
        except Exception as error:  # whatever a hostile file causes in tarfile
            raise self.damage_error(
                f"it is not a file of indexer snapshot, or is damaged ({error})"
            ) from None

    def _read_digests(self) -> dict[str, str]:
        try:
            digests = json.loads(self.read(LAST))
            if not isinstance(digests, dict) or set(digests) != set(self._members) - {LAST}:
                raise ValueError("it lists other members")
        except (ValueError, RecursionError) as error:
            raise self.damage_error(f"its {LAST} cannot be read ({error})") from None
        return digests

    def _compute_digest(self, name: str) -> str:
        digest = blake3()
        for data in self._iter_bytes(name):
            digest.update(data)
        return digest.hexdigest()

    def _iter_bytes(self, name: str) -> Iterator[bytes]:
        offset, size = self._members[name]
        self._file.seek(offset)
        while size and (data := self._file.read(min(size, BUFFER_BYTES))):
            yield data
            size -= len(data)
