"""Holds pairs out for measuring, so that nothing of them is trained on under another name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from finetune.data.grouping import groups
from finetune.data.identity import Identities
from finetune.data.likeness import Look
from finetune.data.pairs import Pair
from finetune.errors import DataError
from indexer.skips import Undecodable

SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """The two sides, in the order of the pairs, and how many groups each consists of."""

    train: list[Pair]
    test: list[Pair]
    groups: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs that stay together: their places, how many of each language, and a lot drawn."""

    places: tuple[int, ...]
    languages: Counter[str]
    lot: bytes


def split(
    pairs: Sequence[Pair], share: float = SHARE, seed: int = 0
) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on, and about `share` of them held out; see `divide`."""
    done = divide(pairs, share, seed)
    return done.train, done.test


def divide(
    pairs: Sequence[Pair],
    share: float = SHARE,
    seed: int = 0,
    identities: Identities | None = None,
    seen: Mapping[str, Look | Undecodable] | None = None,
) -> Split:
    """Hold out about `share` of the pairs, whole groups of them (`grouping.groups`).

    Each language is held out in the same share, and one with two groups or more is on both sides
    where that can be. The draw hangs on the seed and on what the pairs are about, not on their
    order. `seen` is what `likeness.looks` tells, where that is known already. Raises `DataError`
    where there is but one group, or a picture cannot be read.
    """
    known = identities or Identities()
    found = [_group(pairs, places, known, seed) for places in groups(pairs, known, seen)]
    if len(found) < 2:
        raise DataError(
            f"nothing can be held out of {len(pairs)} pairs that are all about one thing: they "
            "share an item, a picture or a text; add pairs about other things, or leave out --split"
        )
    held = _Draw(found, share).held()
    places = {place for group in held for place in group.places}
    return Split(
        [pair for place, pair in enumerate(pairs) if place not in places],
        [pair for place, pair in enumerate(pairs) if place in places],
        (len(found) - len(held), len(held)),
    )


def _group(pairs: Sequence[Pair], places: Sequence[int], known: Identities, seed: int) -> Group:
    least = min(known.item(pairs[place]) for place in places)
    lot = blake2b(f"{seed} {least}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return Group(tuple(places), Counter(pairs[p].language or "" for p in places), lot)


class _Draw:
    """Draws language by language, the rarest first, for it has the least choice."""

    def __init__(self, found: Sequence[Group], share: float) -> None:
        self._groups = sorted(found, key=lambda group: group.lot)
        self._share = share
        self._held: dict[int, bool] = {}  # place of a group -> whether it is held out
        self._of: dict[str, list[int]] = {}
        for index, group in enumerate(self._groups):
            for language in group.languages:
                self._of.setdefault(language, []).append(index)

    def held(self) -> list[Group]:
        for language in sorted(self._of, key=lambda name: (len(self._of[name]), name)):
            members = self._of[language]
            if len(members) > 1:
                self._draw(members, language)
        alone = [i for i in range(len(self._groups)) if i not in self._held]
        self._draw(alone, None)
        self._balance(list(range(len(self._groups))))
        return [group for index, group in enumerate(self._groups) if self._held[index]]

    def _draw(self, members: list[int], language: str | None) -> None:
        """Decide on the members that are open, up to the share of the language's pairs."""
        sizes = {i: self._size(i, language) for i in members}
        target = self._share * sum(sizes.values())
        taken = sum(sizes[i] for i in members if self._held.get(i))
        for index in members:
            if index not in self._held:
                self._held[index] = taken + sizes[index] / 2 <= target
                taken += sizes[index] * self._held[index]
        self._balance(members)

    def _balance(self, members: list[int]) -> None:
        """See that two members or more are on both sides: the smallest that may go changes over."""
        sides = {self._held[index] for index in members}
        if len(members) < 2 or len(sides) == 2:
            return
        free = [index for index in members if self._may_go(index)]
        if free:
            index = min(free, key=lambda i: (len(self._groups[i].places), i))
            self._held[index] = not self._held[index]

    def _may_go(self, index: int) -> bool:
        """Whether each language that is on both sides stays so without this group on its side."""
        for language in self._groups[index].languages:
            decided = [i for i in self._of[language] if i in self._held and i != index]
            sides = {self._held[i] for i in decided}
            if sides and self._held[index] not in sides:
                return False
        return True

    def _size(self, index: int, language: str | None) -> int:
        group = self._groups[index]
        return len(group.places) if language is None else group.languages[language]
