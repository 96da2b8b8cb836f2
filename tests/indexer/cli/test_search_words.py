"""Words in searches: a function word finds nothing, an inflected word does."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.indexer.search.test_tokenizer import FUNCTION_WORDS


@pytest.fixture
def captioned(indexer, tmp_path, photo):
    """A collection of one picture for each language, with a caption in it."""
    folder = tmp_path / "pictures"
    rows = [("file", "language", "caption")]
    for i, (language, (_, caption)) in enumerate(FUNCTION_WORDS.items()):
        photo(folder / f"{language}_0{i:02}.png", (15 * i, 255 - 15 * i, 40 * (i % 6)))
        rows.append((f"{language}_0{i:02}.png", language, caption))
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    assert indexer("ingest", folder).returncode == 0
    return indexer


def find_words(program, query: str) -> set[str]:
    """The languages of the pictures that have a word of the query."""
    hits = program.json("search", query, "--limit", "99", "--no-fold")["hits"]
    assert len(hits) == len(FUNCTION_WORDS)
    found = [hit for hit in hits if "bm25" in hit["why"]["channels"]]
    return {Path(hit["path"]).name[:2] for hit in found}


def test_function_words_find_nothing(captioned):
    assert {q: find_words(captioned, q) for q, _ in FUNCTION_WORDS.values()} == {
        q: set() for q, _ in FUNCTION_WORDS.values()
    }
    assert find_words(captioned, "dogs in the snow") == {"en"}
    assert find_words(captioned, "auf den Wiesen") == {"de"}
    assert find_words(captioned, "犬の写真") == {"ja"}
