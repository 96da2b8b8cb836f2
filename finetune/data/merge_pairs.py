"""Pairs of several sources -> one list of pairs that can be used, and what became of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetune.data.content_keys import ContentKeys
from finetune.data.grouping import image_paths
from finetune.data.missing_images import drop_missing, keep_usable
from finetune.data.pairs import Pair
from finetune.data.perceptual_hash import PerceptualHash, ProgressCallback, compute_hashes
from finetune.data.source_pairs import SourcePairs
from indexer.skip_reasons import UnusableFileError


@dataclass(frozen=True, slots=True)
class MergedPairs:
    """Pairs that can be used. `missing` and `damaged` are the paths of pictures whose pairs were
    left out, `repeated` counts pairs that stood there before. `seen` tells how pictures look."""

    pairs: list[Pair]
    missing: list[str]
    damaged: dict[str, str]  # path -> why
    duplicates: int
    hashes: Mapping[str, PerceptualHash | UnusableFileError] = field(repr=False)


def merge_pairs(
    sources: Iterable[SourcePairs],
    content_keys: ContentKeys,
    *,
    check: bool = True,
    on_progress: ProgressCallback = lambda done, total: None,
) -> MergedPairs:
    """Put the sources' pairs together, each with its item and once.

    Where `check` is set, each picture is decoded, small; else it only has to be there. Raises
    `DataError` where a picture cannot be read any more.
    """
    all_pairs = [pair for source in sources for pair in source.pairs]
    present, missing = drop_missing(all_pairs)
    hashes = compute_hashes(_image_paths(present), on_progress) if check else {}
    damaged = {path: str(one) for path, one in hashes.items() if isinstance(one, UnusableFileError)}
    usable = keep_usable(present, lambda path: path not in damaged) if damaged else present
    pairs = drop_duplicates(usable, content_keys)
    return MergedPairs(pairs, missing, damaged, len(usable) - len(pairs), hashes)


def drop_duplicates(pairs: Iterable[Pair], content_keys: ContentKeys) -> list[Pair]:
    """`pairs` with the items that they are about, exact repetitions left out.

    Of two that differ in the name of their data set alone, the first is kept. Raises `DataError`
    where a picture cannot be read.
    """
    distinct: dict[Pair, Pair] = {}
    for pair in pairs:
        keyed = pair if pair.item else replace(pair, item=content_keys.item_of(pair))
        distinct.setdefault(replace(keyed, dataset=""), keyed)
    return list(distinct.values())


def count_pairs(pairs: Sequence[Pair]) -> Counter[tuple[str, str]]:
    """How many pairs there are of each direction and language, "" where it is not known."""
    return Counter((pair.direction, pair.language or "") for pair in pairs)


def _image_paths(pairs: Sequence[Pair]) -> list[str]:
    """The paths of all pictures, each once, in order."""
    paths = (path for pair in pairs for path in image_paths(pair))
    negatives = (side.image for pair in pairs for side in pair.negatives if side.image)
    return list(dict.fromkeys([*paths, *negatives]))
