"""The files next to a shard: its point count and server process. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import AuthenticationError
from pathlib import Path
from typing import IO

from embedder.files import PRIVATE, make_private_dir, replace_file, write_file
from indexer.errors import StoreError, StoreUnavailableError
from indexer.stores.edge.channel import Channel
from indexer.stores.edge.watch import STALL_TIMEOUT, Watch

STATE_FILE = "shard.json"
SERVER_FILE = "keeper.json"
LOCK_FILE = "keeper.lock"  # its text says which process holds it
LOCK_POLL_INTERVAL = 0.05  # seconds between two tries
COUNT_TIMEOUT = 5.0  # seconds for which a server process that is asked for a count may do nothing
MAX_SOCKET_DIR_BYTES = 64  # of a path: those of sockets are limited to 104 bytes (macOS) or 108


@dataclass(frozen=True, slots=True)
class ShardState:
    """The counts when the shard was last opened or closed; `is_clean` if it was closed."""

    points: int
    is_clean: bool
    vectors: Mapping[str, int] = field(default_factory=dict)  # by name


@dataclass(frozen=True, slots=True)
class FolderId:
    """Which folder it is, wherever it is moved: a copy has another inode, and a file that says so
    is from before the last start of the machine if `boot` differs."""

    device: int
    inode: int
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """How to reach a server process, and which folder it serves."""

    address: str
    key: bytes = field(repr=False)
    pid: int
    folder: FolderId


def read_state(path: Path) -> ShardState | None:
    try:
        state = json.loads((path / STATE_FILE).read_text("utf-8"))
        vectors = {str(name): int(count) for name, count in state.get("vectors", {}).items()}
        return ShardState(int(state["points"]), bool(state["clean"]), vectors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_state(path: Path, state: ShardState) -> None:
    content = {"points": state.points, "clean": state.is_clean, "vectors": dict(state.vectors)}
    write_file(path / STATE_FILE, json.dumps(content), mode=PRIVATE)


def lost_points_message(path: Path) -> str:
    """The message for a collection whose points are missing."""
    return (
        f"the points in {path} are gone. If the collection has been re-indexed, open it again (run "
        "the command again); otherwise restore a backup, or type: indexer doctor --repair, then "
        "indexer ingest FOLDER"
    )


def damage_message(path: Path, reason: str) -> str:
    """The message for a shard in `path` of which something was changed or lost."""
    return (
        f"the points in {path} are damaged: {reason}. Type: indexer doctor --repair, then indexer "
        "ingest FOLDER; your images are not touched"
    )


def read_only_message(path: Path) -> str:
    """The message for a write to a folder that can only be read."""
    return (
        f"{path} is read-only for this account: it can be searched, and nothing can be written to "
        "it. Copy it to a folder of your own, or choose another with --store"
    )


def describe_lock_holder(file: Path) -> str:
    """The process that holds a lock file, in words."""
    try:
        return file.read_text("utf-8") or "another process"
    except (OSError, ValueError):
        return "another process"


def lock_file(file: IO[bytes], *, shared: bool = False, seconds: float = 0.0) -> bool:
    """Lock an open file until it is closed; False if another process holds it for so long.

    Raises `OSError`.
    """
    import fcntl

    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, operation)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOCK_POLL_INTERVAL)


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock file `file`."""
    try:
        with file.open("rb") as lock:
            return not lock_file(lock, shared=True)
    except OSError:
        return False


def in_use_message(path: Path, lock: Path) -> str:
    """The message for a folder whose lock file `lock` a process holds that cannot be reached."""
    return (
        f"{path} is in use by {describe_lock_holder(lock)}, which does not answer here: it is "
        "closing, it hangs, or it was started by another account, in another container or on "
        "another machine. Wait until it has ended, or end it, then run the command again"
    )


def identify_folder(path: Path) -> FolderId:
    """Raises `OSError`."""
    status = path.stat()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        boot = ""
    return FolderId(status.st_dev, status.st_ino, boot)


def is_read_only(path: Path) -> bool:
    """Whether this account cannot write to the folder `path`, or nobody can."""
    return not os.access(path, os.W_OK)


