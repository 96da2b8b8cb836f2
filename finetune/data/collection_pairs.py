"""Pairs from a collection: from its captions, and from the votes on search results."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from finetune.data.pairs import Pair, Side, SourcePairs, normalize_text
from finetune.data.split import DisjointSets
from finetune.errors import DataError
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import IMAGE
from indexer.export import iterate_all_rows
from indexer.feedback import Vote, VotedQuery, read_votes
from indexer.paths import resolve_display_path
from indexer.search.duplicates import BLOCK_ROWS, ImageComparison, estimate_crop_cosine
from indexer.types import Payload, QueryTerm, Record

HEADING = re.compile(r"\A#+[^\S\n]+(?P<title>[^\n]+?)[^\S\n]*#*\n+(?P<rest>.*\w.*)", re.DOTALL)
FILE_MISSING = "captioned, but the file is gone"
NO_CAPTION = "picture without a caption"
NO_TITLE = "document without a title"
ONLY_NEGATIVE_VOTES = "query with thumbs down only"
UNUSABLE_QUERY = "query without text or with pictures that are gone"
TARGET_MISSING = "vote on a result that is gone"

CaptionedPoint = tuple[Record, Side, list[tuple[str, str | None]]]
"""A point, its side as a document, and its captions as (text, language)."""


def side_from_payload(payload: Payload) -> Side | None:
    """Return a point as a document: a passage or an image; None if its file is gone."""
    if payload["kind"] == "text":
        return Side(payload["text"])
    return _image_side(payload["paths"])


def _image_side(paths: Sequence[str]) -> Side | None:
    for path in map(resolve_display_path, paths):
        if os.path.isfile(path):  # noqa: PTH113
            return Side(image=path)
    return None


def from_collection(
    collection: OpenCollection, *, both_ways: bool = False, texts: bool = False
) -> SourcePairs:
    """Make a pair of each caption and its image, and of each document's title and text.

    Near-duplicate images (see `indexer.search.duplicates`) are one item.

    Args:
        collection: The collection with the captions.
        both_ways: Add the pairs from the image to the caption.
        texts: Pair each caption with the next one of its image instead, as E5-V is trained.

    Raises:
        DataError: There are no pairs.
    """
    left_out: Counter[str] = Counter()
    points = list(_iter_captioned_points(collection, left_out))
    pairs: list[Pair] = []
    for (_, side, captions), item in zip(points, _assign_items(points), strict=True):
        for (text, language), (other, _) in zip(captions, captions[1:] + captions[:1], strict=True):
            document = side
            if texts and side.image:
                if normalize_text(text) == normalize_text(other):
                    continue
                document = Side(other)
            pairs.append(
                Pair(Side(text), document, language=language, item=item, dataset=collection.name)
            )
    if not pairs:
        raise DataError(_no_pairs_message(collection.name, left_out, bool(points)))
    if both_ways:
        pairs += [replace(pair, query=pair.positive, positive=pair.query) for pair in pairs]
    return SourcePairs(pairs, left_out)


def group_near_duplicates(
    payloads: Sequence[Payload], vectors: NDArray[np.float32]
) -> DisjointSets:
    """Group images that are copies, by their payloads and their (n, dim) unit vectors."""
    sets = DisjointSets(len(vectors))
    comparison = ImageComparison(payloads, vectors, estimate_crop_cosine(vectors))
    for start in range(0, len(vectors), BLOCK_ROWS):
        end = min(start + BLOCK_ROWS, len(vectors))
        copies, _ = comparison.compare(slice(start, end), slice(0, end))
        for i, j in np.argwhere(copies).tolist():
            sets.union(start + i, j)
    return sets


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
    """Return the captions of an image, or the heading of a document's first passage."""
    if payload["kind"] != "text":
        return [(caption["text"], caption["language"]) for caption in payload["captions"]]
    match = HEADING.match(payload["text"]) if payload["passage"] == 0 else None
    return [(match["title"], None)] if match else []


