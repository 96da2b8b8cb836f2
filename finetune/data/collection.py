"""Pairs from a collection's own captions: `finetune pairs --from-collection`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from finetune.data.gathered import Gathered
from finetune.data.grouping import Sets
from finetune.data.identity import normal
from finetune.data.pairs import Pair, Side
from finetune.data.points import document
from finetune.errors import DataError
from indexer.collection import Collection
from indexer.export import all_rows
from indexer.folding import SAME
from indexer.schema import IMAGE
from indexer.types import Payload, Record

ROWS = 1024  # of the table of cosines at a time
HEADING = re.compile(r"\A#+[^\S\n]+(?P<title>[^\n]+?)[^\S\n]*#*\n+(?P<rest>.*\w.*)", re.DOTALL)
GONE = "captioned, but the file is gone"
SILENT = "picture without a caption"
UNTITLED = "document without a title"
ADVICE = (
    "write some beside the pictures (cat.txt, cat.de.txt), or into a table captions.csv with the "
    "columns file, caption and language; then type: indexer ingest FOLDER"
)


def from_collection(
    collection: Collection, *, both_ways: bool = False, texts: bool = False
) -> Gathered:
    """From each caption a pair to its picture, and from each document's title one to its text.

    `both_ways` adds the pair from the picture to the caption. With `texts`, each caption finds the
    next one of its picture instead, as E5-V learns. Pictures that are near-duplicates (as
    `indexer.folding` has it) are one item. Raises `DataError` where there are no pairs.
    """
    left_out: Counter[str] = Counter()
    told = list(_told(collection, left_out))
    make = _translations if texts else _pairs
    pairs = [pair for made in starmap(make, _named(told, collection.name)) for pair in made]
    if told and not pairs:
        raise DataError(
            f"no picture of collection {collection.name!r} has two captions; write more of them, "
            "in other words or languages, or leave out --texts"
        )
    if not pairs:
        raise DataError(_nothing(collection.name, left_out))
    return Gathered(pairs + [turned(pair) for pair in pairs] * both_ways, left_out)


def turned(pair: Pair) -> Pair:
    """The pair the other way round: of a picture, its caption."""
    return Pair(pair.positive, pair.query, (), pair.language, pair.item, pair.dataset)


def doubles(vectors: NDArray[np.float32]) -> Sets:
    """Sets of the rows (n, dim) of unit length whose cosine is that of near-duplicates."""
    sets = Sets(len(vectors))
    for start in range(0, len(vectors), ROWS):
        cosines = vectors[start : start + ROWS] @ vectors[start:].T  # (rows, n - start)
        for i, j in np.argwhere(np.triu(cosines >= SAME, 1)).tolist():
            sets.join(start + i, start + j)
    return sets


Told = tuple[Record, Side, list[tuple[str, str | None]]]
"""A point, what it is as a document, and what was said of it: (text, language)."""


def _told(collection: Collection, left_out: Counter[str]) -> Iterator[Told]:
    for record, _ in all_rows(collection.store):
        is_text = record.payload["kind"] == "text"
        said, side = _said(record.payload), document(record.payload)
        if not said:
            if not record.payload.get("passage"):  # only the first passage has a title
                left_out[UNTITLED if is_text else SILENT] += 1
        elif side is None:
            left_out[GONE] += 1
        else:
            rest = HEADING.match(side.text) if side.text else None
            yield record, Side(rest["rest"].strip()) if rest else side, said


def _said(payload: Payload) -> list[tuple[str, str | None]]:
    """The captions of a picture; the heading of a document, on its first passage."""
    if payload["kind"] != "text":
        return [(caption["text"], caption["language"]) for caption in payload["captions"]]
    match = HEADING.match(payload["text"]) if payload["passage"] == 0 else None
    return [(match["title"], None)] if match else []


def _named(told: Sequence[Told], dataset: str) -> Iterator[tuple[Told, str, str]]:
    """Each with its item, the content of the first of its near-duplicates, and the data set."""
    seen = [i for i, (record, _, _) in enumerate(told) if IMAGE in record.vectors]
    vectors = np.array([told[i][0].vectors[IMAGE] for i in seen], np.float32)  # (n, dim)
    sets = doubles(vectors)
    item = {place: told[seen[sets.find(row)]] for row, place in enumerate(seen)}
    for place, one in enumerate(told):
        yield one, str(item.get(place, one)[0].payload["content"]), dataset


def _pairs(told: Told, item: str, dataset: str) -> list[Pair]:
    _, side, said = told
    return [Pair(Side(text), side, (), language, item, dataset) for text, language in said]


def _translations(told: Told, item: str, dataset: str) -> list[Pair]:
    """Each caption of a picture with the next that says something else; a document as ever."""
    _, side, said = told
    if not side.image:
        return _pairs(told, item, dataset)
    ring = [*said[1:], *said[:1]]
    return [
        Pair(Side(text), Side(other), (), language, item, dataset)
        for (text, language), (other, _) in zip(said, ring, strict=True)
        if normal(text) != normal(other)
    ]


def _nothing(name: str, left_out: Counter[str]) -> str:
    if left_out[GONE]:
        return (
            f"the files of all {left_out[GONE]} captioned pictures of collection {name!r} are gone "
            "from where they were; connect their disk, or type: indexer ingest FOLDER"
        )
    return f"no picture of collection {name!r} has a caption: {ADVICE}"
