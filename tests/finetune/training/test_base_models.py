"""The base models that the papers' presets start from, in the layout they are published in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from transformers import AutoModelForImageTextToText

import embedder
from embedder.families import vlm2vec
from embedder.types import Input, Settings
from finetune.errors import FinetuneError
from finetune.training.loading import load_base, load_trainable
from finetune.training.presets import resolve_recipe

CPU = Settings(device="cpu")


@pytest.fixture(scope="module")
def llava_llama(checkpoint, tmp_path_factory) -> Path:
    """A tiny llava-hf/llama3-llava-next-8b-hf: embeddings of a padded number of rows, a processor
    with fields that E5-V's does not have, no `polylens.json`."""
    source, folder = checkpoint("e5v"), tmp_path_factory.mktemp("llava") / "llama3-llava-next-8b-hf"
    model = AutoModelForImageTextToText.from_pretrained(source)
    model.resize_token_embeddings(pad_to_multiple_of=64, mean_resizing=False)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    config = json.loads((folder / "config.json").read_text())
    fields = {"processor_class": "LlavaNextProcessor", "image_token": "<image>"}
    fields |= {
        "patch_size": config["vision_config"]["patch_size"],
        "num_additional_image_tokens": 1,
    }
    fields |= {"vision_feature_select_strategy": "default"}
    (folder / "processor_config.json").write_text(json.dumps(fields))
    return folder


def test_e5vs_base_is_of_its_family(llava_llama, checkpoint):
    """Its vectors are those of the same weights in E5-V's layout."""
    inputs = [Input("a cat"), Input(images=(tiny.picture("wide"),))]
    base, e5v = (embedder.load(str(path), CPU) for path in (llava_llama, checkpoint("e5v")))
    assert base.card.family == "e5v"
    expected = e5v.embed(inputs, "query")
    np.testing.assert_allclose(base.embed(inputs, "query"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("preset", "family"),
    [
        ("vlm2vec-v2-paper", "vlm2vec-qwen2vl"),
        ("vlm2vec-v2-paper", "vlm2vec-qwen25vl"),
        ("mme5-paper", "mme5"),
    ],
)
def test_other_bases_are_of_their_families(checkpoint, preset, family):
    card = embedder.describe_model(str(checkpoint(family)))
    assert card.family == family.partition("-")[0] == preset.partition("-")[0]


@pytest.mark.parametrize(("preset", "form"), [("v1", "V1"), ("v2", "V2")])
def test_the_version_of_the_preset_decides_how_images_are_taken(checkpoint, tmp_path, preset, form):
    """A base model does not say which version it is to become; the adapter does."""
    base = {"model": str(checkpoint("vlm2vec-qwen2vl"))}
    recipe = resolve_recipe({"preset": f"vlm2vec-{preset}-paper"}, base)
    trainable = load_trainable(recipe, CPU, tmp_path)
    trainable.save(tmp_path / "adapter")
    told = json.loads((tmp_path / "adapter" / "polylens.json").read_text())
    expected = vlm2vec.QWEN_V1 if form == "V1" else vlm2vec.QWEN_V2
    assert (told["version"], told["square"], tuple(told["pixels"])) == (
        expected.version,
        expected.square,
        expected.pixels,
    )
    item = Input(images=(tiny.picture("wide"),))
    after = embedder.load(str(tmp_path / "adapter"), CPU).backbone.prepare(item, "query", None)
    before = load_base(recipe, CPU)
    for backbone in (trainable.backbone, before.backbone):
        assert backbone.prepare(item, "query", None).ids == after.ids
    as_it_is = embedder.describe_model(recipe.model, CPU)  # the newest version
    assert (before.card.fingerprint == as_it_is.fingerprint) == (form == "V2")
    side = 1344 if form == "V1" else 180
    assert after.sizes[0][0] == side


def test_only_vlm2vec_has_versions(checkpoint, tmp_path):
    recipe = resolve_recipe(
        {"preset": "vlm2vec-v1-paper", "model": str(checkpoint("mme5")), "lora": {"targets": []}}
    )
    with pytest.raises(FinetuneError, match="is a mme5 model; add --set vlm2vec_version=0"):
        load_trainable(recipe, CPU, tmp_path)


def test_a_paper_preset_trains_its_base(llava_llama, trained, texts):
    small = {"batch": 6, "steps": 2, "warmup": 0, "rate": 3e-3, "quantize": "none", "log_every": 1}
    recipe = resolve_recipe({"preset": "e5v-paper", "model": str(llava_llama), **small})
    run = trained(texts, recipe)
    assert json.loads((run.model / "polylens.json").read_text())["family"] == "e5v"
    before, after = (
        embedder.load(str(name), CPU).embed([Input("a cat")], "query")
        for name in (llava_llama, run.folder)
    )
    assert np.abs(before - after).max() > 1e-3
