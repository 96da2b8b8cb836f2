"""Which documents of a batch may serve as negatives of which query.

A document that is known to be relevant to a query anywhere in the data, or that is about the
query's own item, is a false negative and masked. A document that is in the batch twice counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from finetune.data.pairs import ContentKeys, Pair

Keys = NDArray[np.int64]
Mask = NDArray[np.bool_]
HardNegatives = Literal["all", "own", "none"]
"""For which queries a pair's hard negatives are candidates: all, its own, none."""


class KnownPositives:
    """The relevant documents of each query in all of the data, by content."""

    def __init__(self, pairs: Sequence[Pair], content_keys: ContentKeys) -> None:
        self._positives: dict[int, set[int]] = defaultdict(set)
        for pair in pairs:
            query = content_keys.hash_side(pair.query)
            self._positives[query].add(content_keys.hash_side(pair.positive))

    def matches(self, queries: Keys, documents: Keys) -> Mask:
        """(q, d): whether the document is known to be relevant to the query, or is the query."""
        columns: dict[int, list[int]] = defaultdict(list)
        for column, key in enumerate(documents.tolist()):
            columns[key].append(column)
        mask = np.zeros((len(queries), len(documents)), dtype=np.bool_)
        for row, key in enumerate(queries.tolist()):
            for document in (self._positives.get(key, set()) | {key}) & columns.keys():
                mask[row, columns[document]] = True
        return mask


def mask_candidates(
    candidates: Mask, known_positives: Mask, document_keys: Keys, query_items: Keys,
    document_items: Keys,
) -> Mask:  # fmt: skip
    """(q, d): the `candidates` without false negatives and duplicates.

    Each query's own positive, the document in the column of the query's row, always stays. Items of
    0 are unknown and match nothing.
    """
    items = query_items[:, None]
    same_item = (items == document_items[None]) & (items != 0)
    mask = drop_duplicates(candidates & ~known_positives & ~same_item, document_keys)
    np.fill_diagonal(mask, True)
    return mask


def mask_hard_negatives(owners: Keys, queries: int, hard_negatives: HardNegatives) -> Mask:
    """(q, d): which documents are candidates. `owners` (d,) has the row of the query that a hard
    negative belongs to, -1 for positives."""
    if hard_negatives == "all":
        return np.ones((queries, len(owners)), dtype=np.bool_)
    own = owners[None] == np.arange(queries)[:, None]
    mask: Mask = (owners < 0)[None] | (own & (hard_negatives == "own"))
    return mask


def drop_duplicates(mask: Mask, keys: Keys) -> Mask:
    """`mask` with only the first document of each key in each row."""
    out = mask.copy()
    values, counts = np.unique(keys, return_counts=True)
    for key in values[counts > 1]:
        columns = np.flatnonzero(keys == key)
        out[:, columns] &= out[:, columns].cumsum(axis=1) == 1
    return out


def hash_item(item: str) -> int:
    """63 bits of an item's name; 0 for none."""
    return int.from_bytes(blake3(item.encode()).digest(8), "big") >> 1 if item else 0
