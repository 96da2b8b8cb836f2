"""Tests that need a GPU: bf16, running out of memory, pinned memory, several devices."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

import embedder
from embedder.engine import Bucket, Engine
from embedder.types import Input, ModelCard, Settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
TEXTS = (
    "A dog sitting in the grass.",
    "a",
    "A cat standing in the snow, " * 20,
    "雪の中に立つ猫。",
)
INPUTS = [Input(text) for text in TEXTS]
INPUTS += [Input(images=(tiny.picture(name),)) for name in ("square", "wide", "tall", "large")]
FAMILIES = [(name, next(iter(tiny.fixture(name)["forms"]), None)) for name in tiny.FAMILIES]


@pytest.fixture
def on_gpu(checkpoint):
    return lambda family, form, **more: embedder.load(
        str(checkpoint(family, form)), Settings(**{"device": "cuda", **more})
    )


def least_cosine(on_device, others) -> float:
    return float((on_device * others).sum(axis=1).min())


@pytest.mark.parametrize(("family", "form"), FAMILIES)
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.9999), ("bfloat16", 0.999)])
def test_gpu_and_cpu_agree(model, on_gpu, family, form, dtype, least):
    on_device = on_gpu(family, form, dtype=dtype).embed(INPUTS, "document")
    assert least_cosine(on_device, model(family, form).embed(INPUTS, "document")) >= least


@pytest.mark.parametrize(("family", "form"), FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vectors_do_not_depend_on_the_batch(on_gpu, family, form, dtype):
    engine = on_gpu(family, form, dtype=dtype)
    alone = np.concatenate([engine.embed([item], "document") for item in INPUTS])
    together = engine.embed(INPUTS * 3, "document")[: len(INPUTS)]
    assert least_cosine(together, alone) >= 0.9999


@pytest.mark.parametrize(("family", "form"), FAMILIES)
def test_batches_wait_in_pinned_memory(on_gpu, family, form):
    engine = on_gpu(family, form)
    batch = engine._collate([engine.backbone.prepare(INPUTS[0], "document", None)])
    tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
    assert tensors and all(tensor.is_pinned() for tensor in tensors)


class Hungry:
    """Takes a MiB of the device's memory for every token."""

    card = ModelCard("hungry", "test", "1", 2, ("text",), False, (), "", "", "hungry-1")
    device = torch.device("cuda")

    def prepare(self, item, role, instruction):
        return item.text

    def bucket(self, ready):
        return Bucket("text", len(ready))

    def count_tokens(self, ready):
        return len(ready)

    def process(self, ready):
        return None

    def collate(self, items, processed):
        rows = [[len(text), 1.0] for text in items]
        return {"rows": torch.tensor(rows), "tokens": len(items) * max(map(len, items))}

    def forward(self, batch):
        torch.empty(batch["tokens"] << 20, dtype=torch.uint8, device=self.device)
        return batch["rows"]


def test_running_out_of_gpu_memory_loses_nothing():
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (256 << 20)) / whole)
    try:
        engine = Engine(Hungry(), Settings(batch_tokens=100_000))
        lengths = np.random.default_rng(1).integers(1, 60, 64)
        rows = engine.embed([Input("x" * length) for length in lengths], "document")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert engine.timing.halved > 0
    expected = np.stack([lengths, np.ones(64)], axis=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_two_gpus_and_one_agree(on_gpu):
    one = on_gpu("e5v", None).embed(INPUTS * 20, "document")
    two = on_gpu("e5v", None, device="cuda:0,cuda:1")
    try:
        assert least_cosine(two.embed(INPUTS * 20, "document"), one) >= 0.9999
    finally:
        two.close()
