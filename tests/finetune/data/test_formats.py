"""MMEB's instructions are split from texts, and a family's prompt joins them again."""

from __future__ import annotations

import pytest
from PIL import Image

from embedder.families import mme5, vlm2vec
from embedder.types import Input
from finetune.data.formats import parse_row, split_instruction

PICTURE = Image.new("RGB", (8, 8))
IMAGE = "<|image_1|>\n"
CHANGE = "Given an image, find a similar everyday image with the described changes:"
CAPTION = "Find me an everyday image that matches the given caption:"
QUESTION = "Represent the given image with the following question:"
OBJECT = "Select the portion of the image that isolates the object labeled as"
WHY = "Find a Wikipedia image that answers this question:"
DIALOGUE = "Represent the given dialogue about an image, which is used for image retrieval:"
CLASSIFY = "Represent the given image for classification"
WIKIPEDIA = "Represent the given Wikipedia image with related text information:"
TARGET = f"{IMAGE}Represent the given image.\n"
CROPPED = f"{IMAGE}Represent the given cropped image of the object"
ROWS = [  # of MMEB-train: qry, whether it has a picture; pos_text, whether it has one
    (f"{IMAGE}{CHANGE} Show three bottles of soft drink.\n", True, TARGET, True),
    (f"{CAPTION} A man: he rides.\n", False, TARGET, True),
    (f"{IMAGE}{QUESTION} What is it?\n", True, "a boat: red", False),
    (f"{IMAGE}{CLASSIFY}\n", True, "tabby, tabby cat", False),
    (f'{IMAGE}{OBJECT} "dog"\n', True, CROPPED, True),
    ("Retrieve an image of this news caption. Peres: he spoke.\n", False, TARGET, True),
    (f"{DIALOGUE} Q:is it old\nA:no\nQ:is it red\nA:yes\n\n", False, TARGET, True),
    (f"{IMAGE}{WHY} Why?\n", False, f"{IMAGE}{WIKIPEDIA} 1913-D: obverse.\n", True),
    (f"{IMAGE}Tell which sort of tea this is: is it green?\n", True, "green tea", False),
    (f"{IMAGE}Tell which sort of tea this is.\n", True, "green tea", False),
]


def authors_prompt(text: str, has_image: bool, token: str) -> str:
    """The authors' string: their token in its place and one space behind it (models.md, B)."""
    words = text.removeprefix(IMAGE).rstrip("\n")
    return f"{token} {words}" if has_image else words


def join_pieces(pieces) -> str:
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces)


def to_input(side) -> Input:
    return Input(side.text, (PICTURE,) if side.image else ())


@pytest.fixture(params=ROWS, ids=lambda row: row[0][:40])
def row(request, tmp_path):
    qry, qry_has_image, pos, pos_has_image = request.param
    line = {
        "qry": qry,
        "qry_image_path": "a.jpg" if qry_has_image else "",
        "pos_text": pos,
        "pos_image_path": "b.jpg" if pos_has_image else "",
    }
    (pair,) = parse_row(line, tmp_path)
    return request.param, pair


def test_vlm2vec_prompts_equal_the_authors(row):
    (qry, qry_has_image, pos, pos_has_image), pair = row
    token = "<|image_pad|>"
    render = vlm2vec.make_prompt_renderer(token, 1)
    asked = render(to_input(pair.query), "query", pair.query.instruction)
    found = render(to_input(pair.positive), "document", pair.positive.instruction)
    assert join_pieces(asked) == authors_prompt(qry, qry_has_image, token)
    assert join_pieces(found) == authors_prompt(pos, pos_has_image, token)


def test_vlm2vec_2_queries_end_with_a_newline(row):
    (qry, qry_has_image, _, _), pair = row
    render = vlm2vec.make_prompt_renderer("<image>", 2)
    asked = join_pieces(render(to_input(pair.query), "query", pair.query.instruction))
    assert asked == authors_prompt(qry, qry_has_image, "<image>") + "\n"


def test_mme5_prompts_equal_the_authors(row):
    (qry, qry_has_image, pos, pos_has_image), pair = row
    asked = join_pieces(mme5.render_prompt(to_input(pair.query), "query", pair.query.instruction))
    start = "<|image|><|begin_of_text|>" if qry_has_image else "<|begin_of_text|>"
    assert asked == start + authors_prompt(qry, False, "") + "\n"
    found = join_pieces(
        mme5.render_prompt(to_input(pair.positive), "document", pair.positive.instruction)
    )
    if pos_has_image:
        assert found == "<|image|><|begin_of_text|>" + authors_prompt(pos, False, "") + "\n"
    else:
        assert found == "<|begin_of_text|>" + pos


@pytest.mark.parametrize("token", ["<|image_1|>", "<image>", "<|image_pad|>", "<|image|>"])
@pytest.mark.parametrize("gap", ["\n", " ", ""])
def test_every_image_token_is_removed(token, gap):
    assert split_instruction(f"{token}{gap}{CHANGE} in red", has_image=True, is_query=True) == (
        CHANGE,
        "in red",
    )


def test_a_known_instruction_keeps_its_punctuation():
    for text in ("Represent the given image", "Represent the given image."):
        assert split_instruction(f"{IMAGE}{text}\n", has_image=True, is_query=False) == (text, "")
    longer = "Represent the given image as a map"  # another one, though it begins alike
    assert split_instruction(longer, has_image=True, is_query=True) == (longer, "")


def test_an_unknown_instruction_ends_at_a_colon_or_line_end():
    assert split_instruction("Find the tea: green: dry", has_image=False, is_query=True) == (
        "Find the tea:",
        "green: dry",
    )
    assert split_instruction("Find the tea.\ngreen: dry", has_image=True, is_query=True) == (
        "Find the tea.",
        "green: dry",
    )
    assert split_instruction("at 12:30 in Rome", has_image=False, is_query=True) == (
        "",
        "at 12:30 in Rome",
    )


def test_documents_keep_their_colons():
    assert split_instruction("Tea: green\ndry", has_image=False, is_query=False) == (
        "",
        "Tea: green\ndry",
    )


def test_plain_rows_in_these_columns_have_no_instructions(tmp_path):
    (pair,) = parse_row({"qry": "Rome: a street", "pos_image_path": "b.jpg"}, tmp_path)
    assert (pair.query.text, pair.query.instruction) == ("Rome: a street", None)


def test_an_instruction_column_is_used_unchanged(tmp_path):
    row = {
        "qry": "Find me an everyday image that matches the given caption: tea",
        "qry_instruction": "Find it:",
        "pos_text": "",
        "pos_image_path": "b.jpg",
    }
    (pair,) = parse_row(row, tmp_path)
    assert (pair.query.text, pair.query.instruction) == (row["qry"], "Find it:")
