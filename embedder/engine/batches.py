"""Which inputs go through a model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from embedder.engine.backbone import Bucket

WASTE = 0.03  # the most padding in a batch, as a share of what it computes
FREE = 64  # padded tokens that cost less than another batch would


def plan(buckets: Sequence[Bucket], budget: int) -> list[list[int]]:
    """Indices of `buckets` in batches of one key, of at most `budget` tokens with their padding,
    the dearest first, so that memory runs out at once or never."""
    order = sorted(range(len(buckets)), key=lambda i: (str(buckets[i].key), -buckets[i].tokens))
    grouped = groupby(order, key=lambda i: buckets[i].key)
    batches = [batch for _, group in grouped for batch in _cut(list(group), buckets, budget)]
    return sorted(batches, key=lambda batch: -cost([buckets[i] for i in batch]))


def cost(batch: Sequence[Bucket]) -> int:
    """Tokens that a batch computes, padding among them."""
    return len(batch) * max(b.tokens for b in batch) + sum(b.beside for b in batch)


def waste(buckets: Sequence[Bucket], batches: Sequence[Sequence[int]]) -> float:
    """Padding as a share of all that `batches` compute."""
    computed = sum(cost([buckets[i] for i in batch]) for batch in batches)
    wanted = sum(bucket.tokens + bucket.beside for bucket in buckets)
    return 1 - wanted / computed if computed else 0.0


def _cut(order: Sequence[int], buckets: Sequence[Bucket], budget: int) -> Iterator[list[int]]:
    """Runs of `order`, whose tokens fall: the first input of a batch is its longest."""
    batch: list[int] = []
    used = beside = 0
    for index in order:
        bucket = buckets[index]
        computed = (buckets[batch[0]].tokens if batch else 0) * (len(batch) + 1)
        padding = computed - used - bucket.tokens
        full = computed + beside + bucket.beside > budget
        if batch and (full or padding > max(FREE, WASTE * (computed + beside))):
            yield batch
            batch, used, beside = [], 0, 0
        batch.append(index)
        used, beside = used + bucket.tokens, beside + bucket.beside
    if batch:
        yield batch
