"""Published benchmarks, read from folders as their authors publish them. One line a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.benchmarks.place import Place

MODULES = {
    "mmeb": "mmeb:load",
    "xtd": "xtd:load",
    "xm3600": "xm3600:load",
    "flickr30k": "karpathy:flickr30k",
    "coco": "karpathy:coco",
    "flickr30k-drawn": "drawn:flickr30k",
    "coco-drawn": "drawn:coco",
    "cirr": "cirr:load",
    "cirr-subset": "cirr:subset",
    "fashioniq": "fashioniq:load",
    "sts": "sts:load",
}
"""Name -> module of this package, and its function from a `Place` to a `Benchmark`."""


def load(name: str, place: Place) -> Benchmark:
    """The benchmark called `name` from the files at `place`; raises `FinetuneError`."""
    if name not in MODULES:
        raise FinetuneError(f"no benchmark is called {name!r}; there are {', '.join(MODULES)}")
    if not place.path.exists():
        raise FinetuneError(f"{place.path} is not there")
    module, _, function = MODULES[name].partition(":")
    read: Callable[[Place], Benchmark] = getattr(import_module(f"{__name__}.{module}"), function)
    return read(place)


__all__ = ["MODULES", "Place", "load"]
