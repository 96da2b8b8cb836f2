"""Published benchmarks, read from folders as their authors publish them. One line a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from finetune.errors import DataError, FinetuneError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet

BENCHMARKS = {
    "mmeb": "mmeb:load",
    "mmeb-visdoc": "visual_documents:load",
    "mcmr": "mcmr:load",
    "xtd": "captions:xtd",
    "xm3600": "captions:xm3600",
    "flickr30k": "captions:flickr30k",
    "coco": "captions:coco",
    "flickr30k-drawn": "drawn:flickr30k",
    "coco-drawn": "drawn:coco",
    "cirr": "composed:cirr",
    "cirr-subset": "composed:cirr_subset",
    "cirr-test": "composed:cirr_test",
    "fashioniq": "composed:fashioniq",
    "sts": "sts:load",
}
"""Name -> module of this package, and its function from `BenchmarkFiles` to a `Benchmark`."""

E5V = "e5v"
MTEB_PREFIX = "mteb:"
"""Of the names of mteb's tasks and benchmarks, which `finetune.evaluation.mteb_tasks` runs."""


def load_benchmark(name: str, files: BenchmarkFiles) -> Benchmark:
    """Read the benchmark `name`; raises `FinetuneError`."""
    if "video" in name:
        raise FinetuneError(f"{name!r} has films, which cannot be evaluated yet")
    if name not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise FinetuneError(f"unknown benchmark {name!r}; known are {known}, and {MTEB_PREFIX}TASK")
    if not files.path.exists():
        raise FinetuneError(f"{files.path} does not exist")
    module, _, function = BENCHMARKS[name].partition(":")
    load: Callable[[BenchmarkFiles], Benchmark]
    load = getattr(import_module(f"{__name__}.{module}"), function)
    return load(files)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkFiles:
    """Where the files of a benchmark are, and for which model family they are read."""

    path: Path  # a folder, or a file in it
    images: Path | None = None  # their folder, where they are elsewhere
    family: str = ""  # the model's; the instructions of its authors are used
    font: Path | None = None  # for drawn captions
    extracted_dir: Path | None = None  # where drawn captions and images of tables are written

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def build(
        self,
        name: str,
        main: str,
        metrics: tuple[str, ...],
        queries: Iterable[BenchmarkQuery],
        documents: DocumentSet,
        **options: Any,
    ) -> Benchmark:
        """A benchmark from these files; `options` are other fields of `Benchmark`."""
        return Benchmark(
            name=name,
            source=str(self.path),
            main=main,
            metrics=metrics,
            queries=tuple(queries),  # before the documents, which may be added meanwhile
            documents=tuple(documents.sides),
            **options,
        )

    def instruction_for(self, instruction: str) -> str | None:
        """`instruction`, MMEB's or similar; None for E5-V, which follows none of those."""
        return None if self.family == E5V else instruction

    def find_file(self, name: str, description: str, url: str) -> Path:
        """The file `name` in the folder or below; raises `DataError`, which says what it is and
        where it is published."""
        if self.path.is_file() and self.path.name == name:
            return self.path
        direct = self.folder / name
        found = [direct] if direct.is_file() else sorted(self.folder.rglob(name))
        if not found:
            raise DataError(
                f"{self.folder} has no {name}, {description}; the set is published at {url}"
            )
        return found[0]

    def image_path(self, name: str, *folders: str) -> str:
        """The path of an image: in `images`, in one of `folders` beside the annotations, or as the
        name says. An image that does not exist is reported later, with all others."""
        if self.images:
            roots = [self.images, *(self.images / folder for folder in folders)]
        else:
            roots = [self.folder / folder for folder in folders] + [self.folder]
        for root in roots:
            if (root / name).is_file():
                return str(root / name)
        return str(roots[0] / name)


def read_json(path: Path) -> Any:
    """Raises `DataError`."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without an empty one at the end; raises `DataError`."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from None
    return text.removesuffix("\n").split("\n")


def require_field(row: Mapping[str, Any], name: str, path: Path) -> Any:
    """`row[name]`; raises `DataError` where it is missing."""
    if not isinstance(row, Mapping) or name not in row:
        names = ", ".join(map(str, row)) if isinstance(row, Mapping) else repr(row)[:60]
        raise DataError(f"{path} has an entry without {name!r}; it has {names}")
    return row[name]
