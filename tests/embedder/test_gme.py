"""GME against its authors' recipe written out, on a tiny random Qwen2-VL."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import embedder
from embedder import EmbedderError, Input, Settings
from embedder.families.gme import DEFAULT_INSTRUCTION, TEXT_QUERY
from tests.tiny_folders import close, write


@pytest.fixture(scope="module")
def gme(tmp_path_factory) -> Path:
    """With modules.json, which names a class of the authors' own, as the published folder."""
    folder = tmp_path_factory.mktemp("models") / "gme-Qwen2-VL-2B-Instruct"
    tiny.build("vlm2vec-qwen2vl", folder)
    own = {"idx": 0, "name": "0", "path": "", "type": "custom_st.MultiModalTransformer"}
    write(folder / "modules.json", [own])
    (folder / "custom_st.py").write_text("raise RuntimeError('foreign code runs')")
    return folder


@pytest.fixture(scope="module")
def model(gme):
    return embedder.load(str(gme), Settings(device="cpu"))


@pytest.fixture(scope="module")
def recipe(gme):
    """The authors' `embed`: images in place of their tokens, positions as those of text."""
    from tokenizers import Tokenizer
    from transformers import Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

    reference = Qwen2VLForConditionalGeneration.from_pretrained(gme).model.eval()
    tokenizer = Tokenizer.from_file(str(gme / "tokenizer.json"))
    images = Qwen2VLImageProcessorPil.from_pretrained(
        gme, min_pixels=4 * 28 * 28, max_pixels=1280 * 28 * 28
    )

    @torch.no_grad()
    def embed(item: Input, instruction: str) -> np.ndarray:
        seen, features = "", None
        for image in item.images:
            width, height = (max(28, round(side / 28) * 28) for side in image.size)
            if width * height < 4 * 28 * 28:
                scale = math.sqrt(4 * 28 * 28 / (image.width * image.height))
                width, height = (math.ceil(side * scale / 28) * 28 for side in image.size)
            ready = images(images=[image.resize((width, height))], return_tensors="pt")
            grid = ready["image_grid_thw"]
            features = reference.visual(ready["pixel_values"], grid_thw=grid).pooler_output
            places = "<|image_pad|>" * (int(grid.prod()) // 4)
            seen = f"<|vision_start|>{places}<|vision_end|>"
        ids = tokenizer.encode(
            f"<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{seen}"
            f"{item.text or ''}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"
        ).ids
        ids = torch.tensor([ids])
        states = reference.get_input_embeddings()(ids)
        if features is not None:
            states[ids == tokenizer.token_to_id("<|image_pad|>")] = features
        states = reference.language_model(inputs_embeds=states).last_hidden_state[0, -1]
        return torch.nn.functional.normalize(states, dim=0).numpy()

    return embed


WIDE, TALL = tiny.picture("wide"), tiny.picture("tall")
CASES = {
    "text": (Input("a dog in the grass"), "query", TEXT_QUERY),
    "text document": (Input("a dog in the grass"), "document", DEFAULT_INSTRUCTION),
    "image": (Input(images=(WIDE,)), "document", DEFAULT_INSTRUCTION),
    "image query": (Input(images=(TALL,)), "query", DEFAULT_INSTRUCTION),
    "captioned image": (Input("a cat", (TALL,)), "document", DEFAULT_INSTRUCTION),
    "small image": (Input("a cat", (tiny.picture("tiny"),)), "query", DEFAULT_INSTRUCTION),
}


@pytest.mark.parametrize("name", CASES)
def test_vectors_equal_the_recipe(model, recipe, name):
    item, role, instruction = CASES[name]
    close(model.embed([item], role)[0], recipe(item, instruction))


def test_batches_equal_the_recipe(model, recipe):
    items = [item for item, _, _ in CASES.values()]
    close(model.embed(items, "document"), [recipe(item, DEFAULT_INSTRUCTION) for item in items])


def test_an_instruction_is_for_queries(model, recipe):
    item = Input("make it greener", (WIDE,))
    asked = "Find the same house."
    close(model.embed([item], "query", asked)[0], recipe(item, asked))
    close(model.embed([item], "document", asked)[0], recipe(item, DEFAULT_INSTRUCTION))


def test_the_folder_is_recognized_by_its_name(gme, model, tmp_path):
    assert model.card.family == "gme"
    other = tmp_path / "renamed"
    other.symlink_to(gme)
    with pytest.raises(EmbedderError, match=r"custom_st.MultiModalTransformer"):
        embedder.load(str(other), Settings(device="cpu"))
    named = embedder.load(f"gme:{other}", Settings(device="cpu"))
    close(named.embed([Input("a cat")], "query"), model.embed([Input("a cat")], "query"))


def test_a_text_cannot_spell_a_token(model):
    ready = model.backbone.prepare(Input("a <|im_end|> <|image_pad|> b", (WIDE,)), "query", None)
    ids = list(ready.ids)
    assert ids.count(model.backbone.prompt_tokenizer.special_tokens["<|im_end|>"]) == 2


def test_what_it_cannot_take_is_reported(model):
    with pytest.raises(EmbedderError, match="one image per input"):
        model.embed([Input(images=(WIDE, TALL))], "query")
    with pytest.raises(EmbedderError, match="too narrow"):
        model.embed([Input(images=(Image.new("RGB", (9000, 10)),))], "query")


def test_a_pixel_budget_makes_images_smaller(gme):
    small = embedder.load(str(gme), Settings(device="cpu", pixel_budget=10_000))
    ready = small.backbone.prepare(Input(images=(tiny.picture("large"),)), "document", None)
    assert ready.ids.count(small.backbone.architecture.image_token) <= 10_000 // 28**2
