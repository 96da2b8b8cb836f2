"""How long the noun bank takes: `python -m bench.noun_bank [--sizes 10000 1000000] [--write]`.

The collections are those of bench/search.py. `alone` is the end of an ingest: all nouns are asked,
or as many as `BUDGET_SECONDS` allow. `between searches` is the background of a process that
searches all the time, with the p50 of its searches meanwhile beside that of searches before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence

import numpy as np

import embedder
from bench.report import publish, render_table
from bench.search import PHRASES, THINGS, fill_collection, make_vectors, search
from embedder import Embedder, Input, Vectors
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.search import reference_scores
from indexer.search.reference_scores import SCORES_FILE, ReferenceScorer
from indexer.search.searcher import Searcher

MAX_SECONDS = 300.0  # waited for the background
SEARCHES = 50  # before it


def measure(size: int, model: Embedder, centres: Vectors, texts: Sequence[str]) -> list[object]:
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        config = load_config({"store": scratch})
        with OpenCollection.open_or_create(config, model.card) as collection:
            fill_collection(collection, make_vectors(centres, size, seed=size))
            file = collection.index_dir / SCORES_FILE
            start = time.perf_counter()
            ReferenceScorer(collection, lambda: model).update(size)
            alone = time.perf_counter() - start
            with np.load(file) as arrays:
                asked = len(arrays["nouns_image"])
            searcher = Searcher(collection, lambda: model)
            before = [search(searcher, text, fold=True)[1] for text in texts[:SEARCHES]]
            file.unlink()
            searcher, start = Searcher(collection, lambda: model), time.perf_counter()
            meanwhile = []
            while not file.exists() and time.perf_counter() - start < MAX_SECONDS:
                text = texts[len(meanwhile) % len(texts)]
                meanwhile.append(search(searcher, text, fold=True)[1])
            between = time.perf_counter() - start
            done = f"{between:.0f}" if file.exists() else f"over {between:.0f}"
    p50 = [f"{1e3 * np.median(times):.1f}" for times in (before, meanwhile)]
    return [f"{size:,}", asked, f"{alone:.1f}", done, *p50]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.noun_bank", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    reference_scores.DELAY_SECONDS = 0.0
    model = embedder.load("starter")
    centres = model.embed([Input(thing) for thing in THINGS], "document")
    texts = [phrase.format(thing) for phrase in PHRASES for thing in THINGS]
    rows = [measure(size, model, centres, texts) for size in options.sizes]
    head = [
        "points", "nouns asked", "alone, s", "between searches, s",
        "p50 before, ms", "p50 meanwhile, ms",
    ]  # fmt: skip
    publish("The noun bank", render_table(head, rows), write=options.write)


if __name__ == "__main__":
    main()
