"""Holds pairs out for measuring, so that nothing of them is trained on under another name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from finetune.data.content_keys import ContentKeys
from finetune.data.grouping import group_pairs
from finetune.data.pairs import Pair
from finetune.data.perceptual_hash import PerceptualHash
from finetune.errors import DataError
from indexer.skip_reasons import UnusableFileError

TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class TrainTestSplit:
    """The two sides, in the order of the pairs, and how many groups each consists of."""

    train: list[Pair]
    test: list[Pair]
    groups: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PairGroup:
    """Pairs that stay together: their places, how many of each language, and a lot drawn."""

    rows: tuple[int, ...]
    languages: Counter[str]
    draw_key: bytes


def split_pairs(
    pairs: Sequence[Pair], share: float = TEST_SHARE, seed: int = 0
) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on, and about `share` of them held out; see `divide`."""
    result = hold_out(pairs, share, seed)
    return result.train, result.test


def hold_out(
    pairs: Sequence[Pair],
    share: float = TEST_SHARE,
    seed: int = 0,
    content_keys: ContentKeys | None = None,
    hashes: Mapping[str, PerceptualHash | UnusableFileError] | None = None,
) -> TrainTestSplit:
    """Hold out about `share` of the pairs, whole groups of them (`grouping.groups`).

    Each language is held out in the same share, and one with two groups or more is on both sides
    where that can be. The draw hangs on the seed and on what the pairs are about, not on their
    order. `seen` is what `likeness.looks` tells, where that is known already. Raises `DataError`
    where there is but one group, or a picture cannot be read.
    """
    keys = content_keys or ContentKeys()
    pair_groups = [
        _make_group(pairs, held_rows, keys, seed) for held_rows in group_pairs(pairs, keys, hashes)
    ]
    if len(pair_groups) < 2:
        raise DataError(
            f"nothing can be held out of {len(pairs)} pairs that are all about one thing: they "
            "share an item, a picture or a text; add pairs about other things, or leave out --split"
        )
    held_out = _GroupSampler(pair_groups, share).select_held_out()
    held_rows = {row for group in held_out for row in group.rows}
    return TrainTestSplit(
        [pair for row, pair in enumerate(pairs) if row not in held_rows],
        [pair for row, pair in enumerate(pairs) if row in held_rows],
        (len(pair_groups) - len(held_out), len(held_out)),
    )


def _make_group(
    pairs: Sequence[Pair], rows: Sequence[int], content_keys: ContentKeys, seed: int
) -> PairGroup:
    first_item = min(content_keys.item_of(pairs[place]) for place in rows)
    draw_key = blake2b(
        f"{seed} {first_item}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
    return PairGroup(tuple(rows), Counter(pairs[p].language or "" for p in rows), draw_key)


class _GroupSampler:
    """Draws language by language, the rarest first, for it has the least choice."""

    def __init__(self, pair_groups: Sequence[PairGroup], share: float) -> None:
        self._groups = sorted(pair_groups, key=lambda group: group.draw_key)
        self._share = share
        self._held: dict[int, bool] = {}  # place of a group -> whether it is held out
        self._groups_by_language: dict[str, list[int]] = {}
        for index, group in enumerate(self._groups):
            for language in group.languages:
                self._groups_by_language.setdefault(language, []).append(index)

    def select_held_out(self) -> list[PairGroup]:
        for language in sorted(
            self._groups_by_language, key=lambda name: (len(self._groups_by_language[name]), name)
        ):
            members = self._groups_by_language[language]
            if len(members) > 1:
                self._draw_groups(members, language)
        undecided = [i for i in range(len(self._groups)) if i not in self._held]
        self._draw_groups(undecided, None)
        self._balance_sides(list(range(len(self._groups))))
        return [group for index, group in enumerate(self._groups) if self._held[index]]

    def _draw_groups(self, members: list[int], language: str | None) -> None:
        """Decide on the members that are open, up to the share of the language's pairs."""
        sizes = {i: self._count_pairs(i, language) for i in members}
        target = self._share * sum(sizes.values())
        taken = sum(sizes[i] for i in members if self._held.get(i))
        for index in members:
            if index not in self._held:
                self._held[index] = taken + sizes[index] / 2 <= target
                taken += sizes[index] * self._held[index]
        self._balance_sides(members)

    def _balance_sides(self, members: list[int]) -> None:
        """See that two members or more are on both sides: the smallest that may go changes over."""
        sides = {self._held[index] for index in members}
        if len(members) < 2 or len(sides) == 2:
            return
        switchable = [index for index in members if self._can_switch_sides(index)]
        if switchable:
            index = min(switchable, key=lambda i: (len(self._groups[i].rows), i))
            self._held[index] = not self._held[index]

    def _can_switch_sides(self, index: int) -> bool:
        """Whether each language that is on both sides stays so without this group on its side."""
        for language in self._groups[index].languages:
            decided = [
                i for i in self._groups_by_language[language] if i in self._held and i != index
            ]
            sides = {self._held[i] for i in decided}
            if sides and self._held[index] not in sides:
                return False
        return True

    def _count_pairs(self, index: int, language: str | None) -> int:
        group = self._groups[index]
        return len(group.rows) if language is None else group.languages[language]