def find_server_dir(path: Path) -> Path:
    """The folder of the lock, the address and the log of the shard's server process: `path`, or a
    temporary folder for a read-only one, in which it serves a copy. Raises `StoreError`,
    `OSError`."""
    if not is_read_only(path):
        return path
    folder = identify_folder(path)
    return find_private_dir() / f"read-only-{folder.device:x}-{folder.inode:x}"


def find_private_dir() -> Path:
    """A folder of this account alone, with a path that is short enough for sockets: in the
    temporary folder, or in another one where somebody else has taken the name there."""
    name = f"polylens-{os.getuid()}"
    candidates = [Path("/tmp"), Path("/var/tmp"), Path.home() / ".cache"]
    with suppress(FileNotFoundError):  # there is none
        candidates.insert(0, Path(tempfile.gettempdir()))
    for parent in candidates:
        folder = parent / name
        if len(os.fsencode(folder)) > MAX_SOCKET_DIR_BYTES:
            continue
        try:
            make_private_dir(folder)
            status = folder.lstat()
        except OSError:
            continue
        is_own = not folder.is_symlink() and status.st_uid == os.getuid()
        if is_own and not status.st_mode & 0o077 and os.access(folder, os.W_OK):
            return folder
    tried, limit = ", ".join(map(str, candidates)), MAX_SOCKET_DIR_BYTES - len(name) - 1
    raise StoreError(
        f"there is no folder for the socket of the embedded store (tried: {tried}): set TMPDIR to "
        f"a folder that you can write to, with a path of at most {limit} bytes"
    )


def read_server(path: Path) -> ServerInfo | None:
    """The server process of the folder `path`; None if there is none, or if what is written there
    is about another folder, of which this one is a copy."""
    try:
        server = json.loads((find_server_dir(path) / SERVER_FILE).read_text("utf-8"))
        info = ServerInfo(
            address=str(server["address"]),
            key=bytes.fromhex(server["key"]),
            pid=int(server["pid"]),
            folder=FolderId(**server["folder"]),
        )
        return info if info.folder == identify_folder(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_server(path: Path, server: ServerInfo) -> None:
    """Write `server` to the folder `path`, readable by this account alone: it has the key."""
    with replace_file(path / SERVER_FILE, mode=PRIVATE, sync=False) as file:
        Path(file.name).chmod(PRIVATE)  # in a shared folder too
        file.write(json.dumps({**asdict(server), "key": server.key.hex()}).encode())


def connect(
    path: Path, *, since: float | None = None, stall_timeout: float = STALL_TIMEOUT
) -> tuple[Channel, Watch] | None:
    """Connect to the running server process of the shard in `path`; None if there is none.

    Args:
        path: The folder.
        since: When the wait began, if not now (monotonic).
        stall_timeout: Seconds for which the process may do nothing; see `Watch`.

    Raises:
        StoreUnavailableError: It hangs.
    """
    server = read_server(path)
    if server is None:
        return None
    connected = socket.socket(socket.AF_UNIX)
    watch = Watch(path, server.pid, stall_timeout)
    channel = Channel(connected, watch.check)
    try:
        if os.lstat(server.address).st_uid != os.getuid():
            return None
        connected.connect(server.address)
        watch.pid = channel.read_peer_pid() or server.pid
        watch.start("connect", time.monotonic() if since is None else since)
        channel.authenticate(server.key, is_server=False)
        channel.send(server.folder)
        if channel.receive() is True:
            return channel, watch
    except (OSError, EOFError, AuthenticationError, AssertionError):  # asserts: in multiprocessing
        pass
    except BaseException:
        channel.close()
        raise
    channel.close()
    return None


def count_points(path: Path) -> int | None:
    """The number of points in `path`; None if the shard must be opened to count them, or if its
    server process hangs."""
    try:
        live = connect(path, stall_timeout=COUNT_TIMEOUT)
        if live is not None:
            channel, watch = live
            watch.start("count", time.monotonic())
            channel.send(("count", (None,)))
            ok, answer = channel.receive()
            channel.close()
            return int(answer) if ok else None
    except (OSError, EOFError, StoreUnavailableError):
        return None
    state = read_state(path)
    return state.points if state and state.is_clean else None
