"""Rows in the columns of MMEB-train, which finetune's own files have too.

They are `qry`, `qry_image_path`, `pos_text`, `pos_image_path`, `neg_text`, `neg_image_path`
(https://huggingface.co/datasets/TIGER-Lab/MMEB-train); mmE5's rows also have `modality`. Our own
files add `qry_instruction`, `pos_instruction`, `language`, `item` and `dataset`. "" means none.

MMEB writes instruction and text into one cell: `<|image_1|>\\n{instruction} {text}\\n`. They are
split here, so that a model family's prompt joins them as its authors did.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

from finetune.data.formats.columns import (
    Row,
    get_language,
    get_text,
    get_texts,
    make_side,
    require_side,
    resolve_image_path,
)
from finetune.data.pairs import Pair, Side

COLUMNS = ("qry", "qry_image_path", "pos_text", "pos_image_path")
# of MMEB (https://arxiv.org/abs/2410.05160), without the period or colon that only some rows have
KNOWN_INSTRUCTIONS = (
    "Represent the given image",
    "Represent the given image with related text information",
    "Represent the given Wikipedia image with related text information",
    "Represent the given cropped image of the object",
    "Represent the given image for classification",
    "Represent the given image for binary classification to determine whether it constitutes "
    "hateful speech or not",
    "Represent the given news image with the following caption for domain classification",
    "Represent the given image with the following question",
    "Represent the given dialogue about an image, which is used for image retrieval",
    "Identify the object shown in the image",
    "Identify the scene shown in the image",
    "Identify the country depicted in the image",
    "Find me an everyday image that matches the given caption",
    "Find an image caption describing the given everyday image",
    "Find a caption for the news in the given photo",
    "Find a day-to-day image that looks similar to the provided image",
    "Find a Wikipedia image that answers this question",
    "Find a news image that matches the provided caption",
    "Find an image to match the fashion image and style note",
    "Find the document image that can answer the given query",
    "Given an image, find a similar everyday image with the described changes",
    "Retrieve an image of this news caption",
    "Retrieve a Wikipedia image-description pair that provides evidence for the question of this "
    "image",
    "Select the portion of the image that isolates the object labeled as",
    "Select the portion of the image that follows the language expressions",
    "Select the portion of the image that answers the question",
    "Crop the image to to isolate the object labeled as",
)
IMAGE_TOKEN = re.compile(  # VLM2Vec's for each backbone, and mmE5's
    r"\A\s*(?:<\|image_\d+\|>|<image>|<\|image_pad\|>|<\|image\|>)\s*(?:<\|begin_of_text\|>\s*)?"
)
_STEMS = "|".join(map(re.escape, sorted(KNOWN_INSTRUCTIONS, key=len, reverse=True)))
INSTRUCTION = re.compile(rf'(?:{_STEMS})(?:[.:](?=\s|$)|(?=\s*$|\s*\n|\s*"))')
# up to a colon, or the first line
OTHER_INSTRUCTION = re.compile(r"([^\n]*?:)[^\S\n]+(?=\S)|([^\n]+)\n\s*(?=\S)")


def is_mmeb(row: Row) -> bool:
    return any(name in row for name in COLUMNS)


def parse_row(row: Row, root: Path, dataset: str = "") -> Pair:
    """Parse a row; raises `DataError`.

    Without columns of instructions, these are split from the texts if the row is MMEB's.

    Args:
        row: The row.
        root: Folder that relative image paths start from.
        dataset: Name of the dataset, if the row has none.
    """
    mixed = not {"qry_instruction", "pos_instruction"} & row.keys()
    if mixed and "modality" not in row:
        mixed = any(has_mmeb_markup(get_text(row, name)) for name in ("qry", "pos_text"))
    query = require_side(_parse_side(row, "qry", "qry", root, mixed), "query (qry, qry_image_path)")
    positive = _parse_side(row, "pos_text", "pos", root, mixed)
    positive = require_side(positive, "positive (pos_text, pos_image_path)")
    return Pair(
        query,
        positive,
        _parse_negatives(row, root, mixed, positive),
        language=get_language(row, "language"),
        item=get_text(row, "item"),
        dataset=get_text(row, "dataset") if "dataset" in row else dataset,
    )


def to_row(pair: Pair) -> dict[str, Any]:
    """Convert a pair to a row with absolute image paths."""
    return {
        "qry": pair.query.text or "",
        "qry_image_path": _absolute_path(pair.query),
        "qry_instruction": pair.query.instruction or "",
        "pos_text": pair.positive.text or "",
        "pos_image_path": _absolute_path(pair.positive),
        "pos_instruction": pair.positive.instruction or "",
        "neg_text": [side.text or "" for side in pair.negatives],
        "neg_image_path": [_absolute_path(side) for side in pair.negatives],
        "language": pair.language or "",
        "item": pair.item,
        "dataset": pair.dataset,
    }


def _parse_side(row: Row, text_column: str, prefix: str, root: Path, mixed: bool) -> Side | None:
    text, instruction = get_text(row, text_column), get_text(row, f"{prefix}_instruction")
    image = resolve_image_path(get_text(row, f"{prefix}_image_path"), root)
    if mixed:
        instruction, text = split_instruction(
            text, has_image=image is not None, is_query=prefix == "qry"
        )
    return make_side(text, image, instruction)


def _parse_negatives(row: Row, root: Path, mixed: bool, positive: Side) -> tuple[Side, ...]:
    """Parse the negatives; by default one of the positive's kind has its instruction."""
    texts, images = get_texts(row, "neg_text"), get_texts(row, "neg_image_path")
    found = []
    for negative_text, path in zip_longest(texts, images, fillvalue=""):
        text, instruction, image = negative_text, "", resolve_image_path(path, root)
        if mixed:
            instruction, text = split_instruction(text, has_image=image is not None, is_query=False)
        is_same_kind = bool(image) == bool(positive.image)
        found.append(
            make_side(text, image, instruction or (positive.instruction or "") * is_same_kind)
        )
    return tuple(negative for negative in found if negative is not None)


def _absolute_path(side: Side) -> str:
    return str(Path(side.image).absolute()) if side.image else ""


def has_mmeb_markup(text: str) -> bool:
    """Tell whether a text starts with an image token or one of MMEB's instructions."""
    return bool(IMAGE_TOKEN.match(text) or INSTRUCTION.match(text))


def split_instruction(text: str, *, has_image: bool, is_query: bool) -> tuple[str, str]:
    """Split `text` into instruction and text; either may be "".

    An instruction that is not MMEB's ends at the first colon or line end; with an image, a text
    with neither is all instruction. A document without an image has no instruction unless it is
    MMEB's, as its colons are its own.
    """
    text = IMAGE_TOKEN.sub("", text).rstrip("\n")
    match = INSTRUCTION.match(text)
    if match is None and (has_image or is_query):
        match = OTHER_INSTRUCTION.match(text)
    if match:
        return text[: match.end()].strip(), text[match.end() :].strip()
    return (text.strip(), "") if has_image else ("", text)
