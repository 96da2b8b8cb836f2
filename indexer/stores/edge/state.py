"""The files next to a shard: its point count and server process. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError, connection
from pathlib import Path

from embedder.files import write_file

STATE_FILE = "shard.json"
SERVER_FILE = "keeper.json"


@dataclass(frozen=True, slots=True)
class ShardState:
    """The counts when the shard was last opened or closed; `is_clean` if it was closed."""

    points: int
    is_clean: bool
    vectors: Mapping[str, int] = field(default_factory=dict)  # by name


def read_state(path: Path) -> ShardState | None:
    try:
        state = json.loads((path / STATE_FILE).read_text("utf-8"))
        vectors = {str(name): int(count) for name, count in state.get("vectors", {}).items()}
        return ShardState(int(state["points"]), bool(state["clean"]), vectors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_state(path: Path, state: ShardState) -> None:
    content = {"points": state.points, "clean": state.is_clean, "vectors": dict(state.vectors)}
    write_private_json(path / STATE_FILE, content)


def lost_points_message(path: Path) -> str:
    """The message for a collection whose points are missing."""
    return (
        f"the points in {path} are gone. If the collection has been re-indexed, open it again (run "
        "the command again); otherwise restore a backup, or delete that folder and ingest again"
    )


def damage_message(path: Path, reason: str) -> str:
    """The message for a shard in `path` of which something was changed or lost."""
    return (
        f"the points in {path} are damaged: {reason}. Type: indexer doctor --repair, then indexer "
        "ingest FOLDER; your images are not touched"
    )


def write_private_json(path: Path, content: dict[str, object]) -> None:
    """Replace the file durably, readable only by its owner."""
    write_file(path, json.dumps(content), mode=0o600)


def connect(path: Path) -> connection.Connection | None:
    """Connect to the running server process of the shard in `path`; None if there is none."""
    try:
        server = json.loads((path / SERVER_FILE).read_text("utf-8"))
        return connection.Client(server["address"], authkey=bytes.fromhex(server["key"]))
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    except AuthenticationError:
        return None


def count_points(path: Path) -> int | None:
    """The number of points in `path`; None if the shard must be opened to count them."""
    live = connect(path)
    if live is not None:
        with live:
            try:
                live.send(("count", (None,)))
                ok, answer = live.recv()
            except (OSError, EOFError):
                return None
            return int(answer) if ok else None
    state = read_state(path)
    return state.points if state and state.is_clean else None
