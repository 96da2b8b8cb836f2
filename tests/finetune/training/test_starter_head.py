"""The starter's head in training: the same numbers as in use, the towers run once, and what a
domain adds does not cost the rest."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import embedder
from embedder import EmbedderError, Input, Settings
from embedder.engine import Engine
from embedder.families.starter import HEAD_FILE
from embedder.families.starter.model import TENSOR_NAMES, ProjectionHead
from finetune.training.starter_head import (
    FeatureCache,
    StarterHead,
    image_key,
    load_starter_head,
    text_key,
)
from finetune.training.starter_module import RATE_SCALES, StarterModule

WORDS = ("dog", "собака", "a red car in the rain", "qwxz", "猫", "nothing much")


def make_image(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((120, 90))


ITEMS = [
    *(Input(word) for word in WORDS),
    Input(images=(make_image(0),)),
    Input("at night", (make_image(1), make_image(2))),
]


@pytest.fixture(scope="module")
def starter():
    return embedder.load("starter")


@pytest.fixture
def head(starter) -> StarterHead:
    return StarterHead(starter)


def train_steps(head: StarterHead, steps: int = 4, items=ITEMS) -> None:
    """Each item away from the others: much moves in a few steps."""
    head.module.train()
    optimizer = torch.optim.AdamW(head.module.parameters(), 3e-3, weight_decay=0)
    ready = [head.backbone.prepare(item, "query", None) for item in items]
    batch = head.backbone.collate(ready, [None] * len(ready))
    for _ in range(steps):
        rows = F.normalize(head.backbone.forward(batch), dim=1)
        optimizer.zero_grad()
        (rows @ rows.T).mean().backward()
        optimizer.step()
    head.module.eval()


def test_it_embeds_as_the_starter_does(starter, head):
    head.module.eval()
    rows = Engine(head.backbone).embed(ITEMS, "document")
    np.testing.assert_allclose(rows, starter.embed(ITEMS, "document"), atol=1e-5)


def test_an_empty_input_is_refused(head):
    with pytest.raises(EmbedderError, match="neither"):
        head.backbone.prepare(Input(" "), "query", None)


def test_a_saved_head_loads_as_trained(head, tmp_path):
    train_steps(head)
    head.save(tmp_path / "model")
    rows = Engine(head.backbone).embed(ITEMS, "query")
    loaded = embedder.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded.embed(ITEMS, "query"), rows, atol=1e-5)
    metadata = json.loads((tmp_path / "model" / "polylens.json").read_text())
    assert (metadata["family"], metadata["base"]) == ("starter", "starter")
    before, after = (
        ProjectionHead.read(HEAD_FILE).weights,
        ProjectionHead.read(tmp_path / "model" / HEAD_FILE.name).weights,
    )
    changed = {name for name in TENSOR_NAMES if not np.array_equal(before[name], after[name])}
    assert changed == set(RATE_SCALES)


def test_restore_from_a_checkpoint(starter, head, tmp_path):
    """The initial weights are restored too: the penalty is the same."""
    train_steps(head)
    head.save(tmp_path)
    again = StarterHead(starter)
    again.restore(tmp_path)
    for name, row in head.module.trained_weights().items():
        np.testing.assert_allclose(again.module.trained_weights()[name], row, atol=1e-6)
    torch.manual_seed(0)
    first = head.penalty().item()
    torch.manual_seed(0)
    assert again.penalty().item() == pytest.approx(first, rel=1e-3)
    assert first > 0.01


def test_an_adapted_head_can_be_adapted_further(head, tmp_path):
    train_steps(head)
    head.save(tmp_path / "first")
    second = load_starter_head(str(tmp_path / "first"), Settings())
    assert second.penalty().item() == pytest.approx(0, abs=1e-4), "it starts where the first ended"
    train_steps(second)
    second.save(tmp_path / "second")
    metadata = json.loads((tmp_path / "second" / "polylens.json").read_text())
    assert metadata["base"] == str(tmp_path / "first")
    rows = Engine(second.backbone).embed(ITEMS, "query")
    loaded = embedder.load(str(tmp_path / "second"))
    np.testing.assert_allclose(loaded.embed(ITEMS, "query"), rows, atol=1e-5)


def test_the_penalty_is_zero_before_training(head):
    assert head.penalty().item() == pytest.approx(0, abs=1e-4)


def test_the_penalty_in_closed_form(head):
    """An MLP with the opposite output is 2 away; texts have not moved. 20 * 2 + 100 * 0."""
    with torch.no_grad():
        for name in ("weight", "bias"):
            delta = -2 * head.module.initial[f"image.1.{name}"]
            head.module.deltas[f"image_1_{name}"].copy_(delta)
    assert head.penalty().item() == pytest.approx(40, abs=1e-3)


def test_texts_train_at_a_tenth_of_the_rate(head):
    """Adam's first step is the rate, whatever the gradient."""
    train_steps(head, steps=1)
    before, after = ProjectionHead.read(HEAD_FILE).weights, head.module.trained_weights()
    sight = np.abs(after["image.1.bias"] - before["image.1.bias"]).max()
    words = np.abs(after["text.bias"] - before["text.bias"]).max()
    assert sight == pytest.approx(3e-3, rel=1e-2)
    assert words == pytest.approx(3e-4, rel=1e-2)


