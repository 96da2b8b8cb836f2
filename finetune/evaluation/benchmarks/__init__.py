"""Published benchmarks, read from folders as their authors publish them. One line a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.benchmarks.files import BenchmarkFiles

BENCHMARKS = {
    "mmeb": "mmeb:load",
    "xtd": "captions:xtd",
    "xm3600": "captions:xm3600",
    "flickr30k": "captions:flickr30k",
    "coco": "captions:coco",
    "flickr30k-drawn": "drawn:flickr30k",
    "coco-drawn": "drawn:coco",
    "cirr": "composed:cirr",
    "cirr-subset": "composed:cirr_subset",
    "fashioniq": "composed:fashioniq",
    "sts": "sts:load",
}
"""Name -> module of this package, and its function from `BenchmarkFiles` to a `Benchmark`."""


def load_benchmark(name: str, files: BenchmarkFiles) -> Benchmark:
    """Read the benchmark `name`; raises `FinetuneError`."""
    if name not in BENCHMARKS:
        raise FinetuneError(f"unknown benchmark {name!r}; known are {', '.join(BENCHMARKS)}")
    if not files.path.exists():
        raise FinetuneError(f"{files.path} does not exist")
    module, _, function = BENCHMARKS[name].partition(":")
    load: Callable[[BenchmarkFiles], Benchmark]
    load = getattr(import_module(f"{__name__}.{module}"), function)
    return load(files)


__all__ = ["BENCHMARKS", "BenchmarkFiles", "load_benchmark"]
