"""Formats of rows: pairs in named columns, captions of images, and MMEB's, which is also our own.

Named columns are `query, positive, negative` (or `anchor`, or `sent0, sent1, hard_neg` as in the
triplets that E5-V is trained on, https://arxiv.org/abs/2407.12580), each with an `_image`; a table
of captions has `image, caption`.

MMEB-train (https://huggingface.co/datasets/TIGER-Lab/MMEB-train) has `qry`, `qry_image_path`,
`pos_text`, `pos_image_path`, `neg_text`, `neg_image_path`; mmE5's rows also have `modality`,
and lists of negatives that are written as Python does. Our own files add `qry_instruction`,
`pos_instruction`, `qry_prompt`, `pos_prompt`, `neg_prompt`, `language`, `item` and `dataset`. ""
means none. MMEB writes instruction and text into one cell, `<|image_1|>\\n{instruction} {text}\\n`,
with spaces and line ends that differ between data sets. The cell is kept word for word as the
prompt, for the models that are trained on such cells; for others it is split into instruction and
text.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, repeat, zip_longest
from math import isnan
from pathlib import Path
from typing import Any

from embedder.vlm.prompts import ROW_IMAGE_TOKEN
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from indexer.captions.language import parse_language_tag
from indexer.captions.manifest import FILE_COLUMNS, LANGUAGE_COLUMNS
from indexer.captions.sidecar import CAPTION_KEYS, parse_caption_key

Row = Mapping[str, Any]
UNDECODED_BYTES = re.compile("[\udc80-\udcff]")  # as `surrogateescape` writes them
SURROGATES = re.compile("[\ud800-\udfff]")

QUERY_COLUMNS = ("query", "anchor", "sent0")
POSITIVE_COLUMNS = ("positive", "sent1")
NEGATIVE_COLUMN = re.compile(r"(negatives?|hard_neg)(_\d+)?(?P<image>_image(_\d+)?)?")
EXPECTED_COLUMNS = (
    "query, positive and optionally negative (or query_image, positive_image, negative_image); or "
    "image and caption; or MMEB's qry, qry_image_path, pos_text, pos_image_path"
)
# mmE5's negatives, such as "['a cat', \"a dog's\"]": a flat list of strings and nothing else
_STRING = r"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
LIST_LITERAL = re.compile(rf"\[\s*+(?:{_STRING}\s*+(?:,\s*+{_STRING}\s*+)*+,?\s*+)?\]")
MAX_LITERAL = 1 << 20  # characters; the longest published list has a few thousand
MMEB_COLUMNS = {"qry", "qry_image_path", "pos_text", "pos_image_path"}
IMAGE_TOKEN = re.compile(  # VLM2Vec's for each backbone, and mmE5's
    r"\A\s*(?:<\|image_\d+\|>|<image>|<\|image_pad\|>|<\|image\|>(?P<mme5><\|begin_of_text\|>)?)"
    r"(?P<gap>\s*)"
)
# of MMEB (https://arxiv.org/abs/2410.05160), without the period or colon that only some rows have
KNOWN_INSTRUCTIONS = Path(__file__).with_name("mmeb_instructions.txt").read_text("utf-8")
_STEMS = "|".join(map(re.escape, sorted(KNOWN_INSTRUCTIONS.splitlines(), key=len, reverse=True)))
INSTRUCTION = re.compile(rf'(?:{_STEMS})(?:[.:](?=\s|$)|(?=\s*$|\s*\n|\s*"))')
# up to a colon, or the first line
OTHER_INSTRUCTION = re.compile(r"([^\n]*?:)[^\S\n]+(?=\S)|([^\n]+)\n\s*(?=\S)")


def parse_row(row: Row, root: Path, dataset: str = "") -> Iterator[Pair]:
    """Yield the pair of a row, or one pair for each caption of a row of captions.

    Args:
        row: The row; upper case in its columns' names does not matter.
        root: Folder that relative image paths start from.
        dataset: Name of the dataset, if the row has none.

    Raises:
        DataError: A cell is invalid, or the columns are unknown.
    """
    cells = {name.strip().lower(): value for name, value in row.items() if name}
    common: dict[str, Any] = {
        "language": _get_language(cells),
        "item": _get_text(cells, "item"),
        "dataset": _get_text(cells, "dataset") or dataset,
    }
    if cells.keys() & MMEB_COLUMNS:
        if "dataset" in cells:  # our own files leave it empty where a pair has none
            common["dataset"] = _get_text(cells, "dataset")
        yield Pair(*_parse_mmeb(cells, root), **common)
    elif any(f"{name}{tail}" in cells for name in QUERY_COLUMNS for tail in ("", "_image")):
        yield Pair(
            _parse_named_side(cells, QUERY_COLUMNS, "instruction", root),
            _parse_named_side(cells, POSITIVE_COLUMNS, "positive_instruction", root),
            tuple(_iter_negatives(cells, root)),
            **common,
        )
    else:
        yield from _iter_caption_pairs(cells, root, common)


def to_row(pair: Pair) -> dict[str, Any]:
    """Convert a pair to a row of our own files, with absolute image paths."""
    prompts = {
        "qry_prompt": pair.query.prompt or "",
        "pos_prompt": pair.positive.prompt or "",
        "neg_prompt": [side.prompt or "" for side in pair.negatives],
    }
    has_prompts = any((pair.query.prompt, pair.positive.prompt, *prompts["neg_prompt"]))
    return {
        "qry": pair.query.text or "",
        "qry_image_path": _absolute_path(pair.query),
        "qry_instruction": pair.query.instruction or "",
        "pos_text": pair.positive.text or "",
        "pos_image_path": _absolute_path(pair.positive),
        "pos_instruction": pair.positive.instruction or "",
        "neg_text": [side.text or "" for side in pair.negatives],
        "neg_image_path": [_absolute_path(side) for side in pair.negatives],
        **(prompts if has_prompts else {}),
        "language": pair.language or "",
        "item": pair.item,
        "dataset": pair.dataset,
    }


def split_instruction(text: str, *, has_image: bool, is_query: bool) -> tuple[str, str]:
    """Split a text of MMEB into instruction and text; either may be "".

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


