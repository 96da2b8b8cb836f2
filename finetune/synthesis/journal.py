"""Samples, costs, and the journal of a run: a JSON line per job, on disk before the next starts.

The first line names the plan. A process that is killed loses the requests in flight; a torn last
line is cut off when the journal is opened.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from embedder.files import open_private
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError, FinetuneError
from finetune.synthesis.plan import NEGATIVE, POSITIVE, QUERY, SampleImage

JOURNAL_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A revised sample. `texts` and `pictures` are keyed by role: query, positive, negative.

    The field names are the keys of the journal's JSON.
    """

    task: str
    language: str | None  # None: there is no text besides the instruction
    item: str  # content id of the anchor image
    instruction: str
    texts: Mapping[str, str]
    pictures: Mapping[str, SampleImage]

    def to_pair(self) -> Pair:
        """Convert to the training pair."""
        return Pair(
            query=self._side(QUERY, self.instruction),
            positive=self._side(POSITIVE),
            negatives=(self._side(NEGATIVE),),
            language=self.language,
            item=self.item,
            dataset=f"synthetic-{self.task}",
        )

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Sample:
        pictures = {role: SampleImage(**image) for role, image in fields["pictures"].items()}
        return Sample(**{**fields, "pictures": pictures})

    def _side(self, role: str, instruction: str | None = None) -> Side:
        image = self.pictures.get(role)
        return Side(self.texts.get(role), image.path if image else None, instruction)


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
            return {**common, "kept": asdict(self.sample)}
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


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a million tokens, in any currency; None if unknown."""

    input_price: float | None = None
    output_price: float | None = None

    @property
    def is_complete(self) -> bool:
        return self.input_price is not None and self.output_price is not None

    def compute_cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return the cost; 0 if no price is known."""
        total = tokens_in * (self.input_price or 0.0) + tokens_out * (self.output_price or 0.0)
        return total / 1e6

    def total_cost(self, outcomes: Iterable[JobOutcome]) -> float:
        """Return what `outcomes` have cost."""
        return sum(self.compute_cost(one.tokens_in, one.tokens_out) for one in outcomes)


class Journal:
    """The journal of one output file, locked by one process. Use as a context manager."""

    def __init__(self, path: Path, plan: str) -> None:
        """`plan`: its fingerprint. Raises `FinetuneError` if the journal belongs to another plan or
        process, `DataError` if it is damaged."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = open_private(path, "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.outcomes = self._read(plan)
        except BlockingIOError:
            self._file.close()
            raise FinetuneError(
                f"another finetune synthesize is writing to {path}; wait, or choose another --out"
            ) from None
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
        try:
            return {outcome.job: outcome for outcome in map(JobOutcome.from_dict, lines[1:])}
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
