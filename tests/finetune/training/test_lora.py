"""What training leaves: an adapter that gives the same vectors wherever it is loaded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

import embedder
from embedder.engine import Engine
from embedder.types import Input, Settings
from embedder.vlm.quantization import Nf4Linear
from finetune.errors import FinetuneError
from finetune.training import trainer
from finetune.training.loading import load_trainable
from finetune.training.presets import resolve_recipe

CPU = Settings(device="cpu")
TEXTS = [Input("a cat in the snow."), Input("猫"), Input("a dog")]
SEEN = [Input(None, (tiny.picture(name),)) for name in ("wide", "square")]
SEEN += [Input("at night", (tiny.picture("tall"),))]
DORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "dora": True, "gaussian": True}
ATTENTION = {"q_proj", "k_proj", "v_proj"}
MLP = {"gate_proj", "up_proj", "down_proj"}
WITHOUT_GATES = {"targets": ["q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "down_proj"]}
CASES = [  # the last names of what is adapted in the language model, and in the vision tower
    ("e5v", None, "e5v", {}, {*ATTENTION, "o_proj", *MLP}, set()),
    ("e5v", None, "e5v", {"text_only": False, "lora": DORA}, {*ATTENTION, "o_proj", *MLP}, set()),
    ("mme5", None, "mme5", {}, {*ATTENTION, "o_proj", "down_proj"}, {*ATTENTION, "o_proj"}),
    (
        *("vlm2vec-llava", "V1", "vlm2vec", {"lora": WITHOUT_GATES}),
        {*ATTENTION, "o_proj", "down_proj"},
        {*ATTENTION, "out_proj"},
    ),
    (
        *("vlm2vec-qwen2vl", "V1", "vlm2vec", {"lora": {**DORA, "dora": False}}),
        {*ATTENTION, "o_proj", *MLP},
        set(),
    ),
    (
        *("vlm2vec-qwen2vl", "V2", "vlm2vec", {"lora": {"targets": []}}),
        {*ATTENTION, "o_proj", *MLP},
        {"qkv", "proj", "fc1", "fc2", "0", "2"},
    ),
    ("vlm2vec-qwen25vl", "V2", "vlm2vec", {}, {*ATTENTION, "o_proj", *MLP}, MLP),
]


@pytest.fixture
def loaded_models(monkeypatch) -> list:
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


@pytest.mark.parametrize(("family", "form", "preset", "changes", "language", "vision"), CASES)
def test_a_saved_adapter_loads_as_the_trained_model(
    loaded_models,
    trained,
    recipe,
    texts,
    mixed,
    model,
    family,
    form,
    preset,
    changes,
    language,
    vision,
):
    """The adapter holds the layers of the paper, and the embedder merges it as it was trained."""
    run_recipe = recipe(preset, family, form, steps=3, batch=4, **changes)
    pairs = [p for p in mixed if not p.query.instruction] if not run_recipe.text_only else texts
    run = trained(pairs, run_recipe)
    (model_in_training,) = loaded_models
    check(run, model_in_training, run_recipe.model, TEXTS if run_recipe.text_only else TEXTS + SEEN)
    body = model(family, form).backbone.model
    config = tiny.fixture(family)["files"]["config.json"]
    text = config.get("text_config", config)
    unchanged(
        model_in_training, body.language_model if run_recipe.text_only else body, text["vocab_size"]
    )
    seen = {name for name in adapted(run) if "visual" in name or "vision" in name}
    assert {name.rpartition(".")[2] for name in seen} == vision
    assert {name.rpartition(".")[2] for name in adapted(run) - seen} == language
    assert not any("projector" in name for name in adapted(run))
    keys = load_file(run.model / "adapter_model.safetensors")
    assert all(".lora_" in name for name in keys)
    layers = sum("q_proj" in name for name in adapted(run) - seen)
    assert layers == text["num_hidden_layers"]
    written = json.loads((run.model / "adapter_config.json").read_text())
    lora = run_recipe.lora
    assert (written["use_dora"], written["r"]) == (lora.dora, lora.rank)
    assert (written["lora_alpha"], written["lora_dropout"]) == (lora.alpha, lora.dropout)
    told = json.loads((run.model / "polylens.json").read_text())
    assert (told["lora_targets"], told["lora_vision"]) == ([*lora.targets], lora.vision)
    layers = [m for m in model_in_training.module.modules() if isinstance(m, LoraLayer)]
    assert {layer.scaling["default"] for layer in layers} == {lora.alpha / lora.rank}


def test_an_adapter_trained_on_texts_changes_image_embeddings(trained, recipe, texts, loaded):
    run_recipe = recipe(steps=3)
    after = loaded(trained(texts, run_recipe).folder).embed(SEEN, "document")
    moved = (after * loaded(run_recipe.model).embed(SEEN, "document")).sum(1)
    assert moved.max() < 0.9999


@pytest.mark.parametrize("which", ["qwen", "bert"])
def test_sentence_transformers_models(request, which, loaded_models, trained, recipe, texts, mixed):
    base = str(request.getfixturevalue(which))
    lora = {**DORA, "targets": [], "vision": False}
    run_recipe = recipe("vlm2vec", model=base, steps=3, batch=4, lora=lora)
    run = trained(texts if which == "bert" else mixed[:3], run_recipe)
    (model_in_training,) = loaded_models
    check(run, model_in_training, base, TEXTS if which == "bert" else TEXTS + SEEN)
    unchanged(model_in_training, embedder.load(base, CPU).backbone.model)
    assert not any("visual" in name for name in adapted(run))


def test_adapter_metadata(trained, recipe, texts):
    run_recipe = recipe("vlm2vec", "vlm2vec-qwen2vl", "V1", steps=1, matryoshka=[8, 4])
    run = trained([replace(texts[0], language="en"), replace(texts[1], language="de")], run_recipe)
    metadata = json.loads((run.model / "polylens.json").read_text())
    assert (metadata["family"], metadata["version"], metadata["base"]) == (
        "vlm2vec",
        1,
        run_recipe.model,
    )
    assert (metadata["languages"], metadata["matryoshka"]) == (["de", "en"], [8, 4])
    assert metadata["prompt_format"] == "mmeb"
    card = embedder.describe_model(str(run.folder), Settings(dim=8))
    assert (card.dim, card.matryoshka, card.languages) == (8, (4, 8), ("de", "en"))
    short, whole = (
        embedder.load(str(run.model), Settings(device="cpu", dim=d)).embed(TEXTS, "query")
        for d in (8, None)
    )
    cut = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(short, cut, atol=1e-6)


def test_alpha_scales_what_is_merged(trained, recipe, texts):
    """W + alpha / rank * B A (Hu et al. 2021, section 4.1), of two presets' alpha and rank."""
    for rank, alpha in ((4, 16), (8, 4)):
        lora = {"rank": rank, "alpha": alpha, "targets": ["o_proj"]}
        run_recipe = recipe(steps=2, lora=lora)
        run = trained(texts, run_recipe, f"run-{rank}")
        weights = load_file(run.model / "adapter_model.safetensors")
        name = next(key for key in weights if key.endswith("o_proj.lora_A.weight"))
        down, up = weights[name], weights[name.replace("lora_A", "lora_B")]
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        before, after = (
            embedder.load(str(folder), CPU).backbone.model.language_model.get_submodule(layer)
            for folder in (run_recipe.model, run.folder)
        )
        change = after.weight - before.weight
        torch.testing.assert_close(change, alpha / rank * up @ down, rtol=1e-4, atol=1e-6)
        assert change.abs().max() > 1e-4


