"""The small files beside a shard: how many points it held, and who keeps it now. Stdlib alone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from multiprocessing import AuthenticationError, connection
from pathlib import Path

STATE_FILE = "shard.json"
SERVER_FILE = "keeper.json"


@dataclass(frozen=True, slots=True)
class ShardState:
    """The points of a shard when it was last opened or closed; `clean` if it was closed."""

    points: int
    is_clean: bool


def read_state(path: Path) -> ShardState | None:
    try:
        plain = json.loads((path / STATE_FILE).read_text("utf-8"))
        return ShardState(int(plain["points"]), bool(plain["clean"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(path: Path, state: ShardState) -> None:
    write_private_json(path / STATE_FILE, {"points": state.points, "clean": state.is_clean})


def lost_points_message(path: Path) -> str:
    """What to say where the points of `path` have gone."""
    return (
        f"the points in {path} are gone. If the collection has been re-indexed, open it anew (type "
        "the command again); otherwise restore a backup, or delete that folder and ingest again"
    )


def write_private_json(path: Path, plain: dict[str, object]) -> None:
    """Write JSON that only its owner may read, whole or not at all."""
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(plain, file)
    fresh.replace(path)


def connect(path: Path) -> connection.Connection | None:
    """Connect to the running server process of the shard in `path`; None where there is none."""
    try:
        keeper = json.loads((path / SERVER_FILE).read_text("utf-8"))
        return connection.Client(keeper["address"], authkey=bytes.fromhex(keeper["key"]))
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    except AuthenticationError:
        return None


def count_points(path: Path) -> int | None:
    """How many points the collection in `path` holds; None where only opening it can tell."""
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