def make_prompt(text: str, *, has_image: bool) -> str | None:
    """Return a cell of MMEB word for word with `<|image_1|>` for its image token.

    None for an image without its token, which is no prompt.
    """
    match = IMAGE_TOKEN.match(text)
    if match is None:
        return None if has_image or not text.strip() else text
    gap = "\n" if match["mme5"] else match["gap"]
    return f"{ROW_IMAGE_TOKEN}{gap}{text[match.end() :]}"


def _parse_mmeb(cells: Row, root: Path) -> tuple[Side, Side, tuple[Side, ...]]:
    """Return query, positive and negatives.

    Without columns of instructions, these are split from the texts if the row is MMEB's. By
    default, a negative of the positive's kind has its instruction.
    """
    mixed = not {"qry_instruction", "pos_instruction"} & cells.keys()
    if mixed and "modality" not in cells:
        texts = [_get_text(cells, name) for name in ("qry", "pos_text")]
        mixed = any(IMAGE_TOKEN.match(text) or INSTRUCTION.match(text) for text in texts)

    def make_side(
        text: str, image: str, instruction: str, prompt: str, *, is_query: bool
    ) -> Side | None:
        if mixed:
            has_image = bool(image.strip())
            prompt = make_prompt(text, has_image=has_image) or ""
            instruction, text = split_instruction(text, has_image=has_image, is_query=is_query)
            if prompt == text and not is_query:  # a document that is a text has no other prompt
                prompt = ""
        side = _make_side(text, image, instruction, root)
        return replace(side, prompt=_clean_text(prompt)) if side and prompt else side

    def parse_side(name: str, text_column: str, prefix: str) -> Side:
        text, image = _get_text(cells, text_column), _get_text(cells, f"{prefix}_image_path")
        instruction = _get_text(cells, f"{prefix}_instruction")
        prompt = _get_text(cells, f"{prefix}_prompt")
        side = make_side(text, image, instruction, prompt, is_query=prefix == "qry")
        return _require(side, f"{name} ({text_column}, {prefix}_image_path)")

    query = parse_side("query", "qry", "qry")
    positive = parse_side("positive", "pos_text", "pos")
    negatives = []
    prompts = chain(_get_texts(cells, "neg_prompt"), repeat(""))
    for (text, image), prompt in zip(_iter_mmeb_negatives(cells), prompts, strict=False):
        negative = make_side(text, image, "", prompt, is_query=False)
        if negative is not None:
            is_same_kind = bool(negative.image) == bool(positive.image)
            if is_same_kind and not negative.instruction:
                own_prompt = negative.prompt
                negative = negative.with_instruction_of(positive)
                negative = replace(negative, prompt=own_prompt or negative.prompt)
            negatives.append(negative)
    return query, positive, tuple(negatives)


def _iter_mmeb_negatives(cells: Row) -> Iterator[tuple[str, str]]:
    """Yield text and image of each negative.

    In a list that is written as a string, a negative that is an image without text has the text of
    another negative, else the positive's, as mmE5's authors train on it.
    """
    columns = ("neg_text", "neg_image_path")
    literals = [_parse_list_literal(cells, column) for column in columns]
    texts, images = (
        _get_texts(cells, column) if found is None else found
        for column, found in zip(columns, literals, strict=True)
    )
    is_literal = literals[1] is not None
    default = next(filter(None, texts), _get_text(cells, "pos_text")) if is_literal else ""
    for text, image in zip_longest(texts, images, fillvalue=""):
        yield (text or default if image else text), image


