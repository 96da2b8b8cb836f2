"""Captions of a picture in several languages: one mean vector, or the best of several.

`python -m bench.caption_vectors [--write]` asks both, with the product's own scores and fusion, on
the drawings of bench/quality_data.py. The words are the `dev` half of their captions, in languages
that the captions have and in others.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import embedder
from bench.quality_data import LANGUAGES, Dataset, Query, load_drawings
from bench.report import DOCS, publish, render_table
from embedder import Input
from finetune.evaluation.bootstrap import bootstrap_means, percentile_interval
from indexer.collections.schema import IMAGE, TEXT
from indexer.ingest.embed_stage import mean_vector
from indexer.search.bm25 import build_document_vector, build_query_vector
from indexer.search.calibration import CalibrationSample
from indexer.search.fusion import fit_fusion
from indexer.types import Vector
from recipes.starter.packages import PackageError

EXPLANATION = """\
The captions of a picture have one vector, their mean; the best of several would be a vector for
each caption. Both are asked with the product's own scores and fusion, words included, for the
`dev` half of the drawings' captions: in languages that the captions have (these), and in the
others. MRR is the mean of 1 / rank."""
BATCH = 32
WORDS = 120  # concepts that are asked for
CAPTIONS = (
    ("en", "de"),
    ("de", "ja"),
    ("en", "de", "fr", "es"),
    ("ja", "zh", "ar", "ru"),
    LANGUAGES,
)

Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class BestCaptionSample(CalibrationSample):
    """A collection that has each caption's vector: `captions` (m, dim), of the points `rows`."""

    captions: Rows
    rows: NDArray[np.intp]

    def score(self, channel: str, query: Vector) -> NDArray[np.float64]:
        if channel != TEXT:
            return super().score(channel, query)
        scores = np.full(self.size, -np.inf)
        np.maximum.at(scores, self.rows, (self.captions @ query).astype(np.float64))
        return np.where(self.present[TEXT], scores, np.nan)


def embed_texts(model: embedder.Embedder, texts: Sequence[str]) -> dict[str, Vector]:
    unique = sorted(set(texts))
    batches = [unique[i : i + BATCH] for i in range(0, len(unique), BATCH)]
    rows = [row for batch in batches for row in model.embed([Input(t) for t in batch], "document")]
    return dict(zip(unique, rows, strict=True))


def make_samples(
    dataset: Dataset,
    images: Rows,
    vectors: Mapping[str, Vector],
    captioned: set[str],
    langs: Sequence[str],
) -> dict[str, CalibrationSample]:
    """The same collection with a mean vector, and with one of each caption."""
    captions = [
        [(t, x) for x, t in dataset.captions[n].items() if n in captioned and x in langs]
        for n in dataset.names
    ]
    sparse = [build_document_vector(tuple(of)) for of in captions]
    present = np.array([bool(of) for of in captions])
    means = np.zeros_like(images)
    for row in np.flatnonzero(present):
        means[row] = mean_vector([vectors[text] for text, _ in captions[row]])
    common = {
        "vectors": {IMAGE: images, TEXT: means},
        "present": {IMAGE: np.ones(len(images), dtype=bool), TEXT: present},
        "tokens": (
            np.repeat(np.arange(len(sparse)), [len(one.indices) for one in sparse]),
            np.array([i for one in sparse for i in one.indices], dtype=np.int64),
            np.array([v for one in sparse for v in one.values]),
        ),
        "points": len(images),
        "sampled_at": time.time(),
    }
    rows = np.repeat(np.arange(len(captions)), [len(of) for of in captions])
    each = np.array([vectors[text] for of in captions for text, _ in of], dtype=np.float32)
    return {
        "mean": CalibrationSample(**common),
        "best": BestCaptionSample(**common, captions=each, rows=rows),
    }


def find_ranks(
    sample: CalibrationSample,
    names: Sequence[str],
    queries: Sequence[Query],
    vectors: Mapping[str, Vector],
) -> NDArray[np.float64]:
    """The rank of the best right picture for each query."""
    ranks = []
    for query in queries:
        words = build_query_vector(query.text)
        z = fit_fusion(sample, vectors[query.text], words, uses_text=True).sample_z
        right = np.isin(names, [*query.right])
        ranks.append(1 + np.count_nonzero(z > z[right].max()))
    return np.array(ranks, dtype=np.float64)


def compare(ranks: Mapping[str, NDArray[np.float64]], queries: Sequence[Query]) -> list[str]:
    """R@10 and MRR of both, with the interval of the difference in MRR."""
    _, concepts = np.unique([q.concept for q in queries], return_inverse=True)
    gains = (1 / ranks["best"] - 1 / ranks["mean"])[:, None]
    low, high = percentile_interval(bootstrap_means(gains, concepts.astype(np.int64)))
    return [
        *(f"{100 * np.mean(of <= 10):.1f}" for of in ranks.values()),
        *(f"{100 * np.mean(1 / of):.1f}" for of in ranks.values()),
        f"{100 * gains.mean():+.1f} ({100 * low[0]:+.1f} to {100 * high[0]:+.1f})",
    ]


def measure(dataset: Dataset, images: Rows, vectors: Mapping[str, Vector]) -> list[list[str]]:
    queries = dataset.select_queries("word", test=False)
    concepts = sorted({q.concept for q in queries})
    asked = set(random.Random(0).sample(concepts, min(WORDS, len(concepts))))
    queries = [q for q in queries if q.concept in asked]
    table = []
    for share in (100, 50):
        captioned = set(random.Random(1).sample(dataset.names, len(dataset.names) * share // 100))
        for languages in CAPTIONS:
            samples = make_samples(dataset, images, vectors, captioned, languages)
            for title, of in (
                ("these", [q for q in queries if q.language in languages]),
                ("others", [q for q in queries if q.language not in languages]),
            ):
                if of:
                    ranks = {
                        k: find_ranks(s, dataset.names, of, vectors) for k, s in samples.items()
                    }
                    name = "all eight" if languages == LANGUAGES else ", ".join(languages)
                    table.append([f"{share} %", name, title, *compare(ranks, of)])
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.caption_vectors", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--work", type=Path, default=cache, help="where the package is kept")
    parser.add_argument("--write", action="store_true", help="into docs/quality.md")
    options = parser.parse_args()
    try:
        dataset = load_drawings(options.work)
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    model = embedder.load("starter")
    images = np.concatenate(
        [
            model.embed(
                [Input(images=(Image.open(dataset.images[name]).convert("RGB"),))], "document"
            )
            for name in dataset.names
        ]
    )
    texts = [text for of in dataset.captions.values() for text in of.values()]
    table = measure(dataset, images, embed_texts(model, texts))
    head = [
        "with captions",
        "in",
        "words in",
        "R@10 mean",
        "best",
        "MRR mean",
        "best",
        "gain in MRR",
    ]
    publish(
        "Captions in several languages",
        f"{EXPLANATION}\n\n{render_table(head, table)}",
        write=options.write,
        page=DOCS / "quality.md",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
