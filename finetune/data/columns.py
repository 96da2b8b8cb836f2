"""Tables of pairs as people make them: columns `query, positive, negative`, or `image, caption`.

Names that other collections use are understood: `anchor`, and `sent0, sent1, hard_neg` of the
triplets that E5-V is trained on (https://arxiv.org/abs/2407.12580, from SimCSE's).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from finetune.data.cells import Row, language_of, picture, required, side, text_of, texts_of
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from indexer.manifest import FILE_COLUMNS
from indexer.sidecars import CAPTION_KEYS, caption_key

QUERIES = ("query", "anchor", "sent0")
POSITIVES = ("positive", "sent1")
NEGATIVE = re.compile(r"(negatives?|hard_neg)(_\d+)?(?P<image>_image(_\d+)?)?")
LANGUAGES = ("language", "lang")
NEEDED = (
    "query and positive, and perhaps negative (or query_image, positive_image, negative_image); or "
    "image and caption; or MMEB's qry, qry_image_path, pos_text, pos_image_path"
)


def parse(row: Row, root: Path, dataset: str = "") -> Iterator[Pair]:
    """The pairs of a row, relative paths of pictures told from `root`; raises `DataError`.

    A row gives one; a row of captions one for each that is not empty, from words to the picture.
    """
    cells = {name.strip().lower(): value for name, value in row.items() if name}
    if not any(f"{name}{tail}" in cells for name in QUERIES for tail in ("", "_image")):
        yield from _captions(cells, root, dataset)
        return
    query = _side(cells, QUERIES, root, "instruction")
    positive = _side(cells, POSITIVES, root, "positive_instruction")
    yield Pair(
        required(query, "query"),
        required(positive, "positive"),
        tuple(_negatives(cells, root, text_of(cells, "positive_instruction"))),
        language_of(cells, *LANGUAGES),
        text_of(cells, "item"),
        text_of(cells, "dataset") or dataset,
    )


def _side(cells: Row, names: tuple[str, ...], root: Path, instruction: str) -> Side | None:
    name = next((n for n in names if n in cells or f"{n}_image" in cells), names[0])
    image = picture(text_of(cells, f"{name}_image"), root)
    return side(text_of(cells, name), image, text_of(cells, instruction))


def _negatives(cells: Row, root: Path, instruction: str) -> Iterator[Side]:
    """`negative_image` stands beside `negative`, `negative_2_image` beside `negative_2`."""
    for name in cells:
        match = NEGATIVE.fullmatch(name)
        if match is None or (match["image"] and name.replace("_image", "", 1) in cells):
            continue
        images = texts_of(cells, name if match["image"] else f"{name}_image")
        texts = [] if match["image"] else texts_of(cells, name)
        for index in range(max(len(texts), len(images))):
            image = picture(images[index], root) if index < len(images) else None
            negative = side(texts[index] if index < len(texts) else "", image, instruction)
            if negative is not None:
                yield negative


def _captions(cells: Row, root: Path, dataset: str) -> Iterator[Pair]:
    column = next((name for name in FILE_COLUMNS if name in cells), None)
    captions = [(name, tag) for name in cells for key, tag in [caption_key(name)] if _is(key)]
    if column is None or not captions:
        there = ", ".join(cells) or "none"
        raise DataError(f"its columns do not tell what a pair is ({there}); name them {NEEDED}")
    target = required(side("", picture(text_of(cells, column), root)), f"column {column}")
    language, item = language_of(cells, *LANGUAGES), text_of(cells, "item")
    source = text_of(cells, "dataset") or dataset
    for name, tag in captions:
        for text in texts_of(cells, name):
            if text.strip():
                yield Pair(Side(text.strip()), target, (), tag or language, item, source)


def _is(key: str) -> bool:
    return key in CAPTION_KEYS
