"""Rows of MMEB: read word for word by the families trained on them, split for others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from embedder.families import mme5, vlm2vec
from embedder.types import Input
from finetune.data.formats import parse_row, to_row
from finetune.data.mmeb_rows import split_instruction

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


def join_pieces(pieces) -> str:
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces)


def to_input(side) -> Input:
    return Input(side.text, (PICTURE,) if side.image else (), side.prompt)


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


@pytest.mark.parametrize("recipe", [vlm2vec.QWEN_V1, vlm2vec.QWEN_V2])
def test_vlm2vec_reads_rows_word_for_word(row, recipe):
    """The authors replace the image token, and nothing else (`data_prepare_v4` of
    src/data/dataset/mmeb_dataset.py): line ends stay as they are."""
    (qry, _, pos, _), pair = row
    render = vlm2vec.make_prompt_renderer("<|image_pad|>", recipe)
    asked = render(to_input(pair.query), "query", pair.query.instruction)
    found = render(to_input(pair.positive), "document", pair.positive.instruction)
    assert join_pieces(asked) == qry.replace("<|image_1|>", "<|image_pad|>")
    assert join_pieces(found) == pos.replace("<|image_1|>", "<|image_pad|>")


def test_mme5_reads_rows_word_for_word(row):
    """The authors replace the image token and its newline (`LlamaCollator` of src/collator.py);
    the processor puts a beginning before a text without one."""
    (qry, qry_has_image, pos, pos_has_image), pair = row
    asked = mme5.render_prompt(to_input(pair.query), "query", pair.query.instruction)
    found = mme5.render_prompt(to_input(pair.positive), "document", pair.positive.instruction)
    start = {True: "<|image|><|begin_of_text|>", False: "<|begin_of_text|>"}
    assert join_pieces(asked) == start[qry_has_image] + qry.removeprefix(IMAGE)
    assert join_pieces(found) == start[pos_has_image] + pos.removeprefix(IMAGE)


def test_rows_of_our_own_files_keep_the_words(row, tmp_path):
    _, pair = row
    (again,) = parse_row(to_row(pair), tmp_path)
    assert again == pair


def test_typed_text_gets_the_form_of_the_rows():
    """One newline at the end of queries and images, none after a text to be found."""
    picture = (PICTURE,)
    typed = [
        (Input("a cat"), "query", None, f"{CAPTION} a cat\n"),
        (Input("a cat \n"), "query", None, f"{CAPTION} a cat\n"),
        (Input("Q: is it?\n\n"), "query", DIALOGUE, f"{DIALOGUE} Q: is it?\n\n"),
        (Input("What is it?", picture), "query", QUESTION, f"<I>\n{QUESTION} What is it?\n"),
        (Input(images=picture), "query", CLASSIFY, f"<I>\n{CLASSIFY}\n"),
        (Input(images=picture), "document", None, "<I>\nRepresent the given image.\n"),
        (Input("a cat"), "document", None, "a cat"),
    ]
    first, second = (
        vlm2vec.make_prompt_renderer("<I>", recipe) for recipe in (vlm2vec.QWEN_V1, vlm2vec.QWEN_V2)
    )
    for item, role, instruction, expected in typed:
        assert join_pieces(second(item, role, instruction)) == expected
        if " \n" not in (item.text or ""):  # V1 keeps the blank
            assert join_pieces(first(item, role, instruction)) == expected


def test_the_readme_has_a_blank():
    recipe = replace(vlm2vec.QWEN_V1, prompt_format="readme")
    item = Input("What is it?", (PICTURE,))
    render = vlm2vec.make_prompt_renderer("<I>", recipe)
    assert join_pieces(render(item, "query", QUESTION)) == f"<I> {QUESTION} What is it?"
    second = vlm2vec.make_prompt_renderer("<I>", replace(recipe, version=2))
    assert join_pieces(second(item, "query", QUESTION)) == f"<I> {QUESTION} What is it?\n"
    assert join_pieces(second(Input(images=(PICTURE,)), "document")) == (
        "<I> Represent the given image."
    )


def test_a_negative_without_words_is_read_as_the_positive(tmp_path):
    row = {"qry": f"{CAPTION} a cat\n", "pos_text": TARGET, "pos_image_path": "b.jpg",
           "neg_text": ["", CROPPED], "neg_image_path": ["c.jpg", "d.jpg"]}  # fmt: skip
    (pair,) = parse_row(row, tmp_path)
    assert [side.prompt for side in pair.negatives] == [TARGET, CROPPED]


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
