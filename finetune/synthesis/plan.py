"""What is to be made: job after job, the same for the same seed, pictures and settings.

mmE5, section 3.1 (https://arxiv.org/abs/2502.08468): task, combination, language, pictures.
A job depends on those before it only, so that a plan can be made longer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from finetune.errors import FinetuneError
from finetune.synthesis.languages import LANGUAGES, Language
from finetune.synthesis.samples import Picture, Rejected
from finetune.synthesis.tasks import NEGATIVE, POSITIVE, QUERY, Combination, combinations

POSITIVES = 4  # nearest neighbours that a positive is drawn from
NEGATIVES = 12  # those after them, that a hard negative is drawn from


class Pictures(Protocol):
    """What is asked of a collection: see `gallery.Gallery`."""

    @property
    def ids(self) -> Sequence[str]: ...

    def picture(self, id: str) -> Picture: ...

    def neighbours(self, id: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One sample to be made. `seed` decides all that is still open."""

    number: int
    combination: Combination
    language: Language
    drawn: str  # the id of the picture that it begins with
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`tasks` and `languages` are weights by name; `basis` is whatever else the samples depend on:
    the prompts, the model that tells neighbours."""

    ids: Sequence[str]
    tasks: Mapping[str, float]
    languages: Mapping[str, float]
    seed: int = 0
    basis: str = ""

    @property
    def fingerprint(self) -> str:
        """32 hex digits of all that decides the jobs."""
        parts = [self.seed, dict(self.tasks), dict(self.languages), self.basis, list(self.ids)]
        return blake3(json.dumps(parts).encode()).hexdigest(16)

    def jobs(self, count: int) -> Iterator[Job]:
        """The first `count` jobs; raises `FinetuneError` where the pictures are too few.

        Tasks come in the exact proportion of their weights, the combinations of a task in turn,
        every picture before any comes again; languages are drawn by weight.
        """
        choices = {task: combinations(task, len(self.ids)) for task in self.tasks}
        if not all(choices.values()):
            raise FinetuneError("there are too few pictures; ingest more, or leave out a task")
        given = dict.fromkeys(self.tasks, 0)
        codes, weights = list(self.languages), list(self.languages.values())
        for number, drawn in zip(range(count), self._drawn(), strict=False):
            rng = random.Random(f"{self.seed}:{number}")
            task = min(given, key=lambda name: (given[name] + 1) / self.tasks[name])
            combination = choices[task][given[task] % len(choices[task])]
            given[task] += 1
            language = LANGUAGES[rng.choices(codes, weights)[0]]
            yield Job(number, combination, language, drawn, rng.getrandbits(32))

    def _drawn(self) -> Iterator[str]:
        """Every picture in random order, then again in another."""
        turn = 0
        while True:
            ids = list(self.ids)
            random.Random(f"{self.seed}:pictures:{turn}").shuffle(ids)
            yield from ids
            turn += 1


def cast(job: Job, pictures: Pictures) -> dict[str, Picture]:
    """The pictures of a job by role; raises `Rejected` where it has no fitting neighbours.

    A positive that is not drawn is among the nearest neighbours, a hard negative among those a bit
    further away.
    """
    found = {job.combination.drawn: pictures.picture(job.drawn)}
    wanted = [role for role in job.combination.pictures if role not in found]
    if not wanted:
        return found
    rng = random.Random(job.seed)
    near = pictures.neighbours(job.drawn)
    border = min(POSITIVES, max(1, len(near) // 3)) if POSITIVE in wanted else 0
    further = near[border : border + NEGATIVES]
    if not further:
        raise Rejected("no neighbours", "too few pictures in the collection are like it")
    if POSITIVE in wanted:
        found[POSITIVE] = pictures.picture(rng.choice(near[:border]))
    found[NEGATIVE] = pictures.picture(rng.choice(further))
    return {role: found[role] for role in (QUERY, POSITIVE, NEGATIVE) if role in found}
