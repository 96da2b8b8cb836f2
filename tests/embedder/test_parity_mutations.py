"""Known traps of the model families: without each fix, vectors differ from the recordings."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

import embedder
from embedder.errors import EmbedderError
from embedder.families import e5v, vlm2vec
from embedder.types import Input, Settings

DIFFERENT = 1e-3  # a hundred times what is allowed


def fresh(checkpoint, family: str, form: str | None = None):
    return embedder.load(str(checkpoint(family, form)), Settings(device="cpu"))


def off(model, family: str, name: str) -> float:
    """The distance of an image's vector from the recorded one."""
    recorded = next(c for c in tiny.fixture(family)["cases"] if c["name"] == name)
    item = Input(recorded["text"], (tiny.picture(recorded["picture"]),))
    vector = model.embed([item], recorded["role"], recorded["instruction"])[0]
    return float(np.abs(vector - tiny.expected(family)[name]).max())


def test_mllama_reads_the_layers_it_was_trained_to_read(checkpoint):
    model = fresh(checkpoint, "mme5")
    assert off(model, "mme5", "image_wide") < 1e-5
    vision = model.backbone.model.vision_model
    vision.intermediate_layers_indices = [i + 1 for i in vision.intermediate_layers_indices]
    assert off(model, "mme5", "image_wide") > DIFFERENT


def test_mllama_batches_texts_and_images_separately(model):
    mme5 = model("mme5")
    items = [Input(text="a cat"), Input(images=(tiny.picture("wide"),)), Input(text="a dog")]
    ready = [mme5.backbone.prepare(item, "document", None) for item in items]
    assert len({mme5.backbone.bucket(item).key for item in ready}) == 2
    alone = np.concatenate([mme5.embed([item], "document") for item in items])
    np.testing.assert_allclose(mme5.embed(items, "document"), alone, atol=1e-5)


def test_vlm2vec_counts_positions_as_for_text(checkpoint, monkeypatch):
    model = fresh(checkpoint, "vlm2vec-qwen2vl", "V2")
    assert off(model, "vlm2vec-qwen2vl", "v2_image_large") < 1e-5
    body = model.backbone.model
    plain = body.forward

    def three_dimensional(input_ids, position_ids, **rest):
        kinds = (input_ids == body.config.image_token_id).int()  # what processors pass today
        return plain(input_ids=input_ids, mm_token_type_ids=kinds, **rest)

    monkeypatch.setattr(body, "forward", three_dimensional)
    assert off(model, "vlm2vec-qwen2vl", "v2_image_large") > DIFFERENT


@pytest.mark.parametrize("name", ["image_wide", "image_tall"])
def test_e5v_lays_tiles_out_as_its_version_did(checkpoint, name):
    model = fresh(checkpoint, "e5v")
    assert off(model, "e5v", name) < 1e-5
    model.backbone.architecture._legacy_layout = False
    assert off(model, "e5v", name) > DIFFERENT


def test_e5v_has_margins_a_pixel_short(checkpoint):
    from embedder.vlm.llava_next import _load_processor

    model = fresh(checkpoint, "e5v")
    assert off(model, "e5v", "image_large") < 1e-5
    architecture = model.backbone.architecture
    processor = _load_processor(checkpoint("e5v"), legacy_layout=False)
    processor.image_grid_pinpoints = architecture._grids
    architecture._processor = processor
    assert off(model, "e5v", "image_large") > DIFFERENT


def test_an_image_token_without_a_row_gets_one(checkpoint):
    """Old LLaVA checkpoints have no embedding for it, and their processors lack fields."""
    config = tiny.fixture("e5v")["files"]["config.json"]
    assert config["image_token_index"] >= config["text_config"]["vocab_size"]
    model = fresh(checkpoint, "e5v")
    rows = model.backbone.model.get_input_embeddings().num_embeddings
    assert rows > config["image_token_index"]


def test_the_language_head_never_loads_into_the_model(model):
    for family, form in (("e5v", None), ("mme5", None), ("vlm2vec-qwen2vl", "V2")):
        names = [n for n, _ in model(family, form).backbone.model.named_modules()]
        assert not any("lm_head" in name for name in names)


def test_vlm2vec_v2_enlarges_very_small_images():
    framed = vlm2vec.make_resize_rule(vlm2vec.QWEN_V2)
    assert framed((20, 33)) == (56, 56)
    assert framed((28, 400)) == (28, 400)
    assert vlm2vec.make_resize_rule(vlm2vec.LLAVA)((20, 33)) == (1344, 1344)


def test_mllama_refuses_very_narrow_images(model):
    from PIL import Image

    narrow = Input(images=(Image.new("RGB", (28 * 201, 28)),))
    with pytest.raises(EmbedderError, match="crop it"):
        model("mme5").embed([narrow], "document")


def test_e5v_joins_a_full_stop_and_a_newline(model):
    """Tokenized separately, prefix, text and suffix would give other ids."""
    renderer = model("e5v").backbone.prompt_tokenizer
    whole = renderer.encode(e5v.render_prompt(Input(text="A dog."), "document"))
    apart = [
        i
        for piece in (
            e5v.PROMPT_PREFIX,
            "A dog.",
            "\nSummary above sentence in one word: ",
            e5v.PROMPT_SUFFIX,
        )
        for i in renderer._tokenizer.encode(piece, add_special_tokens=False).ids
    ]
    assert whole[1:] != apart
