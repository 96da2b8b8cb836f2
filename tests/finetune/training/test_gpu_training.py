"""Training on a GPU: bfloat16, the generator of dropout masks, weights in four bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import embedder
from embedder.engine import Engine
from embedder.types import Input, Settings
from finetune.data.pairs import Pair
from finetune.training import trainer
from finetune.training.loading import load_trainable

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
CPU = Settings(device="cpu")


@pytest.fixture
def pairs(mixed) -> list[Pair]:
    return [pair for pair in mixed if not pair.query.instruction]


def least_cosine(one, other) -> float:
    return float((one * other).sum(1).min())


def test_mini_batches_with_dropout_equal_one_graph(training_setup, gradients, contrast, step_of):
    """The second pass of a mini-batch has the dropout masks of the first."""
    settings = Settings(device="cuda", dtype="float32")
    model, wrapped, pairs = training_setup("vlm2vec-qwen2vl", settings, lora={"dropout": 0.2})
    step = step_of(pairs, family="vlm2vec-qwen2vl", form="V2", tokens=64)
    loss = contrast(pairs, wrapped, temperature=0.1)
    torch.manual_seed(7)
    pieces = gradients(model, loss(step))
    torch.manual_seed(7)
    parts = [
        {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in part.items()}
        for part in step["mini_batches"].batches
    ]
    rows = torch.cat([wrapped(part)["sentence_embedding"] for part in parts])
    whole = gradients(model, loss.loss_of_rows(rows, step))
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_bfloat16_trains_float32_adapters(trained, recipe, pairs, monkeypatch):
    """With the defaults of a GPU: bfloat16, worker processes, checkpointing."""
    models = []

    def watched(*arguments):
        models.append(load_trainable(*arguments))
        return models[-1]

    monkeypatch.setattr(trainer, "load_trainable", watched)
    run_recipe = recipe("vlm2vec", "vlm2vec-qwen2vl", "V2", steps=12, batch=3)
    run = trained(pairs, run_recipe, settings=Settings(device="cuda"))
    assert next(models[0].module.model.visual.parameters()).dtype == torch.bfloat16
    weights = load_file(run.model / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    losses = [line["loss"] for line in run.read_log()]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < losses[0]
    items = [pair.query.to_input() for pair in pairs]
    models[0].module.eval()
    ours = Engine(models[0].backbone, CPU).embed(items, "query")
    assert least_cosine(ours, embedder.load(str(run.folder), CPU).embed(items, "query")) > 0.99


def test_training_with_weights_in_four_bits(trained, recipe, texts):
    """QLoRA as in E5-V: the adapter is applied to the unquantized weights afterwards."""
    run_recipe = recipe(quantize="nf4", steps=12)
    run = trained(texts, run_recipe, settings=Settings(device="cuda"))
    losses = [line["loss"] for line in run.read_log()]
    assert np.mean(losses[-3:]) < losses[0]
    weights = load_file(run.model / "adapter_model.safetensors")
    assert all(".lora_" in name for name in weights)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    items = [Input(pair.query.text) for pair in texts]
    before, after = (
        embedder.load(str(name), CPU).embed(items, "query")
        for name in (run_recipe.model, run.folder)
    )
    assert least_cosine(before, after) < 0.999
