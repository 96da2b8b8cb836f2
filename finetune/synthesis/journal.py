"""The journal of a run: a JSON line per finished job, on disk before the next job starts.

The first line names the plan. A process that is killed loses the requests in flight; a torn last
line is cut off when the journal is opened.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from finetune.errors import DataError, FinetuneError
from finetune.synthesis.samples import Sample

JOURNAL_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """A job's result: a sample, or the reason for its rejection; the tokens used; the model."""

    job: int
    sample: Sample | None = None
    reason: str = ""
    detail: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    llm: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Convert to a line's JSON."""
        tokens = {"in": self.tokens_in, "out": self.tokens_out}
        common = {"job": self.job, "by": self.llm, "tokens": tokens}
        if self.sample is not None:
            return {**common, "kept": self.sample.to_dict()}
        return {**common, "rejected": self.reason, "detail": self.detail}

    @staticmethod
    def from_dict(line: dict[str, Any]) -> JobOutcome:
        return JobOutcome(
            job=int(line["job"]),
            sample=Sample.from_dict(line["kept"]) if "kept" in line else None,
            reason=line.get("rejected", ""),
            detail=line.get("detail", ""),
            tokens_in=line["tokens"]["in"],
            tokens_out=line["tokens"]["out"],
            llm=line["by"],
        )


class Journal:
    """The journal of one output file, locked by one process. Use as a context manager."""

    def __init__(self, path: Path, plan: str) -> None:
        """`plan`: its fingerprint. Raises `FinetuneError` if the journal belongs to another plan or
        process, `DataError` if it is damaged."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("a+b")
        try:
            _lock_file(self._file, path)
            self.outcomes = self._read(plan)
        except BaseException:
            self._file.close()
            raise

    def add(self, outcome: JobOutcome) -> None:
        """Write an outcome; it is on disk when this returns."""
        self._write_line(outcome.to_dict())
        self.outcomes[outcome.job] = outcome

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self, plan: str) -> dict[int, JobOutcome]:
        self._file.seek(0)
        data = self._file.read()
        complete_lines = data[: data.rfind(b"\n") + 1]
        if len(complete_lines) < len(data):
            self._file.truncate(len(complete_lines))
        lines = [self._parse_line(line, n) for n, line in enumerate(complete_lines.splitlines(), 1)]
        if len(lines) < 2:  # nothing is done, so any plan may start here
            self._file.truncate(0)
            self._write_line({"format": JOURNAL_VERSION, "plan": plan})
            return {}
        if lines[0].get("plan") != plan:
            raise FinetuneError(
                f"{self._path} belongs to another plan: the seed, tasks, languages, prompts or the "
                "collection's images have changed. Repeat the original command, or choose another "
                "--out"
            )
        return self._parse_outcomes(lines[1:])

    def _parse_outcomes(self, lines: list[dict[str, Any]]) -> dict[int, JobOutcome]:
        try:
            return {outcome.job: outcome for outcome in map(JobOutcome.from_dict, lines)}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self._path} is not a synthesis journal ({error!r})") from None

    def _parse_line(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            raise DataError(
                f"{self._path}, line {number} is damaged: delete it to run its job again"
            ) from None

    def _write_line(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _lock_file(file: IO[bytes], path: Path) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FinetuneError(
            f"another finetune synthesize is writing to {path}; wait, or choose another --out"
        ) from None