def _assign_items(points: Sequence[CaptionedPoint]) -> list[str]:
    """Return each point's item: the content id of the first of its near-duplicates."""
    items = [str(record.payload["content"]) for record, _, _ in points]
    with_image = [i for i, (record, _, _) in enumerate(points) if IMAGE in record.vectors]
    records = [points[i][0] for i in with_image]
    vectors = np.array([record.vectors[IMAGE] for record in records], np.float32)  # (n, dim)
    payloads = [record.payload for record in records]
    for rows in group_near_duplicates(payloads, vectors).groups() if records else ():
        for row in rows:
            items[with_image[row]] = items[with_image[rows[0]]]
    return items


def _no_pairs_message(name: str, left_out: Counter[str], has_captions: bool) -> str:
    if has_captions:
        return (
            f"no picture of collection {name!r} has two captions; write more of them, in other "
            "words or languages, or leave out --texts"
        )
    if left_out[FILE_MISSING]:
        return (
            f"the files of all {left_out[FILE_MISSING]} captioned pictures of collection {name!r} "
            "are gone; connect their disk, or run: indexer ingest FOLDER"
        )
    return (
        f"no picture of collection {name!r} has a caption: write some beside the pictures "
        "(cat.txt, cat.de.txt), or into a table captions.csv with the columns file, caption and "
        "language; then run: indexer ingest FOLDER"
    )


def from_feedback(collection: OpenCollection) -> SourcePairs:
    """Make a pair of each thumbs up; the query's thumbs down are its hard negatives.

    A query of text and an image is one side, for models that compose them. Raises `DataError` if
    there are no pairs, `StoreError`.
    """
    votes: dict[object, list[Vote]] = defaultdict(list)
    for vote in read_votes(collection.path):
        votes[vote.query.key].append(vote)
    if not votes:
        raise DataError(
            f"there are no votes on results of collection {collection.name!r} yet: run make app, "
            "search, and vote with thumbs up and down"
        )
    left_out: Counter[str] = Counter()
    pairs = [pair for group in votes.values() for pair in _query_pairs(group, collection, left_out)]
    if not pairs:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in left_out.items())
        raise DataError(f"the votes on collection {collection.name!r} give no pairs ({reasons})")
    return SourcePairs(pairs, left_out)


def _query_pairs(
    votes: Sequence[Vote], collection: OpenCollection, left_out: Counter[str]
) -> list[Pair]:
    """Make the pairs of the votes on one query."""
    if all(vote.vote < 0 for vote in votes):
        left_out[ONLY_NEGATIVE_VOTES] += 1
        return []
    query = _query_side(votes[0].query, collection)
    if query is None:
        left_out[UNUSABLE_QUERY] += 1
        return []
    sides = [(vote, _vote_side(vote, collection)) for vote in votes]
    left_out[TARGET_MISSING] += sum(side is None for _, side in sides)
    negatives = tuple(side for vote, side in sides if side is not None and vote.vote < 0)
    return [
        Pair(query, side, negatives, item=vote.content, dataset=collection.name)
        for vote, side in sides
        if side is not None and vote.vote > 0
    ]


def _query_side(query: VotedQuery, collection: OpenCollection) -> Side | None:
    """Join the positive parts of a query; None if one is gone or there are two images."""
    parts = [_part_side(part, collection) for part in query.parts if part.weight > 0]
    sides = [side for side in parts if side is not None]
    images = [side.image for side in sides if side.image]
    if not sides or len(sides) < len(parts) or len(images) > 1:
        return None
    text = ", ".join(side.text for side in sides if side.text)
    return Side(text or None, images[0] if images else None)


def _part_side(part: QueryTerm, collection: OpenCollection) -> Side | None:
    if part.id:
        return _point_side(part.id, collection)
    if part.image:
        return _image_side([part.image])
    return Side(part.text) if part.text and part.text.strip() else None


def _vote_side(vote: Vote, collection: OpenCollection) -> Side | None:
    """Return the result as it was, or where it is now."""
    if vote.text:
        return Side(vote.text)
    return (_image_side([vote.path]) if vote.path else None) or _point_side(vote.id, collection)


def _point_side(id: str, collection: OpenCollection) -> Side | None:
    found = collection.store.retrieve([id])
    return side_from_payload(found[0].payload) if found else None