def _parse_list_literal(row: Row, column: str) -> list[str] | None:
    """Return the texts of a list that is written as a Python string; None if it is another text.

    Only flat lists of strings match, so nothing in the text decides how deep the parser goes.
    """
    value = row.get(column)
    if not (isinstance(value, str) and value.startswith("[") and value.endswith("]")):
        return None
    if len(value) > MAX_LITERAL:
        raise DataError(
            f"{column} has a list of {len(value)} characters; at most {MAX_LITERAL} are read"
        )
    if not LIST_LITERAL.fullmatch(value):
        return None
    try:
        return list(ast.literal_eval(value))
    except (SyntaxError, ValueError):  # an escape such as "\x" without digits
        return None


def _parse_named_side(cells: Row, names: tuple[str, ...], instruction: str, root: Path) -> Side:
    name = next((n for n in names if n in cells or f"{n}_image" in cells), names[0])
    text, image = _get_text(cells, name), _get_text(cells, f"{name}_image")
    return _require(_make_side(text, image, _get_text(cells, instruction), root), names[0])


def _iter_negatives(cells: Row, root: Path) -> Iterator[Side]:
    """Yield the negatives; `negative_2_image` is the image of `negative_2`."""
    instruction = _get_text(cells, "positive_instruction")
    for name in cells:
        match = NEGATIVE_COLUMN.fullmatch(name)
        if match is None or (match["image"] and name.replace("_image", "", 1) in cells):
            continue
        images = _get_texts(cells, name if match["image"] else f"{name}_image")
        texts = [] if match["image"] else _get_texts(cells, name)
        for text, image in zip_longest(texts, images, fillvalue=""):
            negative = _make_side(text, image, instruction, root)
            if negative is not None:
                yield negative


def _iter_caption_pairs(cells: Row, root: Path, common: dict[str, Any]) -> Iterator[Pair]:
    column = next((name for name in FILE_COLUMNS if name in cells), None)
    keys = {name: parse_caption_key(name) for name in cells}
    captions = [(name, tag) for name, (key, tag) in keys.items() if key in CAPTION_KEYS]
    if column is None or not captions:
        found_columns = ", ".join(cells) or "none"
        raise DataError(
            f"its columns are not those of pairs ({found_columns}); name them {EXPECTED_COLUMNS}"
        )
    image = _require(_make_side("", _get_text(cells, column), "", root), f"column {column}")
    for name, tag in captions:
        for text in filter(None, map(str.strip, _get_texts(cells, name))):
            yield Pair(
                Side(_clean_text(text)), image, **{**common, "language": tag or common["language"]}
            )


def _get_text(row: Row, column: str) -> str:
    """Return the text of a column, "" if it is empty."""
    value = row.get(column)
    if value is None or (isinstance(value, float) and isnan(value)):  # an empty cell
        return ""
    if isinstance(value, Mapping | bytes):
        raise DataError(
            f"{column} holds image data instead of a path; save the images as files and write "
            "their paths"
        )
    if isinstance(value, list | tuple | bool):
        raise DataError(f"{column} must be a text, not {value!r:.40}")
    return str(value)


def _get_texts(row: Row, column: str) -> list[str]:
    """Return the texts of a column that holds one or several."""
    value = row.get(column)
    if not isinstance(value, list | tuple):
        text = _get_text(row, column)
        return [text] if text else []
    return [_get_text({column: one}, column) for one in value]


def _get_language(row: Row) -> str | None:
    for column in LANGUAGE_COLUMNS:
        text = _get_text(row, column).strip()
        if text:
            tag = parse_language_tag(text)
            if tag is None:
                raise DataError(
                    f"{text!r} in {column} is not a language tag; use one such as de, ja or zh-hans"
                )
            return tag
    return None


def _clean_text(text: str) -> str:
    """Return `text` without halves of surrogate pairs, which JSON may hold; raises `DataError` for
    bytes that are not UTF-8."""
    if UNDECODED_BYTES.search(text):
        raise DataError(f"{text!r:.60} is not UTF-8; save the file as UTF-8")
    return SURROGATES.sub("\ufffd", text)


def _make_side(text: str, image: str, instruction: str, root: Path) -> Side | None:
    """Make a side; None if there is neither text nor an image."""
    text, instruction = _clean_text(text), _clean_text(instruction)
    path = image.strip()
    if not (path or text.strip()):
        return None
    return Side(
        text if text.strip() else None,
        str(root / Path(os.path.expanduser(path))) if path else None,
        instruction.strip() or None,
    )


def _require(side: Side | None, name: str) -> Side:
    if side is None:
        raise DataError(f"the {name} has neither text nor an image")
    return side


def _absolute_path(side: Side) -> str:
    return str(Path(side.image).absolute()) if side.image else ""
