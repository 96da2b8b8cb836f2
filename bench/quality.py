"""Whether searches find what they should: `python -m bench.quality [--write]`.

Real ingests into temporary collections and real searches through `Collection`, about pictures that
nothing was trained on (bench/quality_data.py). Half of the queries, by their concept, are `dev`, to
choose rules and constants by; the other half, `test`, is looked at for the report alone. `--json`
keeps the figures, and `--before` shows kept ones beside new ones. `--samples` asks the queries of
bench/sample_queries.csv of the sample pictures instead.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.quality_absence import (
    Arrangement,
    arrange_drawings,
    arrange_photographs,
    measure_absence,
)
from bench.quality_data import (
    Dataset,
    Query,
    arrange_folder,
    load_drawings,
    load_photographs,
)
from bench.quality_measures import (
    DEPTH,
    Answer,
    Figures,
    estimate_share,
    measure_recall,
    measure_removal,
    measure_strength_words,
    render_figures,
    select_answers,
)
from bench.quality_negatives import make_negatives
from bench.quality_samples import measure_samples
from bench.report import DOCS, publish
from indexer import Collection, parse_query
from indexer.api import QueryItem
from recipes.starter.packages import PackageError

CAPTION_LANGUAGE = "de"
MIXED_LANGUAGES = ("en", "de", "ja", "zh")  # asked of every mix of captions and names
SHARES = (10, 50, 100)  # percent of the pictures with captions


class Bench:
    """One dataset in one collection, whose pictures are embedded once; captions and names vary."""

    def __init__(self, dataset: Dataset, collection: Collection, folder: Path) -> None:
        self.dataset, self._collection, self._folder = dataset, collection, folder
        self._names: dict[str, str] = {}  # of a picture, by its path

    def arrange(
        self,
        captioned: Sequence[str] = (),
        named: Sequence[str] = (),
        removed: frozenset[str] = frozenset(),
    ) -> None:
        """Give captions to some pictures and telling file names to some, and ingest again."""
        captions = {
            name: self.dataset.captions[name][CAPTION_LANGUAGE]
            for name in captioned
            if CAPTION_LANGUAGE in self.dataset.captions.get(name, {})
        }
        self._names = arrange_folder(
            self.dataset, self._folder, frozenset(named), captions, CAPTION_LANGUAGE, removed
        )
        self._collection.ingest(self._folder, prune=True)

    def ask(self, queries: Sequence[Query]) -> list[Answer]:
        """Search for each query, with near-duplicates as hits of their own."""
        return [self._ask(query) for query in queries]

    def _ask(self, query: Query) -> Answer:
        own, parts = "", list[QueryItem]([query.text])
        if query.kind == "composed":
            own, words = query.text.split(" + ")
            parts = [self.dataset.images[own], words]
        elif query.kind == "negative":
            parts = list(parse_query(query.text))
        start = time.perf_counter()
        results = self._collection.search(parts, limit=DEPTH + 1, group_duplicates=False)
        seconds = time.perf_counter() - start
        found = [(self._names[str(Path(hit.path or "").expanduser())], hit) for hit in results]
        found = [(name, hit) for name, hit in found if name != own][:DEPTH]
        return Answer(
            query=query,
            places=tuple(name for name, _ in found),
            strengths=tuple(hit.strength for _, hit in found),
            words=tuple(hit.match for _, hit in found),
            matches=bool(results.matches),
            seconds=seconds,
        )


def measure_photographs(bench: Bench, test: bool) -> dict[str, Figures]:
    words, sentences, composed, negative = (
        bench.dataset.select_queries(kind, test=test)
        for kind in ("word", "sentence", "composed", "negative")
    )
    bench.arrange()
    given = bench.ask(words)
    removed = bench.ask(negative)
    figures = {
        "Photographs, words": measure_recall(given),
        "Photographs, sentences": measure_recall(bench.ask(sentences)),
        "Photographs, a picture and words": measure_recall(bench.ask(composed)),
        "Photographs, words and a minus": {
            "as in the table": measure_removal(removed),
            "made by rule": measure_removal(bench.ask(make_negatives(bench.dataset, test=test))),
        },
        "Photographs, the words for strength": measure_strength_words(given),
        "Time of a search": {
            "photographs": {"p50 ms": [1e3 * float(np.median([a.seconds for a in given]))]}
        },
    }
    figures["Photographs, present or absent words"] = compare_present_and_absent(
        bench,
        arrange_photographs(bench.dataset, test=test),
        {
            "without captions": [],
            f"{len(bench.dataset.captions)} of {len(bench.dataset.names)} with captions": [
                *bench.dataset.captions
            ],
        },
    )
    return figures


def measure_drawings(bench: Bench, test: bool, limit: int) -> dict[str, Figures]:
    queries = bench.dataset.select_queries("word", test=test)
    chosen = set(random.Random(0).sample(sorted({q.concept for q in queries}), limit))
    queries = [q for q in queries if q.concept in chosen]
    mixed = [q for q in queries if q.language in MIXED_LANGUAGES]
    negative = make_negatives(bench.dataset, test=test)
    names = bench.dataset.names
    order = random.Random(1).sample(names, len(names))
    bench.arrange()
    plain = bench.ask(queries)
    figures = {"Drawings, words": measure_recall(plain)}
    removal = {"no captions": measure_removal(bench.ask(negative))}
    captions: Figures = {}
    for share in SHARES:
        captioned = order[: len(order) * share // 100]
        bench.arrange(captioned=captioned)
        captions |= measure_mix(f"{share} % with a caption", plain, bench.ask(mixed), captioned)
        removal[f"{share} % with a caption"] = measure_removal(bench.ask(negative))
    figures["Drawings, words and a minus"] = removal
    figures[f"Drawings, some with captions in {CAPTION_LANGUAGE}"] = captions
    telling: Figures = {}
    for share in SHARES[1:]:
        named = order[: len(order) * share // 100]
        bench.arrange(named=named)
        telling |= measure_mix(f"{share} % with a telling name", plain, bench.ask(mixed), named)
    figures["Drawings, some with English file names"] = telling
    half = order[: len(order) // 2]
    figures["Drawings, present or absent words"] = compare_present_and_absent(
        bench,
        arrange_drawings(bench.dataset, test=test, limit=limit),
        {"without captions": [], f"50 % with captions in {CAPTION_LANGUAGE}": half},
    )
    return figures


def compare_present_and_absent(
    bench: Bench, arrangements: Sequence[Arrangement], captioned: Mapping[str, Sequence[str]]
) -> Figures:
    """A row for each choice of pictures with captions."""
    figures: Figures = {}
    for title, names in captioned.items():
        present: list[Answer] = []
        absent: list[Answer] = []
        for arrangement in arrangements:
            bench.arrange(captioned=names, removed=arrangement.removed)
            present += bench.ask(arrangement.present)
            absent += bench.ask(arrangement.absent)
        figures[title] = measure_absence(present, absent)
    return figures


def measure_mix(
    title: str, plain: Sequence[Answer], answers: Sequence[Answer], favored: Sequence[str]
) -> Figures:
    """Recall by language; apart, that of pictures not in `favored`, and theirs where none are."""
    figures: Figures = {}
    for language in MIXED_LANGUAGES:
        of = select_answers(answers, language=language)
        others = [a for a in of if not a.query.right.intersection(favored)]
        asked = {a.query.text for a in others}
        same = [a for a in select_answers(plain, language=language) if a.query.text in asked]
        row = {"R@10": estimate_share(of, (a.is_found(DEPTH) for a in of))}
        if others:
            row |= {
                "of those without": estimate_share(others, (a.is_found(DEPTH) for a in others)),
                "theirs where none have": estimate_share(same, (a.is_found(DEPTH) for a in same)),
            }
        figures[f"{title}, {language}"] = row
    return figures


def measure(work: Path, test: bool, limit: int) -> dict[str, Figures]:
    """Raises `PackageError`."""
    figures: dict[str, Figures] = {}
    for load in (load_photographs, load_drawings):
        dataset = load(work)
        with (
            tempfile.TemporaryDirectory(prefix="polylens-bench-", dir=work) as scratch,
            Collection.open("bench", store=Path(scratch) / "store", model="starter") as collection,
        ):
            bench = Bench(dataset, collection, Path(scratch) / "pictures")
            if load is load_photographs:
                figures |= measure_photographs(bench, test)
            else:
                figures |= measure_drawings(bench, test, limit)
    return figures


def render(figures: dict[str, Figures], before: dict[str, Figures]) -> str:
    return "\n\n".join(
        f"### {title}\n\n{render_figures('', rows, before.get(title))}"
        for title, rows in figures.items()
        if rows
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--samples", action="store_true", help="ask about the sample pictures")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--limit", type=int, default=120, help="drawings that are asked for")
    parser.add_argument("--work", type=Path, default=cache, help="where the packages are kept")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--before", type=Path, help="a file of --json to show beside")
    parser.add_argument("--write", action="store_true", help="into docs/quality.md")
    options = parser.parse_args()
    notes = ""
    try:
        if options.samples:
            title, about = "The sample pictures", "How many queries, by language."
            figures, misses = measure_samples()
            notes = f"\n\nNouns whose first place is wrong, in English:\n\n{misses}"
        else:
            title = "Pictures of packages"
            about = f"Percent, on the {options.split} half of the queries, with 95 % intervals."
            figures = measure(options.work, options.split == "test", options.limit)
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    before = {}
    if options.before:
        before = json.loads(options.before.read_text("utf-8"))
        about += " Before → after, where both are known."
    body = f"{about}\n\n{render(figures, before)}{notes}"
    publish(title, body, write=options.write, page=DOCS / "quality.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
