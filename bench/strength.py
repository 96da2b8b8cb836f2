"""How strong absent words are said to match: `python -m bench.strength [--split dev] [--write]`.

Estimates `ABSENT_PLACE` and `ABSENT_SCALE` of indexer/search/strength.py from the absent words of
bench/quality_absence.py: with them, 20 % of the absent words reach a strength of 0.8 and 3 % one of
0.97, in the median of the collections. To be run again when the starter or the noun bank changes.
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
from bench.quality_absence import Arrangement, arrange_drawings, arrange_photographs
from bench.quality_data import Dataset, load_drawings, load_photographs
from bench.quality_measures import Answer
from bench.report import DOCS, publish, render_table
from indexer import Collection
from indexer.search.strength import ABSENT_PLACE, ABSENT_SCALE
from indexer.types import MATCH_WORDS
from recipes.starter.packages import PackageError

LEVELS = tuple(sorted(MATCH_WORDS.values()))  # of strength: likely, strong

Array = NDArray[np.float64]


def measure_collections(
    work: Path, limit: int, *, test: bool
) -> Iterator[tuple[str, Array, Array]]:
    """Of each collection its title, and the strengths of the present and of the absent words.

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
) -> Iterator[tuple[str, Array, Array]]:
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
            yield title, *map(_list_strengths, (present, absent))


def _list_strengths(answers: Sequence[Answer]) -> Array:
    return np.array([a.strength for a in answers if a.strength is not None], dtype=np.float64)


def reduce_strengths(strengths: Array) -> Array:
    """What a strength is made of, in units of the bank's distribution."""
    share = np.clip(strengths, 1e-9, 1 - 1e-5)  # it is rounded
    return np.asarray(ABSENT_PLACE - ABSENT_SCALE * np.log(-np.log(share)))


def estimate_constants(absent: Sequence[Array]) -> tuple[float, float]:
    """The place and scale with which as many absent words reach each level as it says."""
    reached = [np.quantile(reduce_strengths(strengths), LEVELS) for strengths in absent]
    low, high = np.median(reached, axis=0)
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
        measured = [*measure_collections(options.work, options.limit, test=options.split == "test")]
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [
        [title, *(f"{100 * np.mean(of >= x):.0f}" for x in LEVELS for of in (present, absent))]
        for title, present, absent in measured
    ]
    columns = [f"{of} from {x}" for x in LEVELS for of in ("present", "absent")]
    body = "Percent of the words about which a claim is made, and whose best hit is so strong.\n\n"
    body += render_table(["", *columns], rows)
    if options.split == "dev":
        place, scale = estimate_constants([absent for _, _, absent in measured])
        body += f"\n\nABSENT_PLACE, ABSENT_SCALE: {place:.2f}, {scale:.2f}"
        body += f" (now {ABSENT_PLACE}, {ABSENT_SCALE})"
    publish("Strength", body, write=options.write, page=DOCS / "quality.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