def make_features(count: int, shift: float = 0.0) -> torch.Tensor:
    """(count, 1152): features, shifted from the mean, and unit rows."""
    features = torch.randn(count, 768) + shift * torch.randn(1, 768)
    return torch.cat([features, F.normalize(torch.randn(count, 384), dim=1)], dim=1)


def test_noise_is_added_in_training_only(head):
    features = make_features(3)
    head.module.eval()
    assert torch.equal(head.module.encode_image(features), head.module.encode_image(features))
    head.module.train()
    assert not torch.allclose(
        head.module.encode_image(features), head.module.encode_image(features), atol=1e-2
    )


def test_the_penalty_prevents_forgetting(starter):
    """With the penalty, the output for unseen inputs moves much less than without."""

    def drift(penalty: bool) -> float:
        torch.manual_seed(0)
        module = StarterModule(starter.head)
        domain = make_features(8, 1.5)
        words = F.normalize(torch.randn(8, 384), dim=1)
        optimizer = torch.optim.AdamW(module.parameters(), 1e-3, weight_decay=0)
        for _ in range(40):
            optimizer.zero_grad()
            loss = -(module.encode_image(domain) * words).sum(1).mean() * 5
            (loss + module.forgetting_penalty() if penalty else loss).backward()
            optimizer.step()
        with torch.no_grad():
            assert (module.eval().encode_image(domain) * words).sum(1).mean() > 0.3, "it learns"
            return float(module.forgetting_penalty())

    assert drift(penalty=True) < drift(penalty=False) / 4


class Counted:
    """The starter, with a record of the inputs of its towers."""

    def __init__(self, starter) -> None:
        self.inner, self.calls = starter, []
        self.card, self.head = starter.card, starter.head

    def extract_text_features(self, texts):
        self.calls += texts
        return self.inner.extract_text_features(texts)

    def extract_image_features(self, images):
        self.calls += [image.size for image in images]
        return self.inner.extract_image_features(images)


def test_towers_run_once_for_equal_content(starter, tmp_path):
    counted = Counted(starter)
    first = StarterHead(counted, tmp_path)
    for item in (Input("dog"), Input("dog", (make_image(0),)), Input(images=(make_image(0),))):
        one = first.backbone.prepare(item, "query", None)
    assert counted.calls == ["dog", (120, 90)]
    again = StarterHead(counted, tmp_path).backbone.prepare(
        Input("dog", (make_image(0),)), "query", None
    )
    assert len(counted.calls) == 2
    np.testing.assert_array_equal(again.images[0], one.images[0])


def test_a_truncated_cache_keeps_complete_records(tmp_path):
    file = tmp_path / "rows.bin"
    rows = FeatureCache((2, 3), file)
    for text in ("a", "b"):
        rows.get_or_compute(text_key(text), lambda t=text: np.full((2, 3), ord(t), np.float32))
    file.write_bytes(file.read_bytes()[:-5])
    made = []
    again = FeatureCache((2, 3), file)
    assert again.get_or_compute(text_key("a"), lambda: made.append("a"))[0, 0] == ord("a")
    again.get_or_compute(text_key("b"), lambda: made.append("b") or np.ones((2, 3), np.float32))
    assert made == ["b"]
    assert FeatureCache((2, 3), file).get_or_compute(text_key("b"), lambda: None)[1, 2] == 1


def test_reading_a_cache_keeps_what_another_process_appends(tmp_path, monkeypatch):
    file = tmp_path / "rows.bin"
    other = FeatureCache((2, 3), file)
    other.put(text_key("a"), np.zeros((2, 3), np.float32))
    read = np.fromfile

    def read_before_append(*arguments):
        records = read(*arguments)
        other.put(text_key("b"), np.ones((2, 3), np.float32))
        return records

    monkeypatch.setattr(np, "fromfile", read_before_append)
    FeatureCache((2, 3), file)
    monkeypatch.undo()
    assert text_key("b") in FeatureCache((2, 3), file)


def test_image_keys_depend_on_pixels_and_shape():
    flat = Image.new("L", (6, 4))
    assert image_key(flat) == image_key(flat.copy())
    assert (
        len({image_key(flat), image_key(flat.resize((4, 6))), image_key(flat.convert("RGB"))}) == 3
    )


def test_precomputed_texts_equal_single_texts(tmp_path):
    """And the tower does not run again for precomputed texts."""
    texts = ["猫", "a red bicycle", "ein Hund im Schnee"]
    alone, together = (
        load_starter_head("starter", Settings()),
        load_starter_head("starter", Settings(), tmp_path),
    )
    together.precompute(texts)
    calls = []
    together._starter.extract_text_features = calls.append
    for text in texts:
        one = alone.backbone.prepare(Input(text), "query", None).text
        other = together.backbone.prepare(Input(text), "query", None).text
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not calls
    again = load_starter_head("starter", Settings(), tmp_path)
    again._starter.extract_text_features = calls.append
    again.precompute(texts)
    assert not calls
