"""What every family guarantees, on its tiny model or on the shipped one."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

import embedder
from embedder.engine import Engine
from embedder.errors import EmbedderError
from embedder.types import Input

FORMS = {"vlm2vec-llava": "V1", "vlm2vec-qwen2vl": "V2", "vlm2vec-qwen25vl": "V2"}
FAMILIES = ["starter", *tiny.FAMILIES]
TEXTS = ("a cat", "two dogs in the snow", "雪の中の犬")


@pytest.fixture(params=FAMILIES)
def loaded(request, model):
    if request.param == "starter":
        return embedder.load("starter")
    return model(request.param, FORMS.get(request.param))


def pictures() -> list[Input]:
    return [Input(images=(tiny.picture(name),)) for name in ("square", "wide", "tall", "small")]


def mixed() -> list[Input]:
    both = [Input("at night", (tiny.picture("wide"),))]
    return [*(Input(text=text) for text in TEXTS), *pictures(), *both]


@pytest.mark.parametrize("role", ["query", "document"])
def test_rows_are_unit_vectors_of_the_cards_dim(loaded, role):
    rows = loaded.embed(mixed(), role)
    assert rows.shape == (len(mixed()), loaded.card.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_vectors_do_not_depend_on_the_batch(loaded):
    items = mixed()
    together = loaded.embed(items, "document")
    backwards = loaded.embed(items[::-1], "document")[::-1]
    alone = np.concatenate([loaded.embed([item], "document") for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(backwards, alone, atol=1e-5)


def test_an_image_with_text_differs_from_each_alone(loaded):
    picture, words = Input(images=(tiny.picture("wide"),)), Input(text="at night")
    both = Input("at night", picture.images)
    rows = loaded.embed([picture, words, both], "query")
    assert rows[2] @ rows[0] < 0.9999
    assert rows[2] @ rows[1] < 0.9999


def test_several_images_are_one_input(loaded):
    """Or refused, in words."""
    square, wide, tall = (tiny.picture(name) for name in ("square", "wide", "tall"))
    several = [Input(images=(square, wide)), Input("at night", (wide, tall, square))]
    if loaded.card.max_images:
        with pytest.raises(EmbedderError, match="has 2 images, and this model takes one image"):
            loaded.embed(several, "query")
        return
    items = [*mixed(), *several]
    together = loaded.embed(items, "document")
    alone = np.concatenate([loaded.embed([item], "document") for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    first, second = loaded.embed([Input(images=(one,)) for one in (square, wide)], "document")
    assert max(together[-2] @ first, together[-2] @ second) < 0.9999


def test_more_images_than_the_model_has_positions_for_are_refused(model, monkeypatch):
    loaded = model("vlm2vec-qwen2vl", "V2")
    several = Input("at night", (tiny.picture("wide"), tiny.picture("square")))
    length = loaded.embed_and_count([several], "query")[1][0]
    config = loaded.backbone.model.config.get_text_config()
    monkeypatch.setattr(config, "max_position_embeddings", length)
    loaded.embed([several], "query")
    monkeypatch.setattr(config, "max_position_embeddings", length - 1)
    with pytest.raises(EmbedderError, match=f"2 images has {length} tokens, and this model reads"):
        loaded.embed([several], "query")


@pytest.mark.parametrize("item", [Input(), Input(text=""), Input(text="  \n")])
def test_an_empty_input_is_refused(loaded, item):
    with pytest.raises(EmbedderError, match="neither a text nor an image"):
        loaded.embed([item], "query")


def test_tokens_are_counted_as_the_model_reads_them(loaded):
    rows, counts = loaded.embed_and_count([Input("a cat"), Input("a cat a cat"), *mixed()], "query")
    assert rows.shape[0] == len(counts)
    assert 0 < counts[0] < counts[1]
    if not isinstance(loaded, Engine):
        return
    read = [ready.ids for ready in prepared(loaded, [Input("a cat"), *mixed()])]
    assert [counts[0], *counts[2:]] == list(map(len, read))


def prepared(engine: Engine, inputs: list[Input]) -> list:
    return [engine.backbone.prepare(item, "query", None) for item in inputs]


def test_no_inputs_give_no_rows(loaded):
    assert loaded.embed([], "query").shape == (0, loaded.card.dim)


def test_the_card_is_complete(loaded):
    card = loaded.card
    assert card.family in {family.name for family in embedder.families.registry.FAMILIES}
    assert card.fingerprint not in ("", "main")
    assert card.revision
    assert set(card.modalities) == {"text", "image"}
    assert embedder.describe_model(card.name).fingerprint == card.fingerprint
