"""Tables of pairs as people make them: columns `query, positive, negative`, or `image, caption`.

Names that other collections use are understood: `anchor`, and `sent0, sent1, hard_neg` of the
triplets that E5-V is trained on (https://arxiv.org/abs/2407.12580, from SimCSE's).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from finetune.data.formats.cells import (
    Row,
    get_language,
    get_text,
    get_texts,
    make_side,
    require_side,
    resolve_image_path,
)
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from indexer.captions.manifest import FILE_COLUMNS
from indexer.captions.sidecar import CAPTION_KEYS, parse_caption_key

QUERY_COLUMNS = ("query", "anchor", "sent0")
POSITIVE_COLUMNS = ("positive", "sent1")
NEGATIVE_COLUMN = re.compile(r"(negatives?|hard_neg)(_\d+)?(?P<image>_image(_\d+)?)?")
LANGUAGE_COLUMNS = ("language", "lang")
EXPECTED_COLUMNS = (
    "query and positive, and perhaps negative (or query_image, positive_image, negative_image); or "
    "image and caption; or MMEB's qry, qry_image_path, pos_text, pos_image_path"
)


def parse_row(row: Row, root: Path, dataset: str = "") -> Iterator[Pair]:
    """The pairs of a row, relative paths of pictures told from `root`; raises `DataError`.

    A row gives one; a row of captions one for each that is not empty, from words to the picture.
    """
    cells = {name.strip().lower(): value for name, value in row.items() if name}
    if not any(f"{name}{tail}" in cells for name in QUERY_COLUMNS for tail in ("", "_image")):
        yield from _iter_caption_pairs(cells, root, dataset)
        return
    query = _parse_side(cells, QUERY_COLUMNS, root, "instruction")
    positive = _parse_side(cells, POSITIVE_COLUMNS, root, "positive_instruction")
    yield Pair(
        require_side(query, "query"),
        require_side(positive, "positive"),
        tuple(_iter_negatives(cells, root, get_text(cells, "positive_instruction"))),
        get_language(cells, *LANGUAGE_COLUMNS),
        get_text(cells, "item"),
        get_text(cells, "dataset") or dataset,
    )


def _parse_side(cells: Row, names: tuple[str, ...], root: Path, instruction: str) -> Side | None:
    name = next((n for n in names if n in cells or f"{n}_image" in cells), names[0])
    image = resolve_image_path(get_text(cells, f"{name}_image"), root)
    return make_side(get_text(cells, name), image, get_text(cells, instruction))


def _iter_negatives(cells: Row, root: Path, instruction: str) -> Iterator[Side]:
    """`negative_image` stands beside `negative`, `negative_2_image` beside `negative_2`."""
    for name in cells:
        match = NEGATIVE_COLUMN.fullmatch(name)
        if match is None or (match["image"] and name.replace("_image", "", 1) in cells):
            continue
        images = get_texts(cells, name if match["image"] else f"{name}_image")
        texts = [] if match["image"] else get_texts(cells, name)
        for index in range(max(len(texts), len(images))):
            image = resolve_image_path(images[index], root) if index < len(images) else None
            negative = make_side(texts[index] if index < len(texts) else "", image, instruction)
            if negative is not None:
                yield negative


def _iter_caption_pairs(cells: Row, root: Path, dataset: str) -> Iterator[Pair]:
    column = next((name for name in FILE_COLUMNS if name in cells), None)
    captions = [
        (name, tag)
        for name in cells
        for key, tag in [parse_caption_key(name)]
        if _is_caption_key(key)
    ]
    if column is None or not captions:
        found_columns = ", ".join(cells) or "none"
        raise DataError(
            f"its columns do not tell what a pair is ({found_columns}); name them {EXPECTED_COLUMNS}"
        )
    target = require_side(
        make_side("", resolve_image_path(get_text(cells, column), root)), f"column {column}"
    )
    language, item = get_language(cells, *LANGUAGE_COLUMNS), get_text(cells, "item")
    dataset_name = get_text(cells, "dataset") or dataset
    for name, tag in captions:
        for text in get_texts(cells, name):
            if text.strip():
                yield Pair(Side(text.strip()), target, (), tag or language, item, dataset_name)


def _is_caption_key(key: str) -> bool:
    return key in CAPTION_KEYS
