"""Pairs of several sources -> one list of pairs that can be used, and what became of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetune.data.absent import kept, without_absent
from finetune.data.gathered import Gathered
from finetune.data.grouping import pictures
from finetune.data.identity import Identities
from finetune.data.likeness import Look, Progress, looks
from finetune.data.pairs import Pair
from indexer.skips import Undecodable


@dataclass(frozen=True, slots=True)
class Assembled:
    """Pairs that can be used. `missing` and `damaged` are the paths of pictures whose pairs were
    left out, `repeated` counts pairs that stood there before. `seen` tells how pictures look."""

    pairs: list[Pair]
    missing: list[str]
    damaged: dict[str, str]  # path -> why
    repeated: int
    seen: Mapping[str, Look | Undecodable] = field(repr=False)


def assemble(
    sources: Iterable[Gathered],
    identities: Identities,
    *,
    check: bool = True,
    on_progress: Progress = lambda done, total: None,
) -> Assembled:
    """Put the sources' pairs together, each with its item and once.

    Where `check` is set, each picture is decoded, small; else it only has to be there. Raises
    `DataError` where a picture cannot be read any more.
    """
    given = [pair for source in sources for pair in source.pairs]
    there, missing = without_absent(given)
    seen = looks(_named(there), on_progress) if check else {}
    damaged = {path: str(one) for path, one in seen.items() if isinstance(one, Undecodable)}
    usable = kept(there, lambda path: path not in damaged) if damaged else there
    pairs = merged(usable, identities)
    return Assembled(pairs, missing, damaged, len(usable) - len(pairs), seen)


def merged(pairs: Iterable[Pair], identities: Identities) -> list[Pair]:
    """`pairs` with the items that they are about, exact repetitions left out.

    Of two that differ in the name of their data set alone, the first is kept. Raises `DataError`
    where a picture cannot be read.
    """
    found: dict[Pair, Pair] = {}
    for pair in pairs:
        whole = pair if pair.item else replace(pair, item=identities.item(pair))
        found.setdefault(replace(whole, dataset=""), whole)
    return list(found.values())


def tally(pairs: Sequence[Pair]) -> Counter[tuple[str, str]]:
    """How many pairs there are of each direction and language, "" where it is not known."""
    return Counter((pair.direction, pair.language or "") for pair in pairs)


def _named(pairs: Sequence[Pair]) -> list[str]:
    """The paths of all pictures, each once, in order."""
    paths = (path for pair in pairs for path in pictures(pair))
    negatives = (side.image for pair in pairs for side in pair.negatives if side.image)
    return list(dict.fromkeys([*paths, *negatives]))
