"""Pairs from a collection's own captions: `finetune pairs --from-collection`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from finetune.data.collection_sides import side_from_payload
from finetune.data.content_keys import normalize_text
from finetune.data.grouping import DisjointSets
from finetune.data.pairs import Pair, Side
from finetune.data.source_pairs import SourcePairs
from finetune.errors import DataError
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import IMAGE
from indexer.export import iterate_all_rows
from indexer.search.rerank import DUPLICATE_COSINE
from indexer.types import Payload, Record

BLOCK_ROWS = 1024  # of the table of cosines at a time
HEADING = re.compile(r"\A#+[^\S\n]+(?P<title>[^\n]+?)[^\S\n]*#*\n+(?P<rest>.*\w.*)", re.DOTALL)
FILE_MISSING = "captioned, but the file is gone"
NO_CAPTION = "picture without a caption"
NO_TITLE = "document without a title"
ADVICE = (
    "write some beside the pictures (cat.txt, cat.de.txt), or into a table captions.csv with the "
    "columns file, caption and language; then type: indexer ingest FOLDER"
)


def from_collection(
    collection: OpenCollection, *, both_ways: bool = False, texts: bool = False
) -> SourcePairs:
    """From each caption a pair to its picture, and from each document's title one to its text.

    `both_ways` adds the pair from the picture to the caption. With `texts`, each caption finds the
    next one of its picture instead, as E5-V learns. Pictures that are near-duplicates (as
    `indexer.search.rerank` has it) are one item. Raises `DataError` where there are no pairs.
    """
    left_out: Counter[str] = Counter()
    points = list(_iter_captioned_points(collection, left_out))
    make_pairs = _caption_to_caption_pairs if texts else _caption_pairs
    pairs = [
        pair
        for point_pairs in starmap(make_pairs, _assign_items(points, collection.name))
        for pair in point_pairs
    ]
    if points and not pairs:
        raise DataError(
            f"no picture of collection {collection.name!r} has two captions; write more of them, "
            "in other words or languages, or leave out --texts"
        )
    if not pairs:
        raise DataError(_no_pairs_message(collection.name, left_out))
    return SourcePairs(pairs + [reverse_pair(pair) for pair in pairs] * both_ways, left_out)


def reverse_pair(pair: Pair) -> Pair:
    """The pair the other way round: of a picture, its caption."""
    return Pair(pair.positive, pair.query, (), pair.language, pair.item, pair.dataset)


def group_near_duplicates(vectors: NDArray[np.float32]) -> DisjointSets:
    """Sets of the rows (n, dim) of unit length whose cosine is that of near-duplicates."""
    sets = DisjointSets(len(vectors))
    for start in range(0, len(vectors), BLOCK_ROWS):
        cosines = vectors[start : start + BLOCK_ROWS] @ vectors[start:].T  # (rows, n - start)
        for i, j in np.argwhere(np.triu(cosines >= DUPLICATE_COSINE, 1)).tolist():
            sets.union(start + i, start + j)
    return sets


CaptionedPoint = tuple[Record, Side, list[tuple[str, str | None]]]
"""A point, what it is as a document, and what was said of it: (text, language)."""


def _iter_captioned_points(
    collection: OpenCollection, left_out: Counter[str]
) -> Iterator[CaptionedPoint]:
    for record, _ in iterate_all_rows(collection.store):
        is_text = record.payload["kind"] == "text"
        captions, side = _get_captions(record.payload), side_from_payload(record.payload)
        if not captions:
            if not record.payload.get("passage"):  # only the first passage has a title
                left_out[NO_TITLE if is_text else NO_CAPTION] += 1
        elif side is None:
            left_out[FILE_MISSING] += 1
        else:
            heading = HEADING.match(side.text) if side.text else None
            yield record, Side(heading["rest"].strip()) if heading else side, captions


def _get_captions(payload: Payload) -> list[tuple[str, str | None]]:
    """The captions of a picture; the heading of a document, on its first passage."""
    if payload["kind"] != "text":
        return [(caption["text"], caption["language"]) for caption in payload["captions"]]
    match = HEADING.match(payload["text"]) if payload["passage"] == 0 else None
    return [(match["title"], None)] if match else []


def _assign_items(
    points: Sequence[CaptionedPoint], dataset: str
) -> Iterator[tuple[CaptionedPoint, str, str]]:
    """Each with its item, the content of the first of its near-duplicates, and the data set."""
    with_image = [i for i, (record, _, _) in enumerate(points) if IMAGE in record.vectors]
    vectors = np.array([points[i][0].vectors[IMAGE] for i in with_image], np.float32)  # (n, dim)
    sets = group_near_duplicates(vectors)
    representative = {
        index: points[with_image[sets.find(row)]] for row, index in enumerate(with_image)
    }
    for index, point in enumerate(points):
        yield point, str(representative.get(index, point)[0].payload["content"]), dataset


def _caption_pairs(point: CaptionedPoint, item: str, dataset: str) -> list[Pair]:
    _, side, captions = point
    return [Pair(Side(text), side, (), language, item, dataset) for text, language in captions]


def _caption_to_caption_pairs(point: CaptionedPoint, item: str, dataset: str) -> list[Pair]:
    """Each caption of a picture with the next that says something else; a document as ever."""
    _, side, captions = point
    if not side.image:
        return _caption_pairs(point, item, dataset)
    rotated = [*captions[1:], *captions[:1]]
    return [
        Pair(Side(text), Side(other), (), language, item, dataset)
        for (text, language), (other, _) in zip(captions, rotated, strict=True)
        if normalize_text(text) != normalize_text(other)
    ]


def _no_pairs_message(name: str, left_out: Counter[str]) -> str:
    if left_out[FILE_MISSING]:
        return (
            f"the files of all {left_out[FILE_MISSING]} captioned pictures of collection {name!r} are gone "
            "from where they were; connect their disk, or type: indexer ingest FOLDER"
        )
    return f"no picture of collection {name!r} has a caption: {ADVICE}"
