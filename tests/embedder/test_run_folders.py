"""A fine-tuning run's folder is a model's name; its files name the base and the recipe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from peft import LoraConfig, get_peft_model

import embedder
from embedder.checkpoint import Checkpoint, locate
from embedder.errors import EmbedderError
from embedder.families import sentence_transformer as family
from embedder.families import vlm2vec
from embedder.model_card import derive_base_card
from embedder.types import Input, Settings

CPU = Settings(device="cpu")
ITEMS = [Input(text="a cat"), Input(images=(tiny.picture("wide"),))]


@pytest.fixture
def make_run(checkpoint, tmp_path) -> Callable[..., Path]:
    """A run's folder as `finetune train` leaves it, around an adapter of a tiny model."""

    def make(family: str, form: str | None = None, **saved: object) -> Path:
        base = checkpoint(family, form)
        run = tmp_path / "runs" / family
        config = LoraConfig(
            r=2, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False,
            base_model_name_or_path=str(base),
        )  # fmt: skip
        body = embedder.load(str(base), CPU).backbone.model
        get_peft_model(body, config).save_pretrained(run / "model")
        (run / "run.json").write_text(json.dumps({"format": 1, "status": "done"}))
        metadata = {"family": family.partition("-")[0], "base": str(base), **saved}
        (run / "model" / "polylens.json").write_text(json.dumps(metadata))
        (run / "log.jsonl").write_text('{"step": 1}\n')
        return run

    return make


