"""What training leaves: an adapter that gives the same vectors wherever it is loaded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file

import embedder
from embedder.engine.engine import Engine
from embedder.types import Input, Settings
from finetune.errors import FinetuneError
from finetune.training import trainer
from finetune.training.loading import load_trainable

CPU = Settings(device="cpu")
TEXTS = [Input("a cat in the snow."), Input("猫"), Input("a dog")]
SEEN = [Input(None, (tiny.picture(name),)) for name in ("wide", "square")]
SEEN += [Input("at night", (tiny.picture("tall"),))]
DORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "dora": True, "gaussian": True}
CASES = [
    ("e5v", None, "e5v-text", {}),
    ("e5v", None, "e5v-text", {"text_only": False, "lora": DORA}),
    ("mme5", None, "mme5", {}),
    ("vlm2vec-llava", "V1", "vlm2vec", {}),
    ("vlm2vec-qwen2vl", "V1", "vlm2vec", {"lora": {**DORA, "dora": False}}),
    ("vlm2vec-qwen2vl", "V2", "vlm2vec", {"lora": {"vision": True}}),
    ("vlm2vec-qwen25vl", "V2", "vlm2vec", {}),
]


@pytest.fixture
def kept(monkeypatch) -> list:
    """The models that `train` makes, as they are after it."""
    models = []

    def watched(*arguments):
        models.append(load_trainable(*arguments))
        return models[-1]

    monkeypatch.setattr(trainer, "load_trainable", watched)
    return models


def check(run, model, base: str, items) -> None:
    """The trained module, the adapter merged by the embedder, and the untouched base."""
    model.module.eval()
    trained = Engine(model.backbone, CPU).embed(items, "query")
    merged = embedder.load(str(run.folder), CPU).embed(items, "query")
    np.testing.assert_allclose(merged, trained, atol=1e-5)
    before = embedder.load(base, CPU).embed(items, "query")
    assert np.abs(merged - before).max() > 1e-3


def unchanged(model, body: torch.nn.Module, rows: int = 0) -> None:
    """Every weight that is not LoRA's is the checkpoint's, to the bit; of embeddings its `rows`,
    beyond which E5-V's get some that no token uses."""
    now = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): weight
        for name, weight in model.module.state_dict().items()
        if "lora_" not in name
    }
    before = body.state_dict()
    assert not now.keys() - before.keys()
    for name, weight in now.items():
        known = len(weight) if "embed_tokens" not in name else rows or len(weight)
        assert torch.equal(before[name][:known], weight[:known]), name


def adapted(run) -> set[str]:
    return {name.split(".lora_")[0] for name in load_file(run.model / "adapter_model.safetensors")}


@pytest.mark.parametrize(("family", "form", "preset", "changes"), CASES)
def test_saved_and_loaded_it_is_the_trained_model(
    kept, trained, recipe, texts, mixed, model, family, form, preset, changes
):
    told = recipe(preset, family, form, steps=3, batch=4, **changes)
    pairs = [p for p in mixed if not p.query.instruction] if not told.text_only else texts
    run = trained(pairs, told)
    (ours,) = kept
    check(run, ours, told.model, TEXTS if told.text_only else TEXTS + SEEN)
    body = model(family, form).backbone.model
    config = tiny.fixture(family)["files"]["config.json"]
    text = config.get("text_config", config)
    unchanged(ours, body.language_model if told.text_only else body, text["vocab_size"])
    seen = {name for name in adapted(run) if "visual" in name or "vision" in name}
    assert bool(seen) == told.lora.vision
    assert not any("projector" in name for name in adapted(run))
    keys = load_file(run.model / "adapter_model.safetensors")
    assert all(".lora_" in name for name in keys)
    layers = sum("q_proj" in name for name in adapted(run) - seen)
    assert layers == text["num_hidden_layers"]
    written = json.loads((run.model / "adapter_config.json").read_text())
    assert written["use_dora"] == told.lora.dora


def test_an_adapter_of_texts_moves_pictures_too(trained, recipe, texts, loaded):
    told = recipe(steps=3)
    after = loaded(trained(texts, told).folder).embed(SEEN, "document")
    moved = (after * loaded(told.model).embed(SEEN, "document")).sum(1)
    assert moved.max() < 0.9999


@pytest.mark.parametrize("which", ["qwen", "bert"])
def test_so_it_is_with_sentence_transformers(request, which, kept, trained, recipe, texts, mixed):
    base = str(request.getfixturevalue(which))
    told = recipe("vlm2vec", model=base, steps=3, batch=4, lora=DORA)
    run = trained(texts if which == "bert" else mixed[:3], told)
    (ours,) = kept
    check(run, ours, base, TEXTS if which == "bert" else TEXTS + SEEN)
    unchanged(ours, embedder.load(base, CPU).backbone.transformer)
    assert not any("visual" in name for name in adapted(run))


def test_what_stands_beside_an_adapter(trained, recipe, texts):
    told = recipe("vlm2vec", "vlm2vec-qwen2vl", "V1", steps=1, matryoshka=[8, 4])
    run = trained([replace(texts[0], language="en"), replace(texts[1], language="de")], told)
    said = json.loads((run.model / "polylens.json").read_text())
    assert (said["family"], said["version"], said["base"]) == ("vlm2vec", 1, told.model)
    assert (said["languages"], said["matryoshka"]) == (["de", "en"], [8, 4])
    card = embedder.describe_model(str(run.folder), Settings(dim=8))
    assert (card.dim, card.matryoshka, card.languages) == (8, (4, 8), ("de", "en"))
    short, whole = (
        embedder.load(str(run.model), Settings(device="cpu", dim=d)).embed(TEXTS, "query")
        for d in (8, None)
    )
    cut = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(short, cut, atol=1e-6)


def test_shorter_vectors_are_trained(trained, recipe, texts, loaded):
    """Cut to four numbers, more of the words find their own sentence than before."""
    told = recipe(steps=10, matryoshka=[4], batch=12)
    run = trained(texts, told)
    losses = [line["loss"] for line in run.read_log()]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    before, after = (found(loaded(name), texts) for name in (told.model, run.folder))
    assert after > before


def found(model, pairs) -> float:
    """How much nearer a query is to its own document than to the others, in four dimensions."""
    queries, documents = (
        model.embed([side.to_input() for side in sides], role)[:, :4]
        for sides, role in (
            ([pair.query for pair in pairs], "query"),
            ([pair.positive for pair in pairs], "document"),
        )
    )
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, documents)]
    scores = unit[0] @ unit[1].T
    return float((scores.diagonal()[:, None] - scores).mean())


def test_what_cannot_be_trained_is_said(recipe, tmp_path, trained, texts):
    run = trained(texts, recipe(steps=1))
    with pytest.raises(FinetuneError, match="is an adapter; merge it first"):
        load_trainable(recipe(model=str(run.model)), CPU, tmp_path)
    with pytest.raises(FinetuneError, match="text_only is for E5-V"):
        load_trainable(recipe("e5v-text", "mme5"), CPU, tmp_path)
    with pytest.raises(FinetuneError, match="matryoshka must name smaller dims, not 4096"):
        load_trainable(recipe(matryoshka=[4096]), CPU, tmp_path)
