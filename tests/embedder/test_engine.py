"""The engine: batches by cost, order, running out of memory, threads, dims, several devices."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import embedder
from bench.embed_measure import compute_padding_ratio
from embedder.cli.program import quantize_int8
from embedder.engine import Bucket, Engine, plan_batches
from embedder.errors import EmbedderError
from embedder.types import Input, ModelCard, Settings, normalize

ROOT = Path(__file__).parents[2]
CARD = ModelCard(
    "counting", "test", "1", 4, ("text",), False, (), "", "", "counting-1", matryoshka=(2,)
)


class Counting:
    """A text's vector is (length, first letter, 1, 2); a batch holds `limit` tokens."""

    card = CARD
    device = torch.device("cpu")

    def __init__(self, limit: int = 10**9) -> None:
        self.limit, self.batches, self.threads = limit, [], set()

    def prepare(self, item, role, instruction):
        if item.text == "bad":
            raise EmbedderError("a bad text")
        return item.text

    def bucket(self, ready):
        return Bucket("text", len(ready))

    def count_tokens(self, ready):
        return len(ready)

    def process(self, ready):
        self.threads.add(threading.current_thread().name)

    def collate(self, items, processed):
        self.threads.add(threading.current_thread().name)
        return {
            "size": len(items) * max(map(len, items)),
            "rows": torch.tensor(
                [[len(text), ord(text[0]), 1, 2] for text in items], dtype=torch.float32
            ),
        }

    def forward(self, batch):
        if batch["size"] > self.limit:
            raise torch.OutOfMemoryError("no memory")
        self.batches.append(batch["size"])
        return batch["rows"]


def texts(*lengths: int) -> list[Input]:
    return [Input(text=chr(97 + i % 26) * length) for i, length in enumerate(lengths)]


def expected(inputs: list[Input]) -> np.ndarray:
    rows = [[len(i.text), ord(i.text[0]), 1, 2] for i in inputs]
    return normalize(np.array(rows, dtype=np.float32))


def test_rows_come_in_the_order_of_the_inputs():
    inputs = texts(*np.random.default_rng(1).integers(1, 300, 200))
    engine = Engine(Counting(), Settings(batch_tokens=1000))
    np.testing.assert_allclose(engine.embed(inputs, "query"), expected(inputs), atol=1e-6)


def test_running_out_of_memory_loses_nothing():
    backbone = Counting(limit=500)
    engine = Engine(backbone, Settings(batch_tokens=100_000))
    inputs = texts(*[100] * 50, *[7] * 50)
    np.testing.assert_allclose(engine.embed(inputs, "query"), expected(inputs), atol=1e-6)
    assert engine.timing.halved > 0
    halved = engine.timing.halved
    engine.embed(inputs, "query")
    assert engine.timing.halved == halved, "the smaller budget is kept"


def test_an_input_too_large_for_memory_is_reported():
    engine = Engine(Counting(limit=50), Settings())
    with pytest.raises(EmbedderError, match="smaller pixel budget"):
        engine.embed(texts(100), "query")


def test_a_bad_input_and_no_inputs():
    engine = Engine(Counting())
    with pytest.raises(EmbedderError, match="bad text"):
        engine.embed([Input(text="good"), Input(text="bad")], "query")
    assert engine.embed([], "query").shape == (0, 4)


def test_batches_are_prepared_in_threads():
    backbone = Counting()
    Engine(backbone, Settings(workers=3, batch_tokens=10)).embed(texts(*[9] * 40), "query")
    assert {name.split("_")[0] for name in backbone.threads} == {"item", "batch"}


