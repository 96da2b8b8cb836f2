"""Merges the pairs of several sources and drops those that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from finetune.data.pairs import ContentKeys, Pair, ProgressCallback, SourcePairs
from finetune.data.perceptual_hash import PerceptualHash, compute_hashes
from indexer.skip_reasons import UnusableFileError

MAX_PATHS_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedPairs:
    """The usable pairs.

    `missing`, `damaged`: paths of images whose pairs were dropped, the latter with the reason;
    `duplicates`: repeated pairs that were dropped; `hashes`: perceptual hashes by path.
    """

    pairs: list[Pair]
    missing: list[str]
    damaged: dict[str, str]
    duplicates: int
    hashes: Mapping[str, PerceptualHash | UnusableFileError] = field(repr=False)


def merge_pairs(
    sources: Iterable[SourcePairs],
    content_keys: ContentKeys,
    *,
    check: bool = True,
    on_progress: ProgressCallback = lambda done, total: None,
) -> MergedPairs:
    """Merge the pairs of `sources`; each usable pair is kept once, with its item.

    With `check` each image is decoded at a small size, otherwise it only has to exist. Raises
    `DataError` if an image cannot be read any more.
    """
    present, missing = drop_missing(pair for source in sources for pair in source.pairs)
    paths = [path for pair in present for path in pair.image_paths]
    paths += [side.image for pair in present for side in pair.negatives if side.image]
    hashes = compute_hashes(list(dict.fromkeys(paths)), on_progress) if check else {}
    damaged = {path: str(one) for path, one in hashes.items() if isinstance(one, UnusableFileError)}
    usable = _keep_usable(present, lambda path: path not in damaged) if damaged else present
    distinct: dict[Pair, Pair] = {}  # without the dataset's name, which may differ
    for pair in usable:
        keyed = pair if pair.item else replace(pair, item=content_keys.item_of(pair))
        distinct.setdefault(replace(keyed, dataset=""), keyed)
    return MergedPairs(
        pairs=list(distinct.values()),
        missing=missing,
        damaged=damaged,
        duplicates=len(usable) - len(distinct),
        hashes=hashes,
    )


def drop_missing(pairs: Iterable[Pair]) -> tuple[list[Pair], list[str]]:
    """Drop the pairs whose images do not exist; also returns the missing paths, sorted."""
    missing: set[str] = set()

    @cache
    def exists(path: str) -> bool:
        found = Path(path).is_file()
        if not found:
            missing.add(path)
        return found

    return _keep_usable(pairs, exists), sorted(missing)


def describe_missing(missing: Sequence[str]) -> str:
    """Describe missing images: 12 pictures are missing, such as a.jpg, b.jpg, c.jpg."""
    count = "1 picture is" if len(missing) == 1 else f"{len(missing)} pictures are"
    return f"{count} missing, such as {', '.join(missing[:MAX_PATHS_SHOWN])}"


def count_pairs(pairs: Sequence[Pair]) -> Counter[tuple[str, str]]:
    """Count pairs by direction and language; "" is an unknown language."""
    return Counter((pair.direction, pair.language or "") for pair in pairs)


def _keep_usable(pairs: Iterable[Pair], is_usable: Callable[[str], bool]) -> list[Pair]:
    """Keep pairs whose query and positive are usable, with their usable negatives."""
    kept = []
    for pair in pairs:
        sides = (pair.query, pair.positive, *pair.negatives)
        query, positive, *rest = [not side.image or is_usable(side.image) for side in sides]
        if query and positive:
            negatives = zip(pair.negatives, rest, strict=True)
            kept.append(
                replace(pair, negatives=tuple(side for side, usable in negatives if usable))
            )
    return kept
