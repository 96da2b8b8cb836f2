"""Recipes: presets, overrides by YAML and flags, invalid values and their messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedder.api import find_model
from finetune.cli.train import PRESETS as NAMES_IN_HELP
from finetune.errors import FinetuneError
from finetune.training.presets import (
    PRESETS,
    DatasetSettings,
    LoraSettings,
    parse_setting,
    read_recipe,
    resolve_recipe,
)


def test_presets_hold_the_papers_figures():
    """E5-V's run.sh and ft_llm.py, VLM2Vec's train_v2-qwen2vl-2B.sh and for V1 its README, mmE5's
    train.sh, and their defaults; E5-V's epochs as its paper says them, 1000 steps of 768 out of
    275,601."""
    names = ("e5v-paper", "vlm2vec-v1-paper", "vlm2vec-v2-paper", "mme5-paper")
    e5v, version_1, vlm2vec, mme5 = (PRESETS[name] for name in names)
    attention = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj")
    all_of_mlp = ("gate_proj", "up_proj", "down_proj")
    assert (e5v.batch, e5v.rate, e5v.warmup, e5v.temperature) == (768, 4e-4, 100, 0.05)
    assert round(e5v.epochs * 275_601 / e5v.batch, -1) == 1000
    assert (e5v.longest, e5v.text_only, e5v.quantize) == (32, True, "nf4")
    assert e5v.lora == LoraSettings(rank=64, alpha=16, dropout=0.05)
    assert (vlm2vec.batch, vlm2vec.sub_batch_size, vlm2vec.rate) == (1024, 64 * 8, 5e-5)
    assert (vlm2vec.warmup, vlm2vec.temperature) == (100, 0.02)
    dora = LoraSettings(alpha=64, dropout=0.1, dora=True, gaussian=True, vision=True)
    assert vlm2vec.lora == replace(dora, rank=16, targets=(*attention, *all_of_mlp))
    assert vlm2vec.steps == 5000
    assert (version_1.batch, version_1.sub_batch, version_1.rate) == (1024, 0, 2e-5)
    assert (version_1.steps, version_1.warmup, version_1.temperature) == (2000, 200, 0.02)
    assert version_1.lora == replace(dora, rank=16, targets=(*attention, "down_proj"))
    assert (version_1.vlm2vec_version, vlm2vec.vlm2vec_version) == (1, 2)
    assert (mme5.epochs, mme5.rate, mme5.warmup, mme5.clip) == (1, 1e-5, 0.05, 5.0)
    assert (mme5.temperature, mme5.negatives) == (0.02, 3)
    assert mme5.lora == replace(dora, rank=8, targets=(*attention, "down_proj"))
    modes = {p.hard_negatives for p in (e5v, mme5, vlm2vec)}
    assert (e5v.hard_negatives, mme5.hard_negatives, len(modes)) == ("all", "own", 3)
    assert {p.schedule for p in (e5v, vlm2vec, mme5)} == {"linear"}
    assert not any(p.both_ways for p in (e5v, vlm2vec, mme5))
    assert [p.dataset_split for p in (vlm2vec, mme5)] == ["original", "train"]


def test_presets_start_from_the_papers_base_or_from_its_result():
    """The base models are those of the authors' scripts; the results have cards."""
    bases = {
        "e5v-paper": "llava-hf/llama3-llava-next-8b-hf",
        "vlm2vec-v1-paper": "Qwen/Qwen2-VL-2B-Instruct",
        "vlm2vec-v2-paper": "Qwen/Qwen2-VL-2B-Instruct",
        "mme5-paper": "meta-llama/Llama-3.2-11B-Vision",
    }
    assert {name: PRESETS[name].model for name in bases} == bases
    assert {name for name in PRESETS if name.endswith("-paper")} == bases.keys()
    results = {name: PRESETS[name].model for name in ("e5v", "vlm2vec", "mme5", "starter-head")}
    assert {*bases, *results} == set(PRESETS)
    assert all(find_model(name) for name in results.values())
    for name in ("e5v", "mme5"):
        paper, adapting = PRESETS[f"{name}-paper"], PRESETS[name]
        assert (adapting.lora, adapting.rate) == (paper.lora, paper.rate)


def test_data_sets_have_the_papers_weights_and_rows():
    """Those of VLM2Vec's train_alltasks.yaml that are not videos; V1 takes 100,000 rows of each,
    mmE5 50,000 of each of MMEB's and all of the synthetic ones."""
    second, first, mme5 = (
        PRESETS[f"{name}-paper"] for name in ("vlm2vec-v2", "vlm2vec-v1", "mme5")
    )
    images = {name: one for name, one in second.datasets.items() if one.rows}
    assert len(images) == 20
    assert sum(one.rows for one in images.values()) == 1_103_000
    assert sum(one.weight for one in images.values()) == 15
    assert images["VisDial"] == DatasetSettings(weight=1, rows=130_000)
    assert images["HatefulMemes"] == DatasetSettings(weight=0.5, rows=10_000)
    documents = {name: one.weight for name, one in second.datasets.items() if not one.rows}
    assert documents == {"colpali_train_set": 10, "visrag-indomain": 12}
    assert second.weigh_datasets(["CIRR", "MSCOCO", "mine"]) == {
        "CIRR": 0.2,
        "MSCOCO": 0.4,
        "mine": 0.4,
    }
    assert (first.limit_rows("CIRR"), first.weigh_datasets(["CIRR"])) == (100_000, {})
    assert len(mme5.datasets) == 24
    assert (mme5.limit_rows("TAT-DQA"), mme5.limit_rows("Classification")) == (50_000, None)
    assert mme5.weigh_datasets(["TAT-DQA"]) == {}


