"""From what a user names to the benchmark that it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune.data.files import read_pairs
from finetune.evaluation.benchmark import Benchmark, sample_queries, strip_instructions
from finetune.evaluation.benchmarks import BenchmarkFiles, load_benchmark
from finetune.evaluation.pair_benchmark import benchmark_from_pairs


@dataclass(frozen=True, slots=True)
class BenchmarkRequest:
    """What is measured. `path` is a file of pairs, or the folder of the set called `benchmark`."""

    path: Path
    benchmark: str | None = None
    among: Path | None = None
    reverse: bool = False
    limit: int | None = None
    seed: int = 0
    images: Path | None = None
    font: Path | None = None
    without_instructions: bool = False


def build_benchmark(request: BenchmarkRequest, family: str, drawings_dir: Path) -> Benchmark:
    """The benchmark, in the words of a model's `family`; captions that are drawn go into `drawn`.

    Raises `FinetuneError`.
    """
    path = request.path.expanduser()
    if request.benchmark:
        place = BenchmarkFiles(path, request.images, family, request.font, drawings_dir)
        found = load_benchmark(request.benchmark, place)
    else:
        among = read_pairs(request.among.expanduser(), request.images) if request.among else []
        pairs = read_pairs(path, request.images)
        found = benchmark_from_pairs(pairs, path.name, str(path.absolute()), among, request.reverse)
    found = sample_queries(found, request.limit, request.seed)
    return strip_instructions(found) if request.without_instructions else found
