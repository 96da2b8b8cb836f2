"""Meta CLIP 2 through sentence-transformers, against transformers alone, on a tiny random one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from embedder import EmbedderError, Input
from tests.noise import make_noise
from tests.tiny_folders import WORDS, close, loaded, randomize, write

NOISE = make_noise((60, 40), 80).convert("RGB")
LONG = "the capital of france is paris " * 12


@pytest.fixture(scope="module")
def metaclip(tmp_path_factory) -> Path:
    """A folder laid out as facebook/metaclip-2-worldwide-huge-quickgelu."""
    from transformers import (
        CLIPImageProcessorPil,
        MetaClip2Config,
        MetaClip2Model,
        XLMRobertaTokenizer,
    )

    folder = tmp_path_factory.mktemp("models") / "metaclip"
    letters = sorted(set("".join(WORDS)) - {" "})
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *letters, "<mask>"]
    tokenizer = XLMRobertaTokenizer(
        vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], model_max_length=77
    )
    tokenizer.save_pretrained(folder)
    tower = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "hidden_act": "quick_gelu",
    }  # fmt: skip
    config = MetaClip2Config(
        text_config={
            **tower, "vocab_size": 64, "max_position_embeddings": 77,
            "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        },
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=24,
    )  # fmt: skip
    randomize(MetaClip2Model(config)).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    saved = json.loads((folder / "preprocessor_config.json").read_text())
    saved |= {"processor_class": "CLIPProcessor", "image_processor_type": "CLIPImageProcessor"}
    write(folder / "preprocessor_config.json", saved)
    return folder


@pytest.fixture(scope="module")
def model(metaclip):
    return loaded(metaclip)


@pytest.fixture(scope="module")
def recipe(metaclip):
    from transformers import CLIPImageProcessorPil, MetaClip2Model, XLMRobertaTokenizer

    reference = MetaClip2Model.from_pretrained(metaclip).eval()
    tokenizer = XLMRobertaTokenizer.from_pretrained(metaclip)
    images = CLIPImageProcessorPil.from_pretrained(metaclip)

    @torch.no_grad()
    def embed(part: str | Image.Image) -> np.ndarray:
        if isinstance(part, str):
            ready = tokenizer([part], truncation=True, max_length=77, return_tensors="pt")
            inputs = {name: ready[name] for name in ("input_ids", "attention_mask")}
            found = reference.get_text_features(**inputs)
        else:
            found = reference.get_image_features(**images(images=[part], return_tensors="pt"))
        return normalize(found.pooler_output[0], dim=0).numpy()

    return embed


@pytest.mark.parametrize("text", ["two dogs", LONG])
def test_texts_equal_the_recipe(model, recipe, text):
    close(model.embed([Input(text)], "query")[0], recipe(text))


def test_images_equal_the_recipe(model, recipe):
    close(model.embed([Input(images=(NOISE,))], "document")[0], recipe(NOISE))


def test_batches_equal_the_recipe(model, recipe):
    """Texts of different lengths end at different positions."""
    items = [Input("two dogs"), Input(LONG), Input("make it greener"), Input(images=(NOISE,))]
    expected = [recipe("two dogs"), recipe(LONG), recipe("make it greener"), recipe(NOISE)]
    close(model.embed(items, "document"), expected)


def test_the_vectors_of_parts_are_added(model, recipe):
    both = recipe("two dogs") + recipe(NOISE)
    found = model.embed([Input("two dogs", (NOISE,))], "query")[0]
    close(found, both / np.linalg.norm(both))
    assert not model.card.composes


def test_it_has_one_dim(metaclip):
    with pytest.raises(EmbedderError, match="vectors of dim 24, not 12"):
        loaded(metaclip, dim=12)
