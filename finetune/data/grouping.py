"""Which pairs belong together, so that a split may not part them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from finetune.data.content_keys import ContentKeys, normalize_text
from finetune.data.pairs import Pair
from finetune.data.perceptual_hash import PerceptualHash, compute_hashes, find_near_duplicates
from indexer.skip_reasons import UnusableFileError

MIN_WORDS = 4  # fewer ("cat", "a red bag") are names that many things share, and no sign of a copy
UNSPACED_SCRIPTS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class DisjointSets:
    """Disjoint sets of the numbers below n (Tarjan 1975)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, i: int) -> int:
        """The least member of the set of `i`."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def union(self, i: int, j: int) -> None:
        low, high = sorted((self.find(i), self.find(j)))
        self._parent[high] = low

    def groups(self) -> list[list[int]]:
        """The sets, each in order, by their least members."""
        found: dict[int, list[int]] = defaultdict(list)
        for i in range(len(self._parent)):
            found[self.find(i)].append(i)
        return list(found.values())


def group_pairs(
    pairs: Sequence[Pair],
    content_keys: ContentKeys,
    hashes: Mapping[str, PerceptualHash | UnusableFileError] | None = None,
) -> list[list[int]]:
    """The places of pairs that are about the same: of one item, with a picture that is a copy of
    another's (by content, or to the eye), or with a text of `WORDS` words that is another's.

    `seen`: how pictures look, by path, where that is known already. Negatives join nothing. Raises
    `DataError` where a picture cannot be read.
    """
    sets = DisjointSets(len(pairs))
    first_by_key: dict[str, int] = {}
    owners: dict[str, tuple[int, str]] = {}  # content -> a pair with that picture, and its path
    for index, pair in enumerate(pairs):
        for key in _group_keys(pair, content_keys):
            sets.union(index, first_by_key.setdefault(key, index))
        for path in image_paths(pair):
            owners.setdefault(content_keys.hash_file(path), (index, path))
    hashes = hashes or compute_hashes([path for _, path in owners.values()])
    owner_hashes = [(index, hashes.get(path)) for index, path in owners.values()]
    hashed = [
        (index, image_hash)
        for index, image_hash in owner_hashes
        if isinstance(image_hash, PerceptualHash)
    ]
    for i, j in find_near_duplicates([image_hash for _, image_hash in hashed]):
        sets.union(hashed[i][0], hashed[j][0])
    return sets.groups()


def image_paths(pair: Pair) -> Iterator[str]:
    """The paths of a pair's pictures, without its negatives'."""
    yield from (side.image for side in (pair.query, pair.positive) if side.image)


def is_distinctive(text: str) -> bool:
    """Whether a text is long enough that two of it are copies; in scripts without blanks between
    words, two letters count as one."""
    return len(text.split()) + len(UNSPACED_SCRIPTS.findall(text)) // 2 >= MIN_WORDS


def _group_keys(pair: Pair, content_keys: ContentKeys) -> Iterator[str]:
    yield f"item {content_keys.item_of(pair)}"
    for path in image_paths(pair):
        yield f"picture {content_keys.hash_file(path)}"
    for side in (pair.query, pair.positive):
        if side.text and is_distinctive(side.text):
            yield f"text {normalize_text(side.text)}"
