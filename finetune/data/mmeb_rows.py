"""Rows of MMEB and mmE5, whose cells hold an instruction and a text.

MMEB-train (https://huggingface.co/datasets/TIGER-Lab/MMEB-train) has `qry`, `qry_image_path`,
`pos_text`, `pos_image_path`, `neg_text`, `neg_image_path`; mmE5's rows also have `modality`,
and lists of negatives that are written as Python does. A cell is `<|image_1|>\\n{instruction}
{text}\\n`, with spaces and line ends that differ between data sets. It is kept word for word as the
prompt, for the models that are trained on such cells; for others it is split into instruction and
text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat, zip_longest
from pathlib import Path

from embedder.vlm.prompts import ROW_IMAGE_TOKEN
from finetune.data.cells import Row, clean_text, get_text, get_texts, make_side, require_side
from finetune.data.pairs import Side
from finetune.errors import DataError

# mmE5's negatives, such as "['a cat', \"a dog's\"]": a flat list of strings and nothing else
_STRING = r"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
LIST_LITERAL = re.compile(rf"\[\s*+(?:{_STRING}\s*+(?:,\s*+{_STRING}\s*+)*+,?\s*+)?\]")
MAX_LITERAL = 1 << 20  # characters; the longest published list has a few thousand
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


def parse_mmeb_row(cells: Row, root: Path) -> tuple[Side, Side, tuple[Side, ...]]:
    """Return query, positive and negatives.

    Without columns of instructions, these are split from the texts if the row is MMEB's. By
    default, a negative of the positive's kind has its instruction.
    """
    mixed = not {"qry_instruction", "pos_instruction"} & cells.keys()
    if mixed and "modality" not in cells:
        texts = [get_text(cells, name) for name in ("qry", "pos_text")]
        mixed = any(IMAGE_TOKEN.match(text) or INSTRUCTION.match(text) for text in texts)

    def parse_cell(
        text: str, image: str, instruction: str, prompt: str, *, is_query: bool
    ) -> Side | None:
        if mixed:
            has_image = bool(image.strip())
            prompt = make_prompt(text, has_image=has_image) or ""
            instruction, text = split_instruction(text, has_image=has_image, is_query=is_query)
            if prompt == text and not is_query:  # a document that is a text has no other prompt
                prompt = ""
        side = make_side(text, image, instruction, root)
        return replace(side, prompt=clean_text(prompt)) if side and prompt else side

    def parse_side(name: str, text_column: str, prefix: str) -> Side:
        text, image = get_text(cells, text_column), get_text(cells, f"{prefix}_image_path")
        instruction = get_text(cells, f"{prefix}_instruction")
        prompt = get_text(cells, f"{prefix}_prompt")
        side = parse_cell(text, image, instruction, prompt, is_query=prefix == "qry")
        return require_side(side, f"{name} ({text_column}, {prefix}_image_path)")

    query = parse_side("query", "qry", "qry")
    positive = parse_side("positive", "pos_text", "pos")
    negatives = []
    prompts = chain(get_texts(cells, "neg_prompt"), repeat(""))
    for (text, image), prompt in zip(_iter_mmeb_negatives(cells), prompts, strict=False):
        negative = parse_cell(text, image, "", prompt, is_query=False)
        if negative is not None:
            is_same_kind = bool(negative.image) == bool(positive.image)
            if is_same_kind and not negative.instruction:
                own_prompt = negative.prompt
                negative = negative.with_instruction_of(positive)
                negative = replace(negative, prompt=own_prompt or negative.prompt)
            negatives.append(negative)
    return query, positive, tuple(negatives)


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


def _iter_mmeb_negatives(cells: Row) -> Iterator[tuple[str, str]]:
    """Yield text and image of each negative.

    In a list that is written as a string, a negative that is an image without text has the text of
    another negative, else the positive's, as mmE5's authors train on it.
    """
    columns = ("neg_text", "neg_image_path")
    literals = [_parse_list_literal(cells, column) for column in columns]
    texts, images = (
        get_texts(cells, column) if found is None else found
        for column, found in zip(columns, literals, strict=True)
    )
    is_literal = literals[1] is not None
    default = next(filter(None, texts), get_text(cells, "pos_text")) if is_literal else ""
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
