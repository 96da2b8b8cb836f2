"""A model is trained on the very tensors that it embeds afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

import embedder
from embedder.families import e5v
from embedder.types import Settings
from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.errors import DataError
from finetune.training.data_loading import Collator
from finetune.training.loading import load_trainable
from finetune.training.trainer import validate_pairs

CPU = Settings(device="cpu")
FAMILIES = [
    (family, form) for family in tiny.FAMILIES for form in (tiny.fixture(family)["forms"] or [None])
]
ASK = "\nSummary above sentence in one word: "


@pytest.fixture
def pairs(tmp_path, photo) -> list[Pair]:
    wide, tall = (str(photo(tmp_path / f"{s}.png", s[0], s)) for s in ((180, 70), (66, 170)))
    return [
        Pair(Side("a cat\nin the snow. "), Side(image=wide)),
        Pair(Side("at night", image=tall), Side(image=wide), (Side("猫", image=tall),)),
        Pair(Side(image=tall), Side("<image> <|image_pad|> <|eot_id|>", instruction=None)),
    ]


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name])
        if isinstance(value, torch.Tensor)
        else value == other[name]
        for name, value in one.items()
    )


def check(engine, pairs, monkeypatch) -> None:
    """Every side alone: the trainer's batch is the engine's."""
    backbone, forwarded = engine.backbone, []
    forward = backbone.forward
    monkeypatch.setattr(
        backbone, "forward", lambda batch: (forwarded.append(batch), forward(batch))[1]
    )
    step = Collator(pairs, backbone, ContentKeys(), "all", 1)(
        [{"row": n} for n in range(len(pairs))]
    )
    place = iter(torch.cat([step["queries"], step["documents"]]).tolist())
    sides = [(pair.query, "query") for pair in pairs]
    sides += [(pair.positive, "document") for pair in pairs]
    sides += [(side, "document") for pair in pairs for side in pair.negatives]
    assert len(step["mini_batches"].batches) == len(set(sides))
    for side, role in sides:
        engine.embed([side.to_input()], role, side.instruction)
        assert same(step["mini_batches"].batches[next(place)], forwarded.pop())


@pytest.mark.parametrize(("family", "form"), FAMILIES)
def test_training_inputs_equal_embedding_inputs(model, pairs, family, form, monkeypatch):
    instruction = None if family == "e5v" else "Find a picture:"
    more = [
        *pairs,
        Pair(Side("snow", instruction=instruction), Side("ice", instruction=instruction)),
    ]
    check(model(family, form), more, monkeypatch)


def test_sentence_transformers_models(qwen, pairs, monkeypatch):
    more = [*pairs, Pair(Side("snow", instruction="Find a picture"), Side("ice"))]
    check(embedder.load(str(qwen), CPU), more, monkeypatch)


@pytest.fixture
def e5v_text(recipe, tmp_path):
    return load_trainable(recipe("e5v"), CPU, tmp_path).backbone


def ids(backbone, text: str) -> list[int]:
    side = Side(text)
    step = Collator([Pair(side, Side("x"))], backbone, ContentKeys(), "all", 1)([{"row": 0}])
    return step["mini_batches"].batches[int(step["queries"][0])]["ids"][0].tolist()


def test_e5v_trains_with_its_query_prompt(e5v_text, model):
    """The authors' code trained without the underscores, the space and the newline at its end that
    its evaluation had."""
    written = (
        "<|start_header_id|>user<|end_header_id|>\n\nA dog.\nSummary above sentence in one word: "
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n \n"
    )
    encoded = e5v_text.prompt_tokenizer._tokenizer.encode
    assert ids(e5v_text, "A dog.") == encoded(written).ids != encoded(written.strip()).ids
    assert ids(model("e5v").backbone, "A dog.") == encoded(written).ids


def test_e5v_trains_on_the_first_32_tokens(e5v_text):
    tokenizer = e5v_text.prompt_tokenizer._tokenizer
    long = "A dog sitting in the grass, 雪の中で, and a cat. " * 9
    whole = tokenizer.encode(long, add_special_tokens=False).ids
    cut = tokenizer.decode(whole[:32])
    assert len(whole) > 100 and long.startswith(cut)
    assert (
        ids(e5v_text, long)
        == tokenizer.encode(e5v.PROMPT_PREFIX + cut + ASK + e5v.PROMPT_SUFFIX).ids
    )
    assert ids(e5v_text, cut) == ids(e5v_text, long)


@pytest.mark.parametrize("tail", ["", " and so on" * 20])
def test_texts_never_contain_special_tokens(e5v_text, tail):
    special = set(e5v_text.prompt_tokenizer.special_tokens.values())
    harmless = sum(i in special for i in ids(e5v_text, "a dog"))
    found = ids(e5v_text, "<|eot_id|><image><|start_header_id|>" + tail)
    assert sum(i in special for i in found) == harmless > 3


def test_truncation_is_part_of_the_recipe(recipe, tmp_path):
    """Any vision-language model may be trained on shortened texts; later it embeds whole ones."""
    run_recipe = recipe("vlm2vec", "vlm2vec-qwen2vl", "V2", longest=3)
    backbone = load_trainable(run_recipe, CPU, tmp_path).backbone
    encoded = backbone.prompt_tokenizer._tokenizer.encode
    cut = backbone.prompt_tokenizer._tokenizer.decode(encoded("a cat in the snow").ids[:3])
    assert ids(backbone, "a cat in the snow") == ids(backbone, cut)
    whole = embedder.load(run_recipe.model, CPU).backbone
    assert len(ids(whole, "a cat in the snow")) > len(ids(backbone, "a cat in the snow"))


def test_text_only_recipes_refuse_images(recipe, texts, mixed):
    validate_pairs(texts, recipe())
    with_image = replace(texts[0], negatives=(mixed[0].positive,))
    with pytest.raises(DataError, match="1 of 2 pairs have images"):
        validate_pairs([with_image, texts[1]], recipe())
    with pytest.raises(DataError, match=r"3 of 4 pairs have images.*text_only=false"):
        validate_pairs(mixed, recipe())
    with pytest.raises(DataError, match="at least 2"):
        validate_pairs(texts[:1], recipe())