def test_a_run_is_loaded_by_its_folder(make_run, checkpoint):
    run = make_run("e5v", matryoshka=[8, 16, 64], languages=["cy"])
    loaded = embedder.load(str(run), CPU)
    card = loaded.card
    assert (card.name, card.family, card.dim) == (str(run), "e5v", 32)
    assert (card.matryoshka, card.languages) == ((8, 16), ("cy",))
    assert card == embedder.describe_model(str(run), CPU)
    rows = loaded.embed(ITEMS, "document")
    plain = embedder.load(str(checkpoint("e5v")), CPU).embed(ITEMS, "document")
    assert np.abs(rows - plain).max() > 1e-3
    inner = embedder.load(str(run / "model"), CPU).embed(ITEMS, "document")
    np.testing.assert_array_equal(rows, inner)
    short = embedder.load(str(run), Settings("cpu", dim=8))
    cut = rows[:, :8] / np.linalg.norm(rows[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(short.embed(ITEMS, "document"), cut, atol=1e-5)


def test_a_relative_name_is_found_from_anywhere(make_run, monkeypatch):
    run = make_run("e5v")
    monkeypatch.chdir(run.parent)
    assert embedder.describe_model("./e5v", CPU).name == str(run)
    assert embedder.describe_model(f"vlm2vec:{run}", CPU).name == f"vlm2vec:{run}"


def test_the_fingerprint_is_that_of_the_weights_and_of_the_base(make_run, checkpoint, tmp_path):
    run = make_run("e5v", languages=["cy"])
    before = embedder.describe_model(str(run), CPU).fingerprint
    (run / "log.jsonl").write_text('{"step": 2}\n')
    (run / "README.md").write_text("A model.\n")
    assert embedder.describe_model(str(run), CPU).fingerprint == before
    base = Path(shutil.copytree(checkpoint("e5v"), tmp_path / "elsewhere"))
    for name, key in (
        ("adapter_config.json", "base_model_name_or_path"),
        ("polylens.json", "base"),
    ):
        saved = json.loads((run / "model" / name).read_text())
        (run / "model" / name).write_text(json.dumps({**saved, key: str(base)}))
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    assert embedder.describe_model(str(moved), CPU).fingerprint == before
    config = json.loads((base / "preprocessor_config.json").read_text())
    (base / "preprocessor_config.json").write_text(json.dumps({**config, "image_mean": [0, 0, 0]}))
    assert embedder.describe_model(str(moved), CPU).fingerprint != before
    saved = json.loads((run / "model" / "adapter_config.json").read_text())
    (run / "model" / "adapter_config.json").write_text(json.dumps({**saved, "lora_alpha": 99}))
    shutil.rmtree(base)
    base.symlink_to(checkpoint("e5v"))
    assert embedder.describe_model(str(run), CPU).fingerprint != before


def test_the_recipe_comes_from_the_base(make_run, checkpoint):
    """The base's polylens.json applies unless the run's own overrides it."""
    base = checkpoint("vlm2vec-qwen2vl", "V1")
    expected = vlm2vec.detect_recipe(str(base), Checkpoint(base))
    run = make_run("vlm2vec-qwen2vl", "V1")
    assert vlm2vec.detect_recipe(str(run), locate(str(run))) == expected
    run = make_run("vlm2vec-qwen2vl", "V1", version=2, square=56, pixels=[784, 7840])
    saved = vlm2vec.Recipe(2, 56, (784, 7840), "readme")  # what did not say was the README's
    assert vlm2vec.detect_recipe(str(run), locate(str(run))) == saved
    run = make_run("vlm2vec-qwen2vl", "V1", prompt_format="mmeb", version=2)
    assert vlm2vec.detect_recipe(str(run), locate(str(run))) == vlm2vec.QWEN_V2


def test_the_card_is_that_of_a_known_base(tmp_path):
    """License, languages, dims, memory; the metadata beside the weights has priority."""
    cards = family.CARDS
    qwen = cards[1]
    saved = {"family": "sentence_transformer", "base": qwen.name}
    (tmp_path / "polylens.json").write_text(json.dumps(saved))
    like = vlm2vec._CARD
    card = derive_base_card(cards, "/run", Checkpoint(tmp_path), like, qwen.dim)
    assert (card.license, card.languages, card.memory) == (
        qwen.license, qwen.languages, qwen.memory
    )  # fmt: skip
    assert (card.matryoshka, card.source, card.name) == (qwen.matryoshka, "/run", "")
    (tmp_path / "polylens.json").write_text(json.dumps({**saved, "matryoshka": [512, 256, 4096]}))
    assert derive_base_card(cards, "/run", Checkpoint(tmp_path), like, 2048).matryoshka == (
        256,
        512,
    )
    (tmp_path / "polylens.json").write_text(json.dumps({**saved, "languages": "all"}))
    with pytest.raises(EmbedderError, match="languages is not a list of str"):
        derive_base_card(cards, "/run", Checkpoint(tmp_path), like, 2048)
    (tmp_path / "polylens.json").write_text(json.dumps({"family": "vlm2vec", "base": "nobody's"}))
    card = derive_base_card(cards, "/run", Checkpoint(tmp_path), like, 2048)
    assert (card.license, card.parameters) == (like.license, 0)


def test_a_missing_base_is_reported(make_run, checkpoint):
    run = make_run("e5v")
    file = run / "model" / "adapter_config.json"
    saved = json.loads(file.read_text())
    file.write_text(json.dumps({**saved, "base_model_name_or_path": "/nowhere/model"}))
    with pytest.raises(
        EmbedderError, match=r"adapter of /nowhere/model, which is missing: restore"
    ):
        embedder.load(str(run), CPU)
    (run / "model" / "polylens.json").unlink()  # the family cannot be told either
    with pytest.raises(EmbedderError, match="/nowhere/model, which is missing"):
        embedder.load(str(run), CPU)
    file.write_text(json.dumps({**saved, "base_model_name_or_path": str(run / "model")}))
    with pytest.raises(EmbedderError, match="an adapter itself: merge"):
        embedder.describe_model(f"e5v:{run}", CPU)


def test_a_run_without_a_model_is_reported(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"status": "training"}))
    (tmp_path / "model").mkdir()
    with pytest.raises(EmbedderError, match=r"fine-tuning run \(training\) without a model"):
        embedder.load(str(tmp_path), CPU)


def test_an_unknown_family_is_reported(tmp_path):
    (tmp_path / "polylens.json").write_text(json.dumps({"family": "telepathy"}))
    with pytest.raises(EmbedderError, match="family 'telepathy', which this version"):
        embedder.load(str(tmp_path), CPU)
