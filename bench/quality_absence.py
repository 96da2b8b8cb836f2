"""Whether it is known when nothing matches: words whose pictures are there, or are taken out.

Half of the words are made absent by taking their pictures out of the collection, then the other
half: each word is asked once where it is present and once where it is absent. Words that name
nothing in any picture are asked too. A word counts as absent only if no picture that stays shows
what it names, however small. For photographs all were looked at before anything was searched, and
what is in the background of others is never taken out (`BACKGROUND`). Of drawings, no caption and
no folder that stays may have a word of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.quality_data import Dataset, Query
from bench.quality_measures import Answer, Estimate, estimate_share

BACKGROUND = frozenset([
    "boat", "bridge", "bucket", "bus", "canyon", "castle", "cat", "chair", "church", "clock",
    "dandelion", "drum", "flower", "forest", "guitar", "horse", "house", "leaf", "mosque",
    "mountain", "orchestra", "palace", "pier", "plate", "pyramid", "skyscraper", "statue",
    "sunset", "table", "temple", "tower", "light bulb",
])  # fmt: skip
"""Concepts that are seen in photographs of something else too, or that others show a kind of."""

LANGUAGES = ("en", "de", "ja", "zh")  # in which drawings are asked for
MAX_WORDS = 2  # of a caption, in some language
KEPT = (90, 85)  # percent of the present words


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """A collection without some pictures: the words of those that stay, and of what is absent."""

    removed: frozenset[str]
    present: Sequence[Query]
    absent: Sequence[Query]


def arrange_photographs(dataset: Dataset, *, test: bool) -> list[Arrangement]:
    """Two arrangements, which take out half of the words each; not those in `BACKGROUND`."""
    words = [
        query
        for query in dataset.select_queries("word", test=test)
        if query.concept not in BACKGROUND
    ]
    never = dataset.select_queries("absent", test=test)
    return [
        Arrangement(removed=removed, present=present, absent=[*absent, *never])
        for removed, present, absent in _halve(words)
    ]


def arrange_drawings(dataset: Dataset, *, test: bool, limit: int) -> list[Arrangement]:
    """Two arrangements, with the captions of at most `limit` concepts."""
    words = [q for q in dataset.select_queries("word", test=test) if q.language in LANGUAGES]
    concepts = sorted({query.concept for query in words if len(query.text.split()) <= MAX_WORDS})
    chosen = set(random.Random(0).sample(concepts, min(limit, len(concepts))))
    english = {query.concept: query.text for query in words if query.language == "en"}
    arrangements = []
    for removed, present, absent in _halve([q for q in words if q.concept in chosen]):
        kept = [name for name in dataset.names if name not in removed]
        written = {word for name in kept for word in _split_words(name)}
        for name in kept:
            written.update(
                w for text in dataset.captions[name].values() for w in _split_words(text)
            )
        gone = [
            query
            for query in absent
            if written.isdisjoint(
                [
                    *_split_words(query.text),
                    *_split_words(english.get(query.concept, "")),
                    *_split_words(query.concept.rpartition("/")[2]),
                ]
            )
        ]
        arrangements.append(Arrangement(removed=removed, present=present, absent=gone))
    return arrangements


def _halve(words: Sequence[Query]) -> list[tuple[frozenset[str], list[Query], list[Query]]]:
    """For each half of the concepts: their pictures, the words that still have one, and theirs."""
    concepts = sorted({query.concept for query in words})
    first = set(random.Random(2).sample(concepts, len(concepts) // 2))
    halves = []
    for half in (first, set(concepts) - first):
        absent = [query for query in words if query.concept in half]
        removed = frozenset().union(*(query.right for query in absent))
        present = [q for q in words if q.concept not in half and not q.right <= removed]
        halves.append((removed, present, absent))
    return halves


def _split_words(text: str) -> list[str]:
    """Words in small letters, without the s of a plural."""
    return [word.removesuffix("s") for word in re.findall(r"[^\W_]+", text.casefold())]


def measure_absence(present: Sequence[Answer], absent: Sequence[Answer]) -> dict[str, Estimate]:
    """How well the strength of the best hit tells present things from absent ones.

    The area under the ROC curve, and the false alarms where the threshold keeps 90 or 85 % of the
    present (Fawcett 2006), among the words about which a claim is made; and then with those of the
    present alone whose picture comes first, as no threshold can tell the others from absent ones.
    And how often it was said that something matches, of all words.
    """
    claimed = [a for a in present if a.strength is not None]
    gone = [a for a in absent if a.strength is not None]
    row = {
        "present": [float(len(present))],
        "absent": [float(len(absent))],
        "no claim": [100 - 100 * (len(claimed) + len(gone)) / (len(present) + len(absent))],
        **_measure_alarms(claimed, gone),
    }
    found = _measure_alarms([a for a in claimed if a.is_found(1)], gone)
    row |= {f"found first: {title}": value for title, value in found.items()}
    row["said to match, present"] = estimate_share(present, (a.matches for a in present))
    row["said to match, absent"] = estimate_share(absent, (a.matches for a in absent))
    return row


def _measure_alarms(present: Sequence[Answer], absent: Sequence[Answer]) -> dict[str, Estimate]:
    here, gone = (np.array([a.strength for a in x], dtype=np.float64) for x in (present, absent))
    if not len(here):
        return {}
    auc = np.mean(here[:, None] > gone) + np.mean(here[:, None] == gone) / 2
    row = {"AUC": [float(auc)]}
    for kept in KEPT:
        threshold = np.percentile(here, 100 - kept, method="lower")
        row[f"alarms at {kept} %"] = estimate_share(absent, gone >= threshold)
    return row
