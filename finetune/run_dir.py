"""The folder of a training run: what was asked, what it was given, how it went, what came of it.

run.json        who, when, from what, how far
config.yaml     the recipe, whole
log.jsonl       a line now and then: step, loss, rate, seconds
loss.svg        the same, drawn
README.md       the model's card
model/          what --model RUN loads
checkpoints/    to go on from
evaluation/     before and after, on what was held out
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from blake3 import blake3

from finetune.errors import FinetuneError
from finetune.training.presets import Recipe

FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunDir:
    """One run's folder."""

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
        """run.json; empty where there is none. Raises `FinetuneError` where it is damaged."""
        path = self.folder / "run.json"
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise FinetuneError(f"{path} is damaged ({error}); choose another --out") from error

    def start(self, recipe: Recipe, metadata: Mapping[str, Any]) -> None:
        """Make the folder, or go on in the one that a run with the same recipe and data left.

        Raises `FinetuneError` where something else is there.
        """
        before = self.read_metadata()
        if before:
            self._check_resumable(before, recipe, metadata)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise FinetuneError(f"{self.folder} is no run's folder, and not empty; choose another")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(
            yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True), "utf-8"
        )
        created = before.get("created") or datetime.now(UTC).isoformat(timespec="seconds")
        self.update_metadata(
            {"format": FORMAT, "name": self.folder.name, "created": created, **metadata}
        )

    def update_metadata(self, changes: Mapping[str, Any]) -> None:
        """Put `news` into run.json."""
        fresh = self.folder / f"run.json.{os.getpid()}"
        fresh.write_text(
            json.dumps({**self.read_metadata(), **changes}, indent=2, ensure_ascii=False), "utf-8"
        )
        fresh.replace(self.folder / "run.json")

    def append_log(self, line: Mapping[str, Any]) -> None:
        with (self.folder / "log.jsonl").open("ab+") as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                file.write(b"\n")  # a crash cut the line before
            file.write(json.dumps(line).encode() + b"\n")

    def read_log(self) -> list[dict[str, Any]]:
        """The log; of a step that was done twice, the later line."""
        path = self.folder / "log.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        found = {line["step"]: line for line in _parse_lines(lines)}
        return [found[step] for step in sorted(found)]

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint that was written whole."""
        found = [p for p in self.checkpoints.glob("checkpoint-*") if _is_complete(p)]
        return max(found, key=_checkpoint_step, default=None)

    def _check_resumable(
        self, before: Mapping[str, Any], recipe: Recipe, metadata: Mapping[str, Any]
    ) -> None:
        if before.get("status") == "done":
            raise FinetuneError(f"the run in {self.folder} is done; choose another --out")
        config = yaml.safe_load((self.folder / "config.yaml").read_text("utf-8"))
        changed = [key for key, value in recipe.to_dict().items() if config.get(key) != value]
        changed += ["the data"] if before.get("data") != metadata.get("data") else []
        if changed:
            raise FinetuneError(
                f"{self.folder} holds a run that was begun with other settings "
                f"({', '.join(changed)}); give the same to go on with it, or choose another --out"
            )


def describe_files(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The files of a run's data: their paths and contents' digests."""
    return [{"path": str(path.absolute()), "blake3": _hash_files(path)} for path in paths]


def _hash_files(path: Path) -> str:
    total = blake3()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update_mmap(str(file))
    return total.hexdigest(16)


def _parse_lines(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # a line that a crash cut
            continue


def _checkpoint_step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[-1])


def _is_complete(checkpoint: Path) -> bool:
    """The trainer's state is what is written last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True
