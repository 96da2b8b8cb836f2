"""What the sample pictures answer: bench/sample_queries.csv asked of collections of samples/.

`right` and `wrong` in that table are the stems of sample pictures. The kinds of query:

    noun      the everyday word, as a child would say it, for what a sample picture shows; each
              picture gives one (a building its kind, not its name), and every picture in which
              the thing is plainly to be seen is right
    absent    an everyday noun of which no sample shows anything
    sentence  a few words; those of the README are among them
    composed  a sample picture + words; the picture itself is a place only if it is right
    negative  as typed, with signs and weights; a wrong picture may not be among the first ten
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.quality_measures import Figures
from indexer import Collection, parse_query

SAMPLES = Path(__file__).parent.parent / "samples"
QUERIES = Path(__file__).parent / "sample_queries.csv"
LANGUAGES = ("en", "de", "fr", "es", "ja", "zh", "ar", "ru")
IMAGE_SUFFIXES = {".jpg", ".webp", ".png", ".avif"}
COLLECTIONS: dict[str, dict[str, bool]] = {
    "as shipped, 38 of 93 with captions": {},
    "without captions": {"captions": False},
    "without captions and names": {"captions": False, "names": False},
}
DEPTH = 10  # places in which a wrong picture counts


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleQuery:
    """One query in one language, with the stems of the pictures that may and may not be found."""

    kind: str
    language: str
    text: str
    right: frozenset[str]
    wrong: frozenset[str]


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """What a query got: the stems of the first hits, and whether it was said that any matches."""

    query: SampleQuery
    places: tuple[str, ...]
    matches: bool

    @property
    def is_right(self) -> bool:
        """Whether the first place is right, and no wrong picture is among the first."""
        first = self.places[:1]
        return bool(self.query.right.intersection(first)) and not self.query.wrong.intersection(
            self.places
        )


def list_images() -> list[Path]:
    return sorted(path for path in SAMPLES.rglob("*") if path.suffix in IMAGE_SUFFIXES)


def read_sample_queries() -> list[SampleQuery]:
    """Each row of the table in each language that it has."""
    with QUERIES.open(encoding="utf-8", newline="") as file:
        return [
            SampleQuery(
                kind=row["kind"],
                language=language,
                text=row[language],
                right=frozenset(row["right"].split()),
                wrong=frozenset(row["wrong"].split()),
            )
            for row in csv.DictReader(file)
            for language in LANGUAGES
            if row[language]
        ]


@dataclass(frozen=True, slots=True)
class SampleCollection:
    """A collection of samples/, and the stem in samples/ of each of its file names."""

    collection: Collection
    stems: Mapping[str, str]

    def answer(self, query: SampleQuery) -> SampleAnswer:
        parts = parse_query(query.text) if query.kind == "negative" else _read_parts(query)
        results = self.collection.search(parts, limit=DEPTH + 1)
        own = query.text.partition(" + ")[0] if query.kind == "composed" else ""
        hidden = {own} - query.right
        places = [self.stems.get(Path(hit.path or "").name, "") for hit in results]
        places = [stem for stem in places if stem not in hidden]
        return SampleAnswer(query, tuple(places[:DEPTH]), results.matches is not False)


def _read_parts(query: SampleQuery) -> list[str | Path]:
    if query.kind != "composed":
        return [query.text]
    image, words = query.text.split(" + ")
    return [next(path for path in list_images() if path.stem == image), words]


@contextmanager
def ingest_samples(*, captions: bool = True, names: bool = True) -> Iterator[SampleCollection]:
    """A temporary collection of samples/: as shipped, or without captions, or names either."""
    with TemporaryDirectory(prefix="polylens-bench-") as scratch:
        source, stems = SAMPLES, {path.name: path.stem for path in list_images()}
        if not captions:
            source = Path(scratch) / "samples"
            stems = dict(_copy_images(source, names))
        with Collection.open("samples", store=Path(scratch) / "store", model="starter") as opened:
            opened.ingest(source)
            yield SampleCollection(opened, stems)


def _copy_images(target: Path, names: bool) -> Iterator[tuple[str, str]]:
    """Copy the pictures alone, and give the name of each with its stem in samples/."""
    for number, path in enumerate(list_images()):
        copy = target / path.relative_to(SAMPLES)
        if not names:
            copy = target / "DCIM" / f"IMG_{number:04}{path.suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        yield copy.name, path.stem


def measure_samples() -> tuple[dict[str, Figures], str]:
    """Ask every query of three collections: how many are answered, and a list of wrong answers."""
    queries = read_sample_queries()
    answers: dict[str, list[SampleAnswer]] = {}
    for title, options in COLLECTIONS.items():
        with ingest_samples(**options) as samples:
            answers[title] = [samples.answer(query) for query in queries]
    figures = {
        f"First place right: {kind}": _count(answers, kind, lambda answer: answer.is_right)
        for kind in ("noun", "sentence", "composed", "negative")
    }
    for kind in ("absent", "noun"):
        figures[f"Said that nothing matches: {kind}"] = _count(
            answers, kind, lambda answer: not answer.matches
        )
    return figures, "\n".join(_list_misses(answers))


def _count(
    answers: Mapping[str, Sequence[SampleAnswer]],
    kind: str,
    is_good: Callable[[SampleAnswer], bool],
) -> Figures:
    """One row a collection, one column a language: how many of the kind's answers are good."""
    figures: Figures = {}
    for title, given in answers.items():
        asked = [answer for answer in given if answer.query.kind == kind]
        good = Counter(answer.query.language for answer in asked if is_good(answer))
        languages = [x for x in LANGUAGES if any(answer.query.language == x for answer in asked)]
        figures[title] = {language: [float(good[language])] for language in languages}
        figures[title]["of"] = [len(asked) / len(languages)]
    return figures


def _list_misses(answers: Mapping[str, Sequence[SampleAnswer]]) -> Iterator[str]:
    for title, given in answers.items():
        misses = [
            f"{a.query.text} ({a.places[0] or 'a text'})"
            for a in given
            if a.query.kind == "noun" and a.query.language == "en" and not a.is_right
        ]
        yield f"- {title}: {', '.join(misses) or 'none'}"