def test_an_adapter_keeps_the_prompts_it_is_trained_with(trained, recipe, texts):
    run_recipe = recipe("vlm2vec", "vlm2vec-qwen2vl", "V2", steps=1)
    base = run_recipe.model
    run = trained(texts[:4], replace(run_recipe, model=f"vlm2vec-readme:{base}"))
    metadata = json.loads((run.model / "polylens.json").read_text())
    assert (metadata["prompt_format"], metadata["base"]) == ("readme", base)
    found = embedder.load(str(run.folder), Settings(device="cpu")).backbone
    (image, *_) = found.render_prompt(SEEN[0], "document", None)
    assert image == "<|image_pad|> "


def test_qlora_trains_an_adapter_of_frozen_weights_in_four_bits(
    loaded_models, trained, recipe, texts, checkpoint
):
    """As E5-V is trained: nf4 in all linear layers, which stay as they were; the loss falls, and
    the adapter is applied to the whole weights or to quantized ones."""
    lora = {"rank": 8, "alpha": 16, "dropout": 0.0}
    run_recipe = recipe(quantize="nf4", steps=10, batch=12, lora=lora)
    run = trained(texts, run_recipe)
    (model,) = loaded_models
    frozen = {n: m for n, m in model.module.named_modules() if isinstance(m, Nf4Linear)}
    dense = embedder.load(run_recipe.model, CPU).backbone.model.language_model
    linear = {n: m for n, m in dense.named_modules() if type(m) is torch.nn.Linear}
    assert len(frozen) == len(linear) == 2 * 7
    for name, layer in frozen.items():
        bare = name.removeprefix("base_model.model.").removesuffix(".base_layer")
        assert torch.equal(layer.numbers, Nf4Linear(linear[bare]).numbers)
    losses = [line["loss"] for line in run.read_log()]
    assert np.mean(losses[-3:]) < 0.9 * losses[0]
    assert len(adapted(run)) == len(frozen)
    full, small, before = (
        embedder.load(str(folder), Settings(device="cpu", quantize=kind)).embed(TEXTS, "query")
        for folder, kind in ((run.folder, None), (run.folder, "nf4"), (run_recipe.model, None))
    )
    assert (full * small).sum(1).min() > 0.9
    assert np.abs(full - before).max() > 1e-3


