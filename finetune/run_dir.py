"""The run directory of a training run: its files, and how to read them back.

run.json        who, when, from which data, how far
config.yaml     the complete recipe
log.jsonl       step, loss, learning rate, seconds; one line per logged step
loss.svg        the loss curve
README.md       the model card
model/          what --model RUN loads
checkpoints/    to resume from
evaluation/     comparisons before and after, on held-out pairs

The app reads these files too, so importing this module needs no extra.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder.files import make_private_dir, write_file
from finetune.errors import DataError, FinetuneError

FORMAT = 1
MAX_JSON_BYTES = 64 << 20
STALLED_SECONDS = 600  # a run in training that has not written for this long has probably ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What run.json says; `error` says why it cannot be read, where it cannot."""

    folder: Path
    name: str
    created: str = ""  # ISO 8601, UTC
    status: str = ""  # training, done, stopped or failed
    preset: str = ""
    base: str = ""  # the model that was adapted
    pairs: int = 0
    languages: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class RunDir:
    """The files of one training run."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    def read_metadata(self) -> dict[str, Any]:
        """Read run.json; empty where there is none.

        Raises:
            FinetuneError: run.json is damaged.
        """
        path = self.folder / "run.json"
        if not path.exists():
            return {}
        try:
            return read_json_object(path)
        except DataError as error:
            raise FinetuneError(f"{error}, or choose another --out") from error

    def start(self, config: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Create the directory, or resume one that a run with the same recipe and data left.

        Args:
            config: The complete recipe, as plain values; written to config.yaml.
            metadata: Written to run.json. `data` must match where a run is resumed.

        Raises:
            FinetuneError: The directory holds something else.
        """
        previous = self.read_metadata()
        if previous:
            self._check_resumable(previous, config, metadata)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise FinetuneError(
                f"{self.folder} is not empty and not a run directory; choose another --out"
            )
        make_private_dir(self.folder)
        import yaml

        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_file(self.folder / "config.yaml", text)
        created = previous.get("created") or datetime.now(UTC).isoformat(timespec="seconds")
        name = self.folder.name
        self.update_metadata({"format": FORMAT, "name": name, "created": created, **metadata})

    def update_metadata(self, changes: Mapping[str, Any]) -> None:
        """Merge `changes` into run.json."""
        metadata = {**self.read_metadata(), **changes}
        text = json.dumps(metadata, indent=2, ensure_ascii=False)
        write_file(self.folder / "run.json", text)

    def append_log(self, line: Mapping[str, Any]) -> None:
        with (self.folder / "log.jsonl").open("ab+") as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                file.write(b"\n")  # a crash cut the previous line
            file.write(json.dumps(line).encode() + b"\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Read the log in the order of steps; of a repeated step, the later line counts."""
        lines: dict[int, dict[str, Any]] = {}
        path = self.folder / "log.jsonl"
        text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
        for line in text.splitlines():
            with suppress(ValueError, RecursionError):  # a crash cut this line
                fields = json.loads(line)
                if isinstance(fields, dict) and isinstance(fields.get("step"), int):
                    lines[fields["step"]] = fields
        return [lines[step] for step in sorted(lines)]

    def read_losses(self, max_points: int | None = None) -> list[tuple[int, float]]:
        """Read (step, loss), thinned to `max_points`; the last step is always kept."""
        points = [
            (line["step"], float(line["loss"]))
            for line in self.read_log()
            if isinstance(line.get("loss"), int | float) and math.isfinite(line["loss"])
        ]
        every = max(1, -(-len(points) // max_points)) if max_points else 1
        return points[::-1][::every][::-1]

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint."""
        complete = [path for path in self.checkpoints.glob("checkpoint-*") if _is_complete(path)]
        return max(complete, key=lambda path: int(path.name.rsplit("-", 1)[-1]), default=None)

    def describe(self) -> RunInfo:
        """Summarize the run, whatever state its files are in."""
        try:
            metadata = read_json_object(self.folder / "run.json")
            return RunInfo(
                folder=self.folder,
                name=str(metadata.get("name") or self.folder.name),
                created=str(metadata["created"]),
                status=str(metadata["status"]),
                preset=str(metadata.get("preset") or ""),
                base=str(metadata["base"]["name"]),
                pairs=int(metadata.get("pairs") or 0),
                languages=tuple(map(str, metadata.get("languages") or ())),
                seconds=float(metadata.get("seconds") or 0),
            )
        except DataError as error:
            reason = str(error)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{self.folder / 'run.json'} is damaged ({error!r}); train again"
        return RunInfo(folder=self.folder, name=self.folder.name, error=reason)

    def seconds_since_write(self) -> float:
        """Seconds since log.jsonl or run.json was written; infinite where there is neither."""
        paths = [self.folder / name for name in ("log.jsonl", "run.json")]
        times = [path.stat().st_mtime for path in paths if path.is_file()]
        return time.time() - max(times, default=-math.inf)

    def list_evaluations(self) -> list[Path]:
        """The folders of the run's comparisons and evaluations, the newest first."""
        names = ("comparison.json", "report.json")
        files = [path for name in names for path in self.evaluation.glob(f"*/{name}")]
        files.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return list(dict.fromkeys(path.parent for path in files))

    def _check_resumable(
        self, previous: Mapping[str, Any], config: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        if previous.get("status") == "done":
            raise FinetuneError(f"the run in {self.folder} is done; choose another --out")
        import yaml

        saved = yaml.safe_load((self.folder / "config.yaml").read_text("utf-8"))
        changed = [key for key, value in config.items() if saved.get(key) != value]
        changed += ["the data"] if previous.get("data") != metadata.get("data") else []
        if changed:
            raise FinetuneError(
                f"{self.folder} holds a run that was started with other settings "
                f"({', '.join(changed)}); give the same to resume it, or choose another --out"
            )


def list_runs(root: Path) -> list[RunDir]:
    """The run directories directly below `root`."""
    return [RunDir(path.parent) for path in sorted(root.glob("*/run.json"))]


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object that finetune wrote.

    Raises:
        DataError: There is no such file, or it is not a JSON object of at most 64 MB.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"it is larger than {MAX_JSON_BYTES >> 20} MB")
        return dict(json.loads(path.read_text("utf-8", "surrogateescape")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged or incomplete ({error}); if nothing is writing it now, create it "
            "again with finetune"
        ) from error


def _is_complete(checkpoint: Path) -> bool:
    """The trainer writes its state last; a power cut may leave empty files."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
        return all(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    except (OSError, ValueError):
        return False
