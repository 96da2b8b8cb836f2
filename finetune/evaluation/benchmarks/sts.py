"""Semantic textual similarity: Spearman's correlation with human ratings.

SentEval's folders (https://github.com/facebookresearch/SentEval): STS12-en-test ... with
STS.input.NAME.txt and STS.gs.NAME.txt, STSBenchmark/sts-test.csv, SICK/SICK_test_annotated.txt; or
any .tsv or .csv with the columns score, sentence1, sentence2. A set's parts are ranked together
("all" in SentEval), and the metric is the unweighted mean of the sets.

Both sentences of a pair are documents: neither asks for the other, so no model's instruction for
queries belongs there. E5-V's authors change the sentences and the prompt for these sets
(eval_sts.py of https://github.com/kongds/E5-V).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from embedder.families.e5v import STS as E5V_STS
from embedder.families.e5v import prepare_sts_sentence
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import SPEARMAN, Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks import E5V, BenchmarkFiles, read_lines

URL = "https://github.com/facebookresearch/SentEval"
COLUMNS = ("score", "sentence1", "sentence2")
ScoredPair = tuple[float, str, str]
"""The similarity that people gave to two sentences."""


def load(files: BenchmarkFiles) -> Benchmark:
    """Raises `DataError`."""
    sets: dict[str, list[ScoredPair]] = {}
    for path in [files.path] if files.path.is_file() else sorted(files.path.rglob("*")):
        for name, pairs in _read_file(path):
            sets.setdefault(name, []).extend(pairs)
    if not sets:
        raise DataError(
            f"{files.path} has no STS.input.*.txt, no sts-test.csv and no table with the columns "
            f"{', '.join(COLUMNS)}; SentEval says where the sets are: {URL}"
        )
    documents = DocumentSet()

    def make_side(sentence: str) -> Side:
        if files.family != E5V:
            return Side(text=sentence)
        return Side(text=prepare_sts_sentence(sentence), instruction=E5V_STS)

    queries = [
        BenchmarkQuery(
            id=f"{name} {number}",
            sides=(make_side(first),),
            relevant={},
            direction="t2t",
            dataset=name,
            candidates=(documents.add(make_side(second)),),
            gold=score,
        )
        for name, pairs in sets.items()
        for number, (score, first, second) in enumerate(pairs, 1)
    ]
    return files.build(
        "STS", SPEARMAN, (SPEARMAN,), queries, documents, macro=True, role="document"
    )


def _read_file(path: Path) -> Iterator[tuple[str, list[ScoredPair]]]:
    if path.name.startswith("STS.input.") and path.suffix == ".txt":
        yield path.parent.name.removesuffix("-en-test"), list(_read_senteval(path))
    elif path.name == "sts-test.csv" and path.parent.name == "STSBenchmark":
        rows = _read_tsv(path, min_columns=7)
        yield "STSBenchmark", [_parse_scored_pair(row[4], row[5], row[6], path) for row in rows]
    elif path.name == "SICK_test_annotated.txt":
        rows = _read_tsv(path, min_columns=4)[1:]
        yield "SICK-R", [_parse_scored_pair(row[3], row[1], row[2], path) for row in rows]
    elif path.suffix in (".tsv", ".csv") and path.parent.name != "STSBenchmark":
        yield path.stem, list(_read_table(path))


def _read_senteval(path: Path) -> Iterator[ScoredPair]:
    """One pair a line, and in another file one score a line, "" where nobody gave one."""
    scores_path = path.with_name(path.name.replace(".input.", ".gs."))
    scores, rows = read_lines(scores_path), _read_tsv(path, min_columns=2)
    if len(scores) != len(rows):
        raise DataError(f"{scores_path} has {len(scores)} scores for {len(rows)} pairs")
    for score, row in zip(scores, rows, strict=True):
        if score.strip():
            yield _parse_scored_pair(score, row[0], row[1], scores_path)


def _read_tsv(path: Path, min_columns: int) -> list[list[str]]:
    rows = [line.split("\t") for line in read_lines(path)]
    for number, row in enumerate(rows, 1):
        if len(row) < min_columns:
            raise DataError(f"{path}, line {number} has {len(row)} columns, not {min_columns}")
    return rows


def _read_table(path: Path) -> Iterator[ScoredPair]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise DataError(f"{path} lacks the columns {', '.join(COLUMNS)}")
        for row in reader:
            score, first, second = (row[name] or "" for name in COLUMNS)
            yield _parse_scored_pair(score, first, second, path)


def _parse_scored_pair(score: str, first: str, second: str, path: Path) -> ScoredPair:
    try:
        if math.isfinite(number := float(score)):
            return number, " ".join(first.split()), " ".join(second.split())  # as SentEval
    except ValueError:
        pass
    raise DataError(f"{path}: {score!r} is not a number")
