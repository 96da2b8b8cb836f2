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
from finetune.synthesis.samples import Rejected, SampleImage
from finetune.synthesis.tasks import NEGATIVE, POSITIVE, QUERY, Combination, available_combinations

POSITIVE_NEIGHBORS = 4  # nearest neighbours that a positive is drawn from
NEGATIVE_NEIGHBORS = 12  # those after them, that a hard negative is drawn from


class ImageSource(Protocol):
    """What is asked of a collection: see `gallery.Gallery`."""

    @property
    def ids(self) -> Sequence[str]: ...

    def get_image(self, id: str) -> SampleImage: ...

    def find_neighbors(self, id: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class SampleJob:
    """One sample to be made. `seed` decides all that is still open."""

    number: int
    combination: Combination
    language: Language
    anchor_id: str  # the id of the picture that it begins with
    seed: int


@dataclass(frozen=True, slots=True)
class SynthesisPlan:
    """`tasks` and `languages` are weights by name; `basis` is whatever else the samples depend on:
    the prompts, the model that tells neighbours."""

    ids: Sequence[str]
    tasks: Mapping[str, float]
    languages: Mapping[str, float]
    seed: int = 0
    dependencies: str = ""

    @property
    def fingerprint(self) -> str:
        """32 hex digits of all that decides the jobs."""
        parts = [
            self.seed,
            dict(self.tasks),
            dict(self.languages),
            self.dependencies,
            list(self.ids),
        ]
        return blake3(json.dumps(parts).encode()).hexdigest(16)

    def iter_jobs(self, count: int) -> Iterator[SampleJob]:
        """The first `count` jobs; raises `FinetuneError` where the pictures are too few.

        Tasks come in the exact proportion of their weights, the combinations of a task in turn,
        every picture before any comes again; languages are drawn by weight.
        """
        choices = {task: available_combinations(task, len(self.ids)) for task in self.tasks}
        if not all(choices.values()):
            raise FinetuneError("there are too few pictures; ingest more, or leave out a task")
        jobs_by_task = dict.fromkeys(self.tasks, 0)
        codes, weights = list(self.languages), list(self.languages.values())
        for number, anchor_id in zip(range(count), self._draw_images(), strict=False):
            rng = random.Random(f"{self.seed}:{number}")
            task = min(jobs_by_task, key=lambda name: (jobs_by_task[name] + 1) / self.tasks[name])
            combination = choices[task][jobs_by_task[task] % len(choices[task])]
            jobs_by_task[task] += 1
            language = LANGUAGES[rng.choices(codes, weights)[0]]
            yield SampleJob(number, combination, language, anchor_id, rng.getrandbits(32))

    def _draw_images(self) -> Iterator[str]:
        """Every picture in random order, then again in another."""
        pass_number = 0
        while True:
            ids = list(self.ids)
            random.Random(f"{self.seed}:pictures:{pass_number}").shuffle(ids)
            yield from ids
            pass_number += 1


def choose_images(job: SampleJob, source: ImageSource) -> dict[str, SampleImage]:
    """The pictures of a job by role; raises `Rejected` where it has no fitting neighbours.

    A positive that is not drawn is among the nearest neighbours, a hard negative among those a bit
    further away.
    """
    images = {job.combination.anchor_role: source.get_image(job.anchor_id)}
    missing_roles = [role for role in job.combination.image_roles if role not in images]
    if not missing_roles:
        return images
    rng = random.Random(job.seed)
    neighbors = source.find_neighbors(job.anchor_id)
    positive_count = (
        min(POSITIVE_NEIGHBORS, max(1, len(neighbors) // 3)) if POSITIVE in missing_roles else 0
    )
    negative_candidates = neighbors[positive_count : positive_count + NEGATIVE_NEIGHBORS]
    if not negative_candidates:
        raise Rejected("no neighbours", "too few pictures in the collection are like it")
    if POSITIVE in missing_roles:
        images[POSITIVE] = source.get_image(rng.choice(neighbors[:positive_count]))
    images[NEGATIVE] = source.get_image(rng.choice(negative_candidates))
    return {role: images[role] for role in (QUERY, POSITIVE, NEGATIVE) if role in images}
