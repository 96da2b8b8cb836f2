"""The plan of a run: its jobs, the same for the same seed, images and settings.

Each job draws a task, a combination, a language and images, as in mmE5, section 3
(https://arxiv.org/abs/2502.08468). A job depends only on the jobs before it, so a plan can be
extended.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import isfinite
from pathlib import Path

from blake3 import blake3

from finetune.errors import FinetuneError

QUERY, POSITIVE, NEGATIVE = "query", "positive", "negative"


@dataclass(frozen=True, slots=True)
class Language:
    """A language to write in, from XLM-R's list (https://arxiv.org/abs/1911.02116, appendix A).

    `code`: lower-case BCP 47 tag; `scripts`: first words of its letters' names.
    """

    code: str
    name: str
    weight: int  # languages with more written text are drawn more often
    scripts: tuple[str, ...]


def _read_languages() -> Iterator[Language]:
    table = Path(__file__).with_name("languages.csv").read_text("utf-8")
    for row in csv.DictReader(table.splitlines()):
        scripts = tuple(row["scripts"].split())
        yield Language(row["code"], row["name"], int(row["weight"]), scripts)


LANGUAGES = {language.code: language for language in _read_languages()}


def parse_language_weights(text: str | None) -> dict[str, float]:
    """Parse `en=3,ja,de=0.5` to weights by code; None selects all languages."""
    if text is None:
        return {code: language.weight for code, language in LANGUAGES.items()}
    return parse_weights(text, LANGUAGES, "--languages")


def parse_weights(text: str, choices: Collection[str], option: str) -> dict[str, float]:
    """Parse `classification=1,vqa=1,retrieval` to positive weights by name.

    A name without a weight has weight 1, and a weight of 0 removes the name. Raises
    `FinetuneError`.
    """
    weights: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (part.strip().lower() for part in item.partition("="))
        if name not in choices:
            raise FinetuneError(
                f"{option}: unknown name {name!r}; choose from {', '.join(choices)}"
            )
        try:
            weights[name] = float(number or "1")
        except ValueError:
            weights[name] = -1.0
        if not isfinite(weights[name]) or weights[name] < 0:
            raise FinetuneError(f"{option}: the weight in {item!r} must be a number, 0 or more")
    positive = {name: weight for name, weight in weights.items() if weight > 0}
    if not positive:
        raise FinetuneError(f"{option}: nothing is left to choose from; write NAME=WEIGHT,...")
    return positive


@dataclass(frozen=True, slots=True)
class Combination:
    """A task with the kinds of its two sides: `i` an image, `t` text, `it` both."""

    task: str
    query: str
    document: str

    @property
    def name(self) -> str:
        """The name as mmE5 writes it: `IT->T`."""
        return f"{self.query}->{self.document}".upper()

    @property
    def image_roles(self) -> tuple[str, ...]:
        """Roles of the images that the language model sees.

        The first is that of the anchor, which is drawn at random; the others are its neighbors.
        """
        return self._roles("i")

    @property
    def text_roles(self) -> tuple[str, ...]:
        """Roles of the texts that the language model writes besides the instruction."""
        return self._roles("t")

    def _roles(self, kind: str) -> tuple[str, ...]:
        query = (QUERY,) if kind in self.query else ()
        return query + ((POSITIVE, NEGATIVE) if kind in self.document else ())


COMBINATIONS = {
    task: tuple(Combination(task, *kinds.split(">")) for kinds in names.split())
    for task, names in {
        "classification": "i>t it>t",
        "vqa": "it>t",
        "retrieval": "i>t it>t t>it t>i i>i it>i it>it",
    }.items()
}


class Rejected(Exception):  # noqa: N818  an outcome, not an error
    """A sample that is not kept. `reason` is counted in the report, `detail` is for debugging."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class SampleImage:
    """A point of the collection: its id, the id of its content, and the path of its file."""

    id: str
    content: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleJob:
    """One sample to generate. `seed` decides everything that is still random."""

    number: int
    combination: Combination
    language: Language
    anchor_id: str  # id of the first image; the others are its neighbors
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisPlan:
    """The jobs of a run. `tasks` and `languages`: weights by name; `dependencies`: a digest of
    everything else that the samples depend on (prompts, embedding model)."""

    ids: Sequence[str]
    tasks: Mapping[str, float]
    languages: Mapping[str, float]
    seed: int = 0
    dependencies: str = ""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the jobs, 32 hex digits."""
        weights = (dict(self.tasks), dict(self.languages))
        parts = [self.seed, *weights, self.dependencies, list(self.ids)]
        return blake3(json.dumps(parts).encode()).hexdigest(16)

    def iter_jobs(self, number_of_jobs: int) -> Iterator[SampleJob]:
        """Yield the first jobs; raises `FinetuneError` if there are too few images.

        Tasks come in exact proportion to their weights, a task's combinations in turn, and every
        image once before any is repeated. Languages are drawn by weight.
        """
        choices = {
            task: [c for c in COMBINATIONS[task] if len(c.image_roles) <= len(self.ids)]
            for task in self.tasks
        }
        if not all(choices.values()):
            raise FinetuneError(
                "the collection has too few images for the tasks; ingest more, or leave out a task"
            )
        jobs_by_task = dict.fromkeys(self.tasks, 0)
        codes, weights = list(self.languages), list(self.languages.values())
        for number, anchor_id in zip(range(number_of_jobs), self._draw_images(), strict=False):
            rng = random.Random(f"{self.seed}:{number}")
            task = min(jobs_by_task, key=lambda name: (jobs_by_task[name] + 1) / self.tasks[name])
            combination = choices[task][jobs_by_task[task] % len(choices[task])]
            jobs_by_task[task] += 1
            language = LANGUAGES[rng.choices(codes, weights)[0]]
            yield SampleJob(
                number=number,
                combination=combination,
                language=language,
                anchor_id=anchor_id,
                seed=rng.getrandbits(32),
            )

    def _draw_images(self) -> Iterator[str]:
        """Yield every image in random order, then again in another order."""
        for pass_number in count():
            ids = list(self.ids)
            random.Random(f"{self.seed}:pictures:{pass_number}").shuffle(ids)
            yield from ids
