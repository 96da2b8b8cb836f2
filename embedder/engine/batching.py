"""Groups inputs into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from embedder.engine.backbone import Bucket

MAX_PADDING_RATIO = 0.03  # the most padding in a batch, as a share of what it computes
FREE_PADDING_TOKENS = 64  # padded tokens that cost less than another batch would


def plan_batches(buckets: Sequence[Bucket], budget: int) -> list[list[int]]:
    """Indices of `buckets` in batches of one key, of at most `budget` tokens with their padding,
    the dearest first, so that memory runs out at once or never."""
    order = sorted(range(len(buckets)), key=lambda i: (str(buckets[i].key), -buckets[i].tokens))
    grouped = groupby(order, key=lambda i: buckets[i].key)
    batches = [batch for _, group in grouped for batch in _split_run(list(group), buckets, budget)]
    return sorted(batches, key=lambda batch: -count_tokens([buckets[i] for i in batch]))


def count_tokens(batch: Sequence[Bucket]) -> int:
    """Tokens that a batch computes, padding among them."""
    return len(batch) * max(b.tokens for b in batch) + sum(b.extra_tokens for b in batch)


def compute_padding_ratio(buckets: Sequence[Bucket], batches: Sequence[Sequence[int]]) -> float:
    """Padding as a share of all that `batches` compute."""
    computed = sum(count_tokens([buckets[i] for i in batch]) for batch in batches)
    wanted = sum(bucket.tokens + bucket.extra_tokens for bucket in buckets)
    return 1 - wanted / computed if computed else 0.0


def _split_run(order: Sequence[int], buckets: Sequence[Bucket], budget: int) -> Iterator[list[int]]:
    """Runs of `order`, whose tokens fall: the first input of a batch is its longest."""
    batch: list[int] = []
    used = extra_tokens = 0
    for index in order:
        bucket = buckets[index]
        computed = (buckets[batch[0]].tokens if batch else 0) * (len(batch) + 1)
        padding = computed - used - bucket.tokens
        is_full = computed + extra_tokens + bucket.extra_tokens > budget
        if batch and (
            is_full
            or padding > max(FREE_PADDING_TOKENS, MAX_PADDING_RATIO * (computed + extra_tokens))
        ):
            yield batch
            batch, used, extra_tokens = [], 0, 0
        batch.append(index)
        used, extra_tokens = used + bucket.tokens, extra_tokens + bucket.extra_tokens
    if batch:
        yield batch
