"""From what a user names to the benchmark that it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune.data.files import read_pairs
from finetune.evaluation.benchmark import Benchmark, plain, sampled
from finetune.evaluation.benchmarks import Place, load
from finetune.evaluation.held_out import from_pairs


@dataclass(frozen=True, slots=True)
class Asked:
    """What is measured. `path` is a file of pairs, or the folder of the set called `benchmark`."""

    path: Path
    benchmark: str | None = None
    among: Path | None = None
    reverse: bool = False
    limit: int | None = None
    seed: int = 0
    images: Path | None = None
    font: Path | None = None
    plain: bool = False


def benchmark_of(asked: Asked, family: str, drawn: Path) -> Benchmark:
    """The benchmark, in the words of a model's `family`; captions that are drawn go into `drawn`.

    Raises `FinetuneError`.
    """
    path = asked.path.expanduser()
    if asked.benchmark:
        place = Place(path, asked.images, family, asked.font, drawn)
        found = load(asked.benchmark, place)
    else:
        among = read_pairs(asked.among.expanduser(), asked.images) if asked.among else []
        pairs = read_pairs(path, asked.images)
        found = from_pairs(pairs, path.name, str(path.absolute()), among, asked.reverse)
    found = sampled(found, asked.limit, asked.seed)
    return plain(found) if asked.plain else found