def test_data_sets_of_ones_own(tmp_path):
    """From a file and from --set; what is not named has weight 1 and the recipe's limit."""
    file = tmp_path / "recipe.yaml"
    file.write_text("preset: vlm2vec\ndatasets: {shop: {weight: 3}, notes: {rows: 5}}\n")
    sets = [parse_setting("datasets.shop.rows=100"), parse_setting("dataset_rows=7")]
    recipe = resolve_recipe(read_recipe(file), *sets)
    assert recipe.weigh_datasets(["shop", "notes"]) == {"shop": 0.75, "notes": 0.25}
    assert [recipe.limit_rows(name) for name in ("shop", "notes", "other")] == [100, 5, 7]


def test_help_names_every_preset():
    assert set(NAMES_IN_HELP.split(", ")) == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_recipe(preset):
    recipe = resolve_recipe({"preset": preset})
    assert resolve_recipe(recipe.to_dict()) == recipe


def test_the_last_source_wins(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("preset: mme5\nbatch: 64\nrate: 1e-4\nlora: {rank: 4, dropout: 0}\n")
    sets = [parse_setting("lora.rank=2"), parse_setting("matryoshka=[64, 128]")]
    recipe = resolve_recipe(read_recipe(file), *sets, {"batch": 32})
    assert (recipe.preset, recipe.batch, recipe.rate) == ("mme5", 32, 1e-4)
    assert recipe.lora == replace(PRESETS["mme5"].lora, rank=2, dropout=0)
    assert recipe.matryoshka == (64, 128)
    assert recipe.clip == PRESETS["mme5"].clip
    assert resolve_recipe(read_recipe(file), {"preset": "vlm2vec"}).sub_batch_size == 16


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"preset": "e5v-text"},
            "unknown preset 'e5v-text'; known are e5v-paper, e5v, vlm2vec-v1-paper, vlm2vec-",
        ),
        ({"preset": ""}, "name a preset with --preset"),
        ({"batches": 3}, "batches is not a setting of a recipe; known are batch,"),
        ({"lora": {"ranks": 3}}, "lora.ranks is not a setting of a recipe; known are alpha"),
        ({"lora": 8}, "such as 'rank: 8'"),
        ({"lora": {"targets": [8]}}, r"lora.targets cannot be \[8\]"),
        ({"lora": {"targets": ["q.*"]}}, r"lora.targets cannot be \['q"),
        ({"rate": "quick"}, "rate cannot be 'quick'"),
        ({"decay": "nan"}, "decay cannot be 'nan'"),
        ({"epochs": float("inf")}, "epochs cannot be inf"),
        ({"batch": 2.5}, "batch cannot be 2.5; the default is 256"),
        ({"batch": True}, "batch cannot be True"),
        ({"batch": 10**400}, "batch cannot be 1000"),
        ({"both_ways": 1}, "both_ways cannot be 1"),
        ({"matryoshka": [64, 0]}, r"matryoshka cannot be \[64, 0\]"),
        ({"matryoshka": [True]}, r"matryoshka cannot be \[True\]"),
        ({"model": None}, "model cannot be None"),
        ({"schedule": "exponential"}, "schedule must be one of 'linear', 'cosine'"),
        ({"hard_negatives": "some"}, "'all', 'own', 'none'"),
        ({"batch": 1}, "give --batch 2 or more"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"warmup": -1}, "warmup must be 0 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 2**32}, "seed must be below"),
        ({"lora": {"rank": 0}}, "lora.rank must be above 0"),
        ({"lora": {"dropout": 1}}, "lora.dropout is a share"),
        ({"steps": 0, "epochs": 0}, "steps or epochs must be above 0"),
        ({"batch": 100, "sub_batch": 64}, "choose a number that divides it"),
        ({"batch": 100, "sub_batch": 0.3}, "100 pairs cannot be split into sub-batches of 30;"),
        ({"batch": 10, "sub_batch": 0.25}, "10 pairs cannot be split into sub-batches of 2.5;"),
        ({"sub_batch": -1}, "sub_batch must be 0 or more"),
        ({"vlm2vec_version": 3}, "vlm2vec_version must be one of 0, 1, 2, not 3"),
        ({"datasets": {"a": 3}}, r"such as 'CIRR: \{weight: 0.5\}'"),
        ({"datasets": ["a"]}, r"such as 'CIRR: \{weight: 0.5\}'"),
        ({"datasets": {"a": {"size": 3}}}, "datasets.a.size is not a setting .* rows, weight"),
        ({"datasets": {"a": {"weight": -1}}}, "weight and rows of a data set must be 0 or more"),
        ({"quantize": "nf4"}, "quantize: nf4 is for text_only recipes"),
    ],
)
def test_invalid_recipes(overrides, message):
    with pytest.raises(FinetuneError, match=message):
        resolve_recipe({"preset": "mme5", **overrides})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "must hold names and values, such as 'batch: 256'"),
        (b"batch: [1", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_invalid_recipe_files(tmp_path, content, message):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(FinetuneError, match=message):
        read_recipe(file)
    with pytest.raises(FinetuneError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["batch", "=3", "matryoshka=[64"])
def test_invalid_settings(text):
    with pytest.raises(FinetuneError, match="--set"):
        parse_setting(text)


def test_a_model_may_have_its_short_name():
    recipe = resolve_recipe({"preset": "starter-head", "model": "mme5"})
    assert recipe.model == "intfloat/mmE5-mllama-11b-instruct"