def test_calls_are_thread_safe():
    engine = Engine(Counting(limit=400), Settings(batch_tokens=5000))
    calls = [texts(*np.random.default_rng(i).integers(1, 90, 40)) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for inputs, rows in zip(
            calls, pool.map(lambda c: engine.embed(c, "query"), calls), strict=True
        ):
            np.testing.assert_allclose(rows, expected(inputs), atol=1e-6)


def test_vectors_that_are_not_finite_are_an_error():
    backbone = Counting()
    backbone.forward = lambda batch: batch["rows"] * float("nan")
    with pytest.raises(EmbedderError, match="finite"):
        Engine(backbone).embed(texts(3), "query")


def test_truncated_vectors_are_normalized():
    backbone = Counting()
    backbone.card = replace(CARD, dim=2)
    rows = Engine(backbone).embed(texts(3, 4), "query")
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows.shape == (2, 2)


def test_int8_keeps_cosines():
    rows = normalize(np.random.default_rng(0).standard_normal((50, 256)).astype(np.float32))
    small = normalize(quantize_int8(rows).astype(np.float32))
    assert quantize_int8(rows).dtype == np.int8
    assert np.abs(small @ small.T - rows @ rows.T).max() < 0.01


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 400)), max_size=80),
    st.integers(1, 2000),
)
def test_plans_have_each_input_once_within_the_budget(pairs, budget):
    buckets = [Bucket(key, tokens) for key, tokens in pairs]
    batches = plan_batches(buckets, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(buckets)))
    for batch in batches:
        assert len({buckets[i].key for i in batch}) == 1
        longest = max(buckets[i].tokens for i in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


def test_extra_tokens_count():
    """Mllama's tiles are not in the sequence, and cost most."""
    buckets = [Bucket("picture", 10, 1000)] * 9
    assert [len(batch) for batch in plan_batches(buckets, 3100)] == [3, 3, 3]


def test_a_call_is_split_so_that_the_device_starts_early():
    backbone = Counting()
    Engine(backbone, Settings(batch_tokens=100_000)).embed(texts(*[1000] * 32), "query")
    assert len(backbone.batches) == 4


def test_mllama_images_have_extra_tokens(model):
    backbone = model("mme5").backbone
    picture = backbone.prepare(Input(images=(tiny.picture("wide"),)), "document", None)
    words = backbone.prepare(Input(text="a cat"), "document", None)
    assert backbone.bucket(picture).extra_tokens > 0
    assert backbone.bucket(words).extra_tokens == 0


@pytest.mark.parametrize("budget", [4_096, 32_768])
def test_little_is_padding(model, budget):
    """Photographs of many shapes at E5-V's full size, and captions: at most 3% is padding."""
    rng = np.random.default_rng(3)
    architecture = model("e5v").backbone.architecture
    sizes = [tuple(map(int, rng.integers(200, 4000, 2))) for _ in range(600)]
    pictures = [Bucket("any", 9 * architecture.count_image_tokens(size)) for size in sizes]
    captions = [Bucket("any", int(n)) for n in rng.lognormal(3, 0.6, 2000) + 5]
    mixed = [*pictures, *captions]
    assert compute_padding_ratio(mixed, plan_batches(mixed, budget)) <= 0.03
    unsorted = [list(range(i, min(i + 32, len(mixed)))) for i in range(0, len(mixed), 32)]
    assert compute_padding_ratio(mixed, unsorted) > 0.1


@pytest.mark.parametrize("family", ["e5v", "mme5", "vlm2vec-llava"])
def test_batches_agree_at_bfloat16(checkpoint, family):
    """Cosine at least 0.9999, whatever shares the batch."""
    form = "V1" if "llava" in family else None
    folder = checkpoint(family, form)
    model = embedder.load(str(folder), Settings(device="cpu", dtype="bfloat16"))
    inputs = [Input(images=(tiny.picture(name),)) for name in tiny.SIZES]
    inputs += [Input(text=text) for text in ("a cat", "a dog in the snow", "犬")]
    alone = np.concatenate([model.embed([item], "document") for item in inputs])
    assert (alone * model.embed(inputs, "document")).sum(axis=1).min() >= 0.9999


@pytest.fixture(scope="module")
def starter() -> embedder.Embedder:
    return embedder.load("starter", Settings(device="cpu"))


def test_several_devices_agree_with_one_until_one_dies(starter):
    """One process per device; here both are the CPU, with the model that loads fastest."""
    inputs = [Input(text=f"{i} cats") for i in range(9)] + [Input(images=(tiny.picture("wide"),))]
    both = embedder.load("starter", Settings(device="cpu,cpu"))
    try:
        assert both.card == starter.card
        np.testing.assert_allclose(
            both.embed(inputs, "document"), starter.embed(inputs, "document"), atol=1e-6
        )
        with pytest.raises(EmbedderError, match="neither"):
            both.embed([Input()], "query")
        both._workers[1]._process.kill()
        both._workers[1]._process.wait()
        with pytest.raises(EmbedderError, match="has died"):
            both.embed([Input(text=f"{i} cats") for i in range(300)], "document")
    finally:
        both.close()


@pytest.mark.slow  # each process imports torch
def test_several_devices_agree_with_one_with_a_model_of_torch(checkpoint, model):
    inputs = [Input(text=f"{i} cats") for i in range(9)] + [Input(images=(tiny.picture("wide"),))]
    both = embedder.load(str(checkpoint("e5v")), Settings(device="cpu,cpu"))
    try:
        assert both.card == model("e5v").card
        np.testing.assert_allclose(
            both.embed(inputs, "document"), model("e5v").embed(inputs, "document"), atol=1e-6
        )
    finally:
        both.close()


def test_a_device_that_cannot_load_is_reported(checkpoint):
    for name, device in (("starter", "cpu,nonsense"), (str(checkpoint("e5v")), "nonsense")):
        with pytest.raises(EmbedderError, match="nonsense"):
            embedder.load(name, Settings(device=device))


def test_workers_do_not_run_the_callers_main_module(starter, tmp_path):
    """Under Streamlit it is the page, which would be run again in every worker."""
    script = tmp_path / "main.py"
    script.write_text(
        "import embedder, sys\n"
        "print('main', flush=True)\n"
        "settings = embedder.Settings(device='cpu,cpu')\n"
        "model = embedder.load('starter', settings)\n"
        "print(model.embed([embedder.Input(text='a cat')], 'query').shape)\n"
        "model.close()\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["main", f"(1, {starter.card.dim})"], done.stderr
