"""Fine-tuning runs, as their folders tell of them: run.json, log.jsonl, README.md."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from app.services import get_settings
from indexer.errors import IndexerError

ELSEWHERE = "elsewhere.txt"  # in the folder of runs: folders of others, one a line
MOST_BYTES = 64 << 20  # of a file that is read whole
SILENT = 600  # seconds without a line in the log after which a run is thought to have ended
CURVE = 500  # points of a loss curve, at most

Read = TypeVar("Read")


class DamagedError(IndexerError):
    """A file that is not, or not yet, what finetune writes; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Run:
    """What run.json says; `damaged` says what is wrong with it, where something is."""

    folder: Path
    name: str
    created: str = ""  # ISO 8601, UTC
    status: str = ""  # training, done, stopped or failed
    preset: str = ""
    base: str = ""  # the model that was adapted
    pairs: int = 0
    languages: tuple[str, ...] = ()
    seconds: float = 0.0
    damaged: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether it says that it is training, and has not written for a while."""
        return self.status == "training" and time.time() - _changed(self.folder) > SILENT


def runs() -> list[Run]:
    """The runs in the folder of runs and those that were added, the newest first."""
    own = (path.parent for path in _folder().glob("*/run.json"))
    folders = dict.fromkeys([*own, *elsewhere()])
    return sorted(map(read, folders), key=lambda run: (run.created, run.name), reverse=True)


def read(folder: Path) -> Run:
    """The run in `folder`, whatever state it is in."""
    try:
        return read_json(folder / "run.json", lambda told: _run(folder, told))
    except DamagedError as error:
        return Run(folder, folder.name, damaged=str(error))


def elsewhere() -> list[Path]:
    """The folders of runs that were added by hand."""
    try:
        lines = (_folder() / ELSEWHERE).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    return [Path(line) for line in lines if line.strip()]


def add(folder: Path) -> None:
    """List the run in `folder` too; raises `IndexerError`."""
    if not (folder / "run.json").is_file():
        raise IndexerError(f"{folder} is no run: there is no run.json in it")
    _write({*elsewhere(), folder.absolute()})


def forget(folder: Path) -> None:
    """List an added run no longer; its folder stays. Raises `IndexerError`."""
    _write({*elsewhere()} - {folder})


def losses(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) from log.jsonl, thinned to `CURVE` points; lines that a crash cut are left out.

    Raises `DamagedError`.
    """
    found = {}
    for line in lines(folder / "log.jsonl"):
        step, loss = line.get("step"), line.get("loss")
        if isinstance(step, int) and isinstance(loss, int | float) and math.isfinite(loss):
            found[step] = float(loss)
    points = sorted(found.items())
    every = max(1, -(-len(points) // CURVE))
    return points[::-1][::every][::-1]  # the last one always


def card(folder: Path) -> str:
    """The model card, Markdown; empty where there is none."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            return file.read(200_000)
    except OSError:
        return ""


def read_json(path: Path, read: Callable[[Mapping[str, Any]], Read]) -> Read:
    """What `read` makes of the object in `path`; raises `DamagedError`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        return read(json.loads(path.read_text("utf-8", "surrogateescape")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DamagedError(
            f"{path} is damaged or half written ({said}); if nothing is writing it now, make it "
            "again with finetune"
        ) from error


def lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The objects of a file of JSON lines; what is none is passed over. Raises `DamagedError`."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            yield from filter(None, map(_object, file))
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror or error})") from error


def _object(line: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _run(folder: Path, told: Mapping[str, Any]) -> Run:
    return Run(
        folder,
        name=str(told.get("name") or folder.name),
        created=str(told["created"]),
        status=str(told["status"]),
        preset=str(told.get("preset") or ""),
        base=str(told["base"]["name"]),
        pairs=int(told.get("pairs") or 0),
        languages=tuple(map(str, told.get("languages") or ())),
        seconds=float(told.get("seconds") or 0),
    )


def _changed(folder: Path) -> float:
    times = []
    for name in ("log.jsonl", "run.json"):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _write(folders: set[Path]) -> None:
    text = "".join(f"{folder}\n" for folder in sorted(folders))
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        (_folder() / ELSEWHERE).write_text(text, "utf-8", "surrogateescape")
    except OSError as error:
        raise IndexerError(
            f"{_folder() / ELSEWHERE} cannot be written ({error.strerror or error})"
        ) from error


def _folder() -> Path:
    return Path(get_settings().runs)
