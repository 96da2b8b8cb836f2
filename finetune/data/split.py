"""Holds pairs out for a test set, so that no copy of a test pair is trained on.

Pairs are grouped first: those about one item, with copies of one image, or with one text stay on
the same side.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from finetune.data.pairs import ContentKeys, Pair, normalize_text
from finetune.data.perceptual_hash import PerceptualHash, compute_hashes, find_near_duplicates
from finetune.errors import DataError

MIN_WORDS = 4  # of a copied text; shorter ones ("cat", "a red bag") name many things
UNSPACED_SCRIPTS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class DisjointSets:
    """Disjoint sets of the integers below n, with path halving (Tarjan 1975)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, i: int) -> int:
        """Return the smallest member of the set of `i`."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def union(self, i: int, j: int) -> None:
        low, high = sorted((self.find(i), self.find(j)))
        self._parent[high] = low

    def groups(self) -> list[list[int]]:
        """Return the sets, each sorted, in the order of their smallest members."""
        found: dict[int, list[int]] = defaultdict(list)
        for i in range(len(self._parent)):
            found[self.find(i)].append(i)
        return list(found.values())


def group_pairs(
    pairs: Sequence[Pair],
    content_keys: ContentKeys,
    hashes: Mapping[str, PerceptualHash] | None = None,
) -> list[list[int]]:
    """Group pairs of one item, with copies or near-duplicates of one image, or with one long text.

    Negatives join nothing. Returns the indices of the pairs of each group.
    """
    sets = DisjointSets(len(pairs))
    first_by_key: dict[str, int] = {}
    owners: dict[str, tuple[int, str]] = {}  # content -> a pair with that image, and its path
    for index, pair in enumerate(pairs):
        for key in _group_keys(pair, content_keys):
            sets.union(index, first_by_key.setdefault(key, index))
        for path in pair.image_paths:
            owners.setdefault(content_keys.hash_file(path), (index, path))
    hashes = hashes or compute_hashes([path for _, path in owners.values()])[0]
    hashed = [(index, hashes[path]) for index, path in owners.values() if path in hashes]
    for i, j in find_near_duplicates([image_hash for _, image_hash in hashed]):
        sets.union(hashed[i][0], hashed[j][0])
    return sets.groups()


def is_distinctive(text: str) -> bool:
    """Tell whether a repeated text is a copy: it has 4 words or more.

    In scripts without spaces, two letters count as a word.
    """
    return len(text.split()) + len(UNSPACED_SCRIPTS.findall(text)) // 2 >= MIN_WORDS


def _group_keys(pair: Pair, content_keys: ContentKeys) -> Iterator[str]:
    yield f"item {content_keys.item_of(pair)}"
    for path in pair.image_paths:
        yield f"picture {content_keys.hash_file(path)}"
    for side in (pair.query, pair.positive):
        if side.text and is_distinctive(side.text):
            yield f"text {normalize_text(side.text)}"


@dataclass(frozen=True, slots=True)
class TrainTestSplit:
    """The two sides, in the order of the pairs, and the number of groups of each."""

    train: list[Pair]
    test: list[Pair]
    groups: tuple[int, int]


def hold_out(
    pairs: Sequence[Pair],
    share: float = 0.2,
    seed: int = 0,
    content_keys: ContentKeys | None = None,
    hashes: Mapping[str, PerceptualHash] | None = None,
) -> TrainTestSplit:
    """Hold out about `share` of the pairs, in whole groups.

    The same share of each language is held out, and a language with two groups or more is on both
    sides if possible. The draw depends on the seed and on the pairs' items, not on their order.

    Args:
        pairs: The pairs to split.
        share: Share of the pairs to hold out.
        seed: Another seed gives another split.
        content_keys: Caches the images' content.
        hashes: Perceptual hashes by path, if computed already.

    Raises:
        DataError: There is only one group, or an image cannot be read.
    """
    keys = content_keys or ContentKeys()

    def draw_key(rows: Sequence[int]) -> bytes:
        seeded = f"{seed} {min(keys.item_of(pairs[row]) for row in rows)}"
        return blake2b(seeded.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    groups = sorted(group_pairs(pairs, keys, hashes), key=draw_key)
    if len(groups) < 2:
        raise DataError(
            f"no pairs can be held out: all {len(pairs)} pairs share an item, a picture or a "
            "text; add pairs about other things, or hold out none (without --split in "
            "finetune pairs, with --hold-out 0 in finetune train)"
        )
    languages = [Counter(pairs[row].language or "" for row in rows) for rows in groups]
    held_out = _GroupSampler(languages, share).select_held_out()
    held_rows = {row for index in held_out for row in groups[index]}
    return TrainTestSplit(
        [pair for row, pair in enumerate(pairs) if row not in held_rows],
        [pair for row, pair in enumerate(pairs) if row in held_rows],
        (len(groups) - len(held_out), len(held_out)),
    )


class _GroupSampler:
    """Draws the held-out groups, language by language, starting with the rarest.

    `groups`: each group's number of pairs by language, in random order.
    """

    def __init__(self, groups: Sequence[Counter[str]], share: float) -> None:
        self._groups, self._share = groups, share
        self._held: dict[int, bool] = {}  # index of a group -> whether it is held out
        self._groups_by_language: dict[str, list[int]] = defaultdict(list)
        for index, languages in enumerate(groups):
            for language in languages:
                self._groups_by_language[language].append(index)

    def select_held_out(self) -> list[int]:
        by_size = sorted(self._groups_by_language.items(), key=lambda item: (len(item[1]), item[0]))
        for language, members in by_size:
            if len(members) > 1:
                self._draw_groups({index: self._groups[index][language] for index in members})
        undecided = [index for index in range(len(self._groups)) if index not in self._held]
        self._draw_groups({index: self._groups[index].total() for index in undecided})
        self._balance_sides(range(len(self._groups)))
        return [index for index, is_held in self._held.items() if is_held]

    def _draw_groups(self, sizes: Mapping[int, int]) -> None:
        """Decide on the undecided groups, up to the share of the pairs counted in `sizes`."""
        target = self._share * sum(sizes.values())
        taken = sum(size for index, size in sizes.items() if self._held.get(index))
        for index, size in sizes.items():
            if index not in self._held:
                self._held[index] = taken + size / 2 <= target
                taken += size * self._held[index]
        self._balance_sides(sizes)

    def _balance_sides(self, members: Collection[int]) -> None:
        """Move the smallest possible member to the other side if all are on one side."""
        if len(members) < 2 or len({self._held[index] for index in members}) == 2:
            return
        switchable = [index for index in members if self._can_switch_sides(index)]
        if switchable:
            index = min(switchable, key=lambda i: (self._groups[i].total(), i))
            self._held[index] = not self._held[index]

    def _can_switch_sides(self, index: int) -> bool:
        """Tell whether each language on both sides stays on both without this group."""
        for language in self._groups[index]:
            others = [i for i in self._groups_by_language[language] if i != index]
            sides = {self._held[i] for i in others if i in self._held}
            if sides and self._held[index] not in sides:
                return False
        return True
