"""Which pairs belong together, so that a split may not part them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from finetune.data.identity import Identities, normal
from finetune.data.likeness import Look, alike, looks
from finetune.data.pairs import Pair
from indexer.skips import Undecodable

WORDS = 4  # fewer ("cat", "a red bag") are names that many things share, and no sign of a copy
DENSE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class Sets:
    """Disjoint sets of the numbers below n (Tarjan 1975)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, i: int) -> int:
        """The least member of the set of `i`."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        low, high = sorted((self.find(i), self.find(j)))
        self._parent[high] = low

    def groups(self) -> list[list[int]]:
        """The sets, each in order, by their least members."""
        found: dict[int, list[int]] = defaultdict(list)
        for i in range(len(self._parent)):
            found[self.find(i)].append(i)
        return list(found.values())


def groups(
    pairs: Sequence[Pair],
    identities: Identities,
    seen: Mapping[str, Look | Undecodable] | None = None,
) -> list[list[int]]:
    """The places of pairs that are about the same: of one item, with a picture that is a copy of
    another's (by content, or to the eye), or with a text of `WORDS` words that is another's.

    `seen`: how pictures look, by path, where that is known already. Negatives join nothing. Raises
    `DataError` where a picture cannot be read.
    """
    sets = Sets(len(pairs))
    first: dict[str, int] = {}
    owners: dict[str, tuple[int, str]] = {}  # content -> a pair with that picture, and its path
    for place, pair in enumerate(pairs):
        for key in _keys(pair, identities):
            sets.join(place, first.setdefault(key, place))
        for path in pictures(pair):
            owners.setdefault(identities.content(path), (place, path))
    seen = seen or looks([path for _, path in owners.values()])
    known = [(place, seen.get(path)) for place, path in owners.values()]
    looked = [(place, one) for place, one in known if isinstance(one, Look)]
    for i, j in alike([one for _, one in looked]):
        sets.join(looked[i][0], looked[j][0])
    return sets.groups()


def pictures(pair: Pair) -> Iterator[str]:
    """The paths of a pair's pictures, without its negatives'."""
    yield from (side.image for side in (pair.query, pair.positive) if side.image)


def says_enough(text: str) -> bool:
    """Whether a text is long enough that two of it are copies; in scripts without blanks between
    words, two letters count as one."""
    return len(text.split()) + len(DENSE.findall(text)) // 2 >= WORDS


def _keys(pair: Pair, identities: Identities) -> Iterator[str]:
    yield f"item {identities.item(pair)}"
    for path in pictures(pair):
        yield f"picture {identities.content(path)}"
    for side in (pair.query, pair.positive):
        if side.text and says_enough(side.text):
            yield f"text {normal(side.text)}"
