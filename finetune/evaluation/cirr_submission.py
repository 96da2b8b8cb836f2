"""Writes the files that CIRR's test server takes: the targets of the test split are not published.

Both are JSON objects (https://github.com/Cuberick-Orion/CIRR/blob/main/Test-split_server.md):
"version" and "metric", and for each pair id the names of the images, best first. For the metric
recall they are the 50 best of all images, for recall_subset the 3 best of the other images of the
query's set. The reference is never among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from embedder.files import make_private_dir, write_file
from embedder.types import Embedder, Vectors
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery
from finetune.evaluation.embedding import Progress, embed_queries, embed_sides
from finetune.evaluation.ranking import rank_queries

VERSION = "rc2"
RECALL_DEPTH, SUBSET_DEPTH = 50, 3
RECALL_FILE, SUBSET_FILE = "cirr-test-recall.json", "cirr-test-recall-subset.json"
SERVER_URL = "https://cirr.cecs.anu.edu.au"


def write_submission(
    embedder: Embedder, benchmark: Benchmark, out: Path, progress: Progress = lambda _: None
) -> list[Path]:
    """Rank the images of CIRR's test split, and write what the server takes.

    Args:
        embedder: The model.
        benchmark: As `finetune.evaluation.benchmarks.composed.cirr_test` reads it.
        out: The folder of the files.
        progress: Called with a line of text now and then.

    Returns:
        The files; recall_subset's is left out where the sets of the images are unknown, as in the
        tables of E5-V's authors.

    Raises:
        DataError: There are no queries, or images are missing.
        EmbedderError: The model fails.
        OSError: `out` cannot be written.
    """
    if not benchmark.queries:
        raise DataError(f"{benchmark.source} has no queries")
    benchmark.validate_images()
    make_private_dir(out)  # fails before the work, not after it
    documents = embed_sides(embedder, benchmark.documents, "document", progress, "documents")
    queries = embed_queries(embedder, benchmark, progress)
    names = [Path(side.image or "").stem for side in benchmark.documents]
    among_all = [replace(query, candidates=None) for query in benchmark.queries]
    rankings = {"recall": (RECALL_FILE, _rank(queries, among_all, documents, RECALL_DEPTH))}
    if all(query.candidates for query in benchmark.queries):
        among_set = _rank(queries, benchmark.queries, documents, SUBSET_DEPTH)
        rankings["recall_subset"] = (SUBSET_FILE, among_set)
    written = []
    for metric, (file_name, ranking) in rankings.items():
        found = {pair: [names[one] for one in best] for pair, best in ranking.items()}
        path = out / file_name
        write_file(path, json.dumps({"version": VERSION, "metric": metric, **found}))
        written.append(path)
    return written


def _rank(
    vectors: Vectors, queries: Sequence[BenchmarkQuery], documents: Vectors, depth: int
) -> Mapping[str, list[int]]:
    """Pair id -> the best `depth` documents, in the order of the queries."""
    best = {
        index: ranking.documents[:depth].tolist()
        for index, ranking in rank_queries(vectors, queries, documents)
    }
    return {query.id: best[index] for index, query in enumerate(queries)}
