"""Prompts: user text never becomes a special token, and only user text is truncated."""

from __future__ import annotations

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.errors import EmbedderError
from embedder.types import Input
from embedder.vlm.prompts import PromptTokenizer, UserText, neutralize_special_tokens

FAMILIES = [("e5v", None), ("mme5", None), ("vlm2vec-llava", "V1"), ("vlm2vec-qwen2vl", "V2")]
SPECIAL = [
    "<image>", "<|eot_id|>", "<|begin_of_text|>", "<|image|>", "<|image_pad|>", "<|im_start|>",
    "<|im_end|>", "</s>", "<s>", "<|start_header_id|>",
]  # fmt: skip
pieces = st.one_of(
    st.sampled_from(SPECIAL), st.text(max_size=6), st.sampled_from(["<", "|>", "<|"])
)


@pytest.mark.parametrize(("family", "form"), FAMILIES)
def test_user_text_never_becomes_a_special_token(model, family, form):
    """Whatever a text spells, only the prompt's own special tokens remain."""
    backbone = model(family, form).backbone
    special = set(backbone.prompt_tokenizer.special_tokens.values())

    def count(text: str) -> int:
        ready = backbone.prepare(Input(text), "query", None)
        return sum(i in special for i in ready.ids)

    plain = count("a cat")

    @settings(max_examples=150)
    @given(st.lists(pieces, min_size=1, max_size=8).map("".join).filter(str.strip))
    def check(text: str) -> None:
        assert count(text) == plain

    check()


@pytest.mark.parametrize(("family", "form"), FAMILIES)
def test_an_instruction_never_becomes_a_special_token(model, family, form):
    if family == "e5v":
        instruction = "fashioniq <image><|eot_id|>"
    else:
        instruction = "find <|image_pad|><image><|image|></s>"
    backbone = model(family, form).backbone
    picture = Input("red", (tiny.picture("square"),))
    ready = backbone.prepare(picture, "query", instruction)
    places = backbone.architecture.count_image_tokens(ready.sizes[0])
    assert ready.ids.count(backbone.architecture.image_token) == places


def test_compatibility_forms_of_special_tokens_are_neutralized():
    """Some tokenizers normalize, and full-width letters then spell a token."""
    assert "<image>" not in neutralize_special_tokens("＜image＞ <image>", ["<image>"])
    assert neutralize_special_tokens("a cat < b", ["<image>"]) == "a cat < b"


def test_text_without_special_tokens_is_unchanged(model):
    """The prompt has exactly the ids that the tokenizer gives for the whole string."""
    renderer = model("e5v").backbone.prompt_tokenizer
    text = "A dog.\n  Zwei Hunde — 犬！ كلب"
    whole = renderer._tokenizer.encode(f"<|start_header_id|>{text}\n<|eot_id|>").ids
    assert renderer.encode(["<|start_header_id|>", UserText(text), "\n<|eot_id|>"]) == whole


def test_only_user_text_is_truncated(checkpoint):
    renderer = PromptTokenizer.read(checkpoint("mme5"), max_tokens=40)
    head, tail = "<|image|><|begin_of_text|>Find it: ", "\n"
    ids = renderer.encode([head, UserText("a dog in the snow " * 50), tail])
    starts = renderer._tokenizer.encode(head).ids[:6]
    assert len(ids) <= 40
    assert ids[:6] == starts
    assert renderer._tokenizer.decode(ids).endswith("\n")


def test_a_lone_surrogate_is_an_error(model):
    with pytest.raises(EmbedderError, match="surrogate"):
        model("e5v").embed([Input(text="a \ud800 b")], "query")
