"""Words and a minus, such as `bird -penguin`, made by rule from the words that pictures have.

Photographs: a word of which some pictures have another word too, minus that one. Drawings: the
kind of thing that a folder holds, minus one of its captions; and a thing, minus one of its colors.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import permutations

from bench.quality_data import Dataset, Query

LANGUAGES = ("en", "de", "ja")  # of drawings
KINDS = {  # folder -> what is in it
    "animals/birds": ("bird", "Vogel", "鳥"),
    "animals/insects": ("insect", "Insekt", "昆虫"),
    "animals/mammals": ("mammal", "Säugetier", "哺乳類"),
    "clothes/hats": ("hat", "Hut", "帽子"),
    "food/fruit": ("fruit", "Obst", "果物"),
    "food/vegetables": ("vegetable", "Gemüse", "野菜"),
    "hobbies/music": ("musical instrument", "Musikinstrument", "楽器"),
    "household/tools": ("tool", "Werkzeug", "道具"),
    "town/houses": ("building", "Gebäude", "建物"),
    "vehicles": ("vehicle", "Fahrzeug", "乗り物"),
}
CAPTIONS_OF_A_KIND = 7
MAX_WORDS = 2  # of a caption that is taken away
THINGS = {
    "apple": ("apple", "Apfel", "りんご"),
    "bus": ("bus", "Bus", "バス"),
    "eye": ("eye", "Auge", "目"),
    "fedora": ("hat", "Hut", "帽子"),
    "flag": ("flag", "Flagge", "旗"),
    "hat": ("hat", "Hut", "帽子"),
    "pants": ("pants", "Hose", "ズボン"),
    "pepper": ("pepper", "Paprika", "ピーマン"),
}  # the last word of a caption -> the thing
COLORS = {
    "blue": ("blue", "blau", "青"),
    "brown": ("brown", "braun", "茶色"),
    "green": ("green", "grün", "緑"),
    "purple": ("purple", "lila", "紫"),
    "red": ("red", "rot", "赤"),
    "white": ("white", "weiß", "白"),
    "yellow": ("yellow", "gelb", "黄色"),
}


def make_negatives(dataset: Dataset, *, test: bool) -> list[Query]:
    """Make the queries of one half, which are beside those that the dataset has."""
    made = (*_subtract_words(dataset), *_subtract_captions(dataset), *_subtract_colors(dataset))
    return [query for query in made if query.is_test == test]


def _subtract_words(dataset: Dataset) -> Iterator[Query]:
    """In all languages; without the queries that are in the table of the photographs."""
    known = {q.text for q in dataset.queries if q.kind == "negative"}
    by_picture: dict[tuple[str, str], list[Query]] = defaultdict(list)
    for query in dataset.queries:
        for name in query.right if query.kind == "word" else ():
            by_picture[query.language, name].append(query)
    pairs = {pair for words in by_picture.values() for pair in permutations(words, 2)}
    for wanted, unwanted in sorted(pairs, key=lambda pair: (pair[0].text, pair[1].text)):
        right, both = wanted.right - unwanted.right, wanted.right & unwanted.right
        text = _write(wanted.text, unwanted.text)
        if len(right) > len(both) and text not in known:
            yield _make(unwanted.concept, wanted.language, text, right, unwanted.right)


def _subtract_captions(dataset: Dataset) -> Iterator[Query]:
    for folder, words in KINDS.items():
        inside = {name for name in dataset.names if name.startswith(f"{folder}/")}
        by_caption: dict[str, str] = {}  # English caption -> a picture
        for name in sorted(inside):
            caption = dataset.captions[name]
            text = caption.get("en", "")
            is_kind = words[0] in text.split()
            if len(text.split()) <= MAX_WORDS and not is_kind and {*LANGUAGES} <= caption.keys():
                by_caption.setdefault(text, name)
        for text in random.Random(folder).sample(
            sorted(by_caption), min(CAPTIONS_OF_A_KIND, len(by_caption))
        ):
            wrong = {n for n in dataset.names if _has(dataset.captions[n].get("en", ""), text)}
            for language, word in zip(LANGUAGES, words, strict=True):
                unwanted = dataset.captions[by_caption[text]][language]
                yield _make(text, language, _write(word, unwanted), inside - wrong, wrong)


def _subtract_colors(dataset: Dataset) -> Iterator[Query]:
    """The right pictures are those that are said to have another color."""
    by_color: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, captions in dataset.captions.items():
        words = captions.get("en", "").split()
        if words and words[-1] in THINGS:
            for color in COLORS.keys() & {*words}:
                by_color[THINGS[words[-1]]][color].add(name)
    for thing, colors in sorted(by_color.items()):
        for color in sorted(colors):
            right = set().union(*colors.values()) - colors[color]
            for language, word, unwanted in zip(LANGUAGES, thing, COLORS[color], strict=True):
                if right:
                    text = _write(word, unwanted)
                    yield _make(f"{color} {thing[0]}", language, text, right, colors[color])


def _has(caption: str, text: str) -> bool:
    return f" {text} " in f" {caption} "


def _write(wanted: str, unwanted: str) -> str:
    """As it is typed: `"musical instrument" -guitar`."""
    first, second = (f'"{text}"' if " " in text else text for text in (wanted, unwanted))
    return f"{first} -{second}"


def _make(
    concept: str, language: str, text: str, right: Iterable[str], wrong: Iterable[str]
) -> Query:
    return Query(
        kind="negative",
        concept=concept,
        language=language,
        text=text,
        right=frozenset(right),
        wrong=frozenset(wrong),
    )