def test_truncated_vectors_are_trained(trained, recipe, texts, loaded):
    """Cut to four numbers, more of the words find their own sentence than before."""
    run_recipe = recipe(steps=10, matryoshka=[4], batch=12)
    run = trained(texts, run_recipe)
    losses = [line["loss"] for line in run.read_log()]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    before, after = (found(loaded(name), texts) for name in (run_recipe.model, run.folder))
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


def test_models_that_cannot_be_trained(recipe, tmp_path, trained, texts):
    run = trained(texts, recipe(steps=1))
    with pytest.raises(
        FinetuneError, match=r"is an adapter; merge it first \(finetune export RUN --out FOLDER\)"
    ):
        load_trainable(recipe(model=str(run.model)), CPU, tmp_path)
    with pytest.raises(FinetuneError, match="text_only is for E5-V"):
        load_trainable(recipe("e5v", "mme5"), CPU, tmp_path)
    with pytest.raises(FinetuneError, match=r"called qkv or out for LoRA; name some of down"):
        load_trainable(recipe(lora={"targets": ["qkv", "out"]}), CPU, tmp_path)
    with pytest.raises(FinetuneError, match=r"called v_porj for LoRA; name some of down"):
        load_trainable(recipe(lora={"targets": ["q_proj", "v_porj"]}), CPU, tmp_path)
    starter = resolve_recipe({"preset": "starter-head", "lora": {"targets": ["q_proj"]}})
    with pytest.raises(FinetuneError, match="without LoRA: choose --preset starter-head"):
        load_trainable(starter, CPU, tmp_path)
    with pytest.raises(FinetuneError, match="matryoshka must name smaller dims, not 4096"):
        load_trainable(recipe(matryoshka=[4096]), CPU, tmp_path)
