"""BM25 of Polylens beside that of Qdrant Edge, on captions: `python -m bench.bm25 [--write]`."""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import qdrant_edge

from bench.quality_data import LANGUAGES, Dataset, load_drawings, load_photographs
from bench.report import DOCS, publish, render_table
from indexer.search.bm25 import AVERAGE_LENGTH, build_document_vector, build_query_vector
from recipes.starter.packages import PackageError

EXPLANATION = """\
Of the right pictures, as many as could be among ten: the percentage that is, by words alone. The
documents are captions, in one language, or those of each picture in a random one; the queries are
the words of `bench/photo_queries.csv`. A photograph is right if it is an answer to the word, a
drawing if its English caption has the word in English. Edge is Qdrant Edge's `Bm25`, with its
default tokenizer and with the one for all scripts; without a language, as a query does not say
its own, and told that of each text. Mixed, most captions are in other languages than the word."""
DEPTH = 10
NAMES = {
    "en": "english", "de": "german", "fr": "french", "es": "spanish", "ja": "japanese",
    "zh": "chinese", "ar": "arabic", "ru": "russian",
}  # fmt: skip

Tokens = dict[int, float]
Encode = Callable[[str, str], Tokens]
"""A text and its language -> its tokens."""


def _encode_document(text: str, language: str) -> Tokens:
    vector = build_document_vector(((text, language),))
    return dict(zip(vector.indices, vector.values, strict=True))


def _encode_query(text: str, language: str) -> Tokens:
    vector = build_query_vector(text)
    return dict(zip(vector.indices, vector.values, strict=True))


def make_edge(*, all_scripts: bool, knows_language: bool) -> tuple[Encode, Encode]:
    """Edge's encoders of documents and of queries."""

    @cache
    def load(language: str | None) -> qdrant_edge.Bm25:
        tokenizer = qdrant_edge.TokenizerType.Multilingual if all_scripts else None
        return qdrant_edge.Bm25(
            qdrant_edge.Bm25Config(
                avg_len=AVERAGE_LENGTH, tokenizer=tokenizer, language=language and NAMES[language]
            )
        )

    def encode(kind: str, text: str, language: str) -> Tokens:
        model = load(language if knows_language else None)
        vector = model.embed_query(text) if kind == "query" else model.embed_document(text)
        return dict(zip(vector.indices, vector.values, strict=True))

    return (
        lambda text, language: encode("document", text, language),
        lambda text, language: encode("query", text, language),
    )


SYSTEMS: dict[str, tuple[Encode, Encode]] = {
    "Polylens": (_encode_document, _encode_query),
    "Edge, default": make_edge(all_scripts=False, knows_language=False),
    "Edge, default, told the language": make_edge(all_scripts=False, knows_language=True),
    "Edge, all scripts": make_edge(all_scripts=True, knows_language=False),
    "Edge, all scripts, told the language": make_edge(all_scripts=True, knows_language=True),
}


def list_words(
    dataset: Dataset, photographs: Dataset, names: Sequence[str], language: str
) -> Iterator[tuple[str, set[int]]]:
    """Each word in a language, with the rows of `names` that are right answers."""
    words = [q for q in photographs.queries if q.kind == "word"]
    english = {q.concept: q.text for q in words if q.language == "en"}
    for query in (q for q in words if q.language == language):
        pattern = re.compile(rf"\b{re.escape(english[query.concept])}\b", re.IGNORECASE)
        right = {
            row
            for row, name in enumerate(names)
            if (
                name in query.right
                if dataset is photographs
                else pattern.search(dataset.captions[name].get("en", ""))
            )
        }
        if right:
            yield query.text, right


def find(documents: Sequence[Tokens], query: Tokens) -> list[int]:
    """The rows of the best documents that have a token of the query, by BM25."""
    scores = np.zeros(len(documents))
    for token, weight in query.items():
        rows = [row for row, tokens in enumerate(documents) if token in tokens]
        idf = np.log((len(documents) - len(rows) + 0.5) / (len(rows) + 0.5) + 1)
        scores[rows] += [weight * idf * documents[row][token] for row in rows]
    order = np.argsort(-scores, kind="stable")[:DEPTH]
    return [int(row) for row in order if scores[row] > 0]


def measure(
    dataset: Dataset, photographs: Dataset, language: str | None
) -> Iterator[tuple[str, float]]:
    """Of as many right ones as could be, the percentage that is among ten, for each system.

    Args:
        dataset: Its captions are the documents, its pictures the answers.
        photographs: The set that the words are of.
        language: Of captions and words; None: each caption's is random, and the words' are all.
    """
    generator = random.Random(0)
    captions: dict[str, tuple[str, str]] = {}
    for name in sorted(dataset.captions):
        known = {x: text for x, text in dataset.captions[name].items() if x in LANGUAGES}
        chosen = language or generator.choice(sorted(known))
        if chosen in known:
            captions[name] = (known[chosen], chosen)
    for title, (encode, encode_word) in SYSTEMS.items():
        documents = [encode(text, of) for text, of in captions.values()]
        shares = [
            len(right.intersection(find(documents, encode_word(word, asked))))
            / min(len(right), DEPTH)
            for asked in ([language] if language else LANGUAGES)
            for word, right in list_words(dataset, photographs, list(captions), asked)
        ]
        yield title, 100 * float(np.mean(shares))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bm25", description=__doc__)
    cache_folder = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--work", type=Path, default=cache_folder, help="where the packages are")
    parser.add_argument("--write", action="store_true", help="into docs/quality.md")
    options = parser.parse_args()
    try:
        photographs, drawings = load_photographs(options.work), load_drawings(options.work)
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    parts = [EXPLANATION]
    for title, dataset in (("photographs", photographs), ("drawings", drawings)):
        counts = Counter(len(x) for x in dataset.captions.values())
        columns = {x: dict(measure(dataset, photographs, x)) for x in (*LANGUAGES, None)}
        rows = [[system, *(f"{of[system]:.0f}" for of in columns.values())] for system in SYSTEMS]
        head = [f"{counts.total()} {title}", *LANGUAGES, "all languages mixed"]
        parts.append(render_table(head, rows))
    publish("Words alone", "\n\n".join(parts), write=options.write, page=DOCS / "quality.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
