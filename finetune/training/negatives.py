"""Which documents of a batch may serve as negatives of which query.

A document that is known to be right for a query anywhere in the data, or that is about the query's
own item, is no negative of it; a document that stands in the batch twice counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from finetune.data.content_keys import ContentKeys
from finetune.data.pairs import Pair

Keys = NDArray[np.int64]
Mask = NDArray[np.bool_]
HardNegatives = Literal["all", "own", "none"]
"""Whose negatives a pair's hard negatives are: every query's, its own, nobody's."""


class KnownPositives:
    """What is right for each query in all of the data, by content."""

    def __init__(self, pairs: Sequence[Pair], identities: ContentKeys) -> None:
        self._positives: dict[int, set[int]] = defaultdict(set)
        for pair in pairs:
            self._positives[identities.hash_side(pair.query)].add(
                identities.hash_side(pair.positive)
            )

    def matches(self, queries: Keys, documents: Keys) -> Mask:
        """(q, d): whether the document is known to be right for the query, or is the query."""
        places: dict[int, list[int]] = defaultdict(list)
        for column, key in enumerate(documents.tolist()):
            places[key].append(column)
        out = np.zeros((len(queries), len(documents)), dtype=np.bool_)
        there = places.keys()
        for row, key in enumerate(queries.tolist()):
            for found in (self._positives.get(key, set()) | {key}) & there:
                out[row, places[found]] = True
        return out


def mask_candidates(
    candidates: Mask,
    known_positives: Mask,
    document_keys: Keys,
    query_items: Keys,
    document_items: Keys,
    positive: Keys,
) -> Mask:
    """(q, d): of the `candidates`, those that may stand beside each query's own positive, which is
    one of them. Items of 0 are none."""
    items = query_items[:, None]
    same = (items == document_items[None]) & (items != 0)
    out = drop_duplicates(candidates & ~known_positives & ~same, document_keys)
    out[np.arange(len(positive)), positive] = True
    return out


def mask_hard_negatives(owner: Keys, queries: int, hard: HardNegatives) -> Mask:
    """(q, d): which documents come into question. `owner` (d,) is the row of the query that a hard
    negative belongs to, -1 for positives."""
    if hard == "all":
        return np.ones((queries, len(owner)), dtype=np.bool_)
    own = owner[None] == np.arange(queries)[:, None]
    mask: Mask = (owner < 0)[None] | (own & (hard == "own"))
    return mask


def drop_duplicates(mask: Mask, keys: Keys) -> Mask:
    """`mask` with each row's repetitions of a key left out."""
    out = mask.copy()
    values, counts = np.unique(keys, return_counts=True)
    for key in values[counts > 1]:
        columns = np.flatnonzero(keys == key)
        out[:, columns] &= out[:, columns].cumsum(axis=1) == 1
    return out


def hash_item(item: str) -> int:
    """63 bits of an item's name; 0 for none."""
    return int.from_bytes(blake3(item.encode()).digest(8), "big") >> 1 if item else 0
