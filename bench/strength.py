"""Whether strength tells present from absent words: `python -m bench.strength [--write]`.

Asks the words of bench/quality_absence.py of four collections. With `--split dev` it also estimates
`ABSENT_PLACE` and `ABSENT_SCALE` of indexer/search/strength.py: with them, 20 % of the absent words
reach a strength of 0.8 and 3 % one of 0.97, in the mean of the collections of photographs, whose
words were checked by looking at the pictures. To be run again when the starter or the noun bank
changes.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.quality import Bench
from bench.quality_absence import (
    Arrangement,
    arrange_drawings,
    arrange_photographs,
    measure_absence,
)
from bench.quality_data import Dataset, load_drawings, load_photographs
from bench.quality_measures import Answer, measure_strength_words, render_figures
from bench.report import DOCS, publish
from indexer import Collection
from indexer.search.strength import ABSENT_PLACE, ABSENT_SCALE
from indexer.types import MATCH_WORDS
from recipes.starter.packages import PackageError

LEVELS = tuple(sorted(MATCH_WORDS.values()))  # of strength: likely, strong

Array = NDArray[np.float64]
Answers = tuple[list[Answer], list[Answer]]
"""Of the present and of the absent words."""


def measure_collections(work: Path, limit: int, *, test: bool) -> Iterator[tuple[str, Answers]]:
    """The answers of each collection, with its title.

    Raises `PackageError`.
    """
    photographs, drawings = load_photographs(work), load_drawings(work)
    half = random.Random(1).sample(drawings.names, len(drawings.names) // 2)
    for title, dataset, arrangements, captioned in (
        ("photographs", photographs, arrange_photographs(photographs, test=test), ()),
        ("drawings", drawings, arrange_drawings(drawings, test=test, limit=limit), half),
    ):
        mixes: dict[str, Sequence[str]] = {
            title: (),
            f"{title}, some with captions": captioned or [*dataset.captions],
        }
        yield from _measure(dataset, arrangements, mixes, work)


def _measure(
    dataset: Dataset,
    arrangements: Sequence[Arrangement],
    mixes: dict[str, Sequence[str]],
    work: Path,
) -> Iterator[tuple[str, Answers]]:
    with (
        tempfile.TemporaryDirectory(prefix="polylens-bench-", dir=work) as scratch,
        Collection.open("bench", store=Path(scratch) / "store", model="starter") as collection,
    ):
        bench = Bench(dataset, collection, Path(scratch) / "pictures")
        for title, captioned in mixes.items():
            present: list[Answer] = []
            absent: list[Answer] = []
            for one in arrangements:
                bench.arrange(captioned=captioned, removed=one.removed)
                present += bench.ask(one.present)
                absent += bench.ask(one.absent)
            yield title, (present, absent)


def list_strengths(answers: Sequence[Answer]) -> Array:
    """Those of the best hits, where a claim is made."""
    return np.array([a.strength for a in answers if a.strength is not None], dtype=np.float64)


def reduce_strengths(strengths: Array) -> Array:
    """What a strength is made of, in units of the bank's distribution."""
    share = np.clip(strengths, 1e-9, 1 - 1e-5)  # it is rounded
    return np.asarray(ABSENT_PLACE - ABSENT_SCALE * np.log(-np.log(share)))


def estimate_constants(absent: Sequence[Array]) -> tuple[float, float]:
    """The place and scale with which as many absent words reach each level as it says."""
    reached = [np.quantile(reduce_strengths(strengths), LEVELS) for strengths in absent]
    low, high = np.mean(reached, axis=0)
    reduced_low, reduced_high = -np.log(-np.log(LEVELS))
    scale = (high - low) / (reduced_high - reduced_low)
    return float(low - scale * reduced_low), float(scale)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.strength", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--limit", type=int, default=120, help="drawings that are asked for")
    parser.add_argument("--work", type=Path, default=cache, help="where the packages are kept")
    parser.add_argument("--write", action="store_true", help="into docs/quality.md")
    options = parser.parse_args()
    try:
        is_test = options.split == "test"
        measured = dict(measure_collections(options.work, options.limit, test=is_test))
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    told = {title: measure_absence(*answers) for title, answers in measured.items()}
    levels = {
        title: {
            f"{group} from {level}": [100 * float(np.mean(list_strengths(of) >= level))]
            for level in LEVELS
            for group, of in zip(("present", "absent"), answers, strict=True)
        }
        for title, answers in measured.items()
    }
    words = {
        f"{title}: {word}": row
        for title, (present, _) in measured.items()
        for word, row in measure_strength_words(present).items()
    }
    body = f"Percent, of the {options.split} half of the words, with 95 % intervals.\n\n"
    body += f"### Present or absent\n\n{render_figures('', told)}\n\n"
    body += f"### Words whose best hit is so strong\n\n{render_figures('', levels)}\n\n"
    body += (
        f"### Hits of present words, by the word for their strength\n\n{render_figures('', words)}"
    )
    if options.split == "dev":
        checked = [of for title, (_, of) in measured.items() if title.startswith("photographs")]
        place, scale = estimate_constants([list_strengths(of) for of in checked])
        body += f"\n\nABSENT_PLACE, ABSENT_SCALE: {place:.2f}, {scale:.2f}"
        body += f" (now {ABSENT_PLACE}, {ABSENT_SCALE})"
    publish("Strength", body, write=options.write, page=DOCS / "quality.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
