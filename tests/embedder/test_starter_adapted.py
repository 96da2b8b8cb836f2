"""A folder with a head of its own is a model: name, card, vectors and errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import embedder
from embedder import EmbedderError, Input, Settings
from embedder.errors import UnknownModelError
from embedder.families.starter import CARDS, HEAD_FILE

SAMPLES = Path(__file__).parents[2] / "samples"
ITEMS = [Input("a dog"), Input("собака"), Input("katze")]


@pytest.fixture
def folder(tmp_path) -> Path:
    """The starter with another bias for its texts."""
    adapted = tmp_path / "mine"
    adapted.mkdir()
    weights = load_file(HEAD_FILE)
    weights["text.bias"] = weights["text.bias"] + np.float16(0.05)
    save_file(weights, adapted / HEAD_FILE.name)
    metadata = {"family": "starter", "base": "starter", "languages": ["de", "cy"]}
    (adapted / "polylens.json").write_text(json.dumps(metadata))
    return adapted


def test_it_is_loaded_by_its_folder(folder):
    model = embedder.load(str(folder))
    card = model.card
    assert (card.name, card.family, card.dim) == (str(folder), "starter", 384)
    assert card.languages == ("de", "cy")
    assert card.fingerprint != CARDS[0].fingerprint
    assert embedder.describe_model(card.name) == card
    rows, plain = model.embed(ITEMS, "query"), embedder.load("starter").embed(ITEMS, "query")
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.abs(rows - plain).max() > 1e-3


def test_the_fingerprint_depends_on_weights_not_location(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    same = embedder.describe_model(str(moved)).fingerprint
    assert same == embedder.describe_model(str(folder)).fingerprint
    weights = load_file(moved / HEAD_FILE.name)
    weights["text.bias"][0] += np.float16(1)
    save_file(weights, moved / HEAD_FILE.name)
    assert embedder.describe_model(str(moved)).fingerprint != same


def test_a_runs_folder_is_its_model(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run / "model")
    (run / "run.json").write_text('{"format": 1, "status": "done"}')
    rows = embedder.load(str(run)).embed(ITEMS, "query")
    np.testing.assert_array_equal(rows, embedder.load(str(folder)).embed(ITEMS, "query"))


def test_a_folder_without_a_head_is_reported(folder):
    (folder / HEAD_FILE.name).unlink()
    with pytest.raises(EmbedderError, match="has no starter_head"):
        embedder.load(str(folder)).embed(ITEMS, "query")


def test_a_head_with_missing_tensors_is_reported(folder):
    weights = load_file(folder / HEAD_FILE.name)
    del weights["classes.mean"]
    save_file(weights, folder / HEAD_FILE.name)
    with pytest.raises(EmbedderError, match=r"damaged: it has no classes\.mean"):
        embedder.load(str(folder)).embed(ITEMS, "query")


def test_a_head_of_an_earlier_version_loads(folder):
    """Class names then had the same weight for every image."""
    weights = load_file(folder / HEAD_FILE.name)
    weights["conse.exponent"][:] = 0
    save_file(weights, folder / HEAD_FILE.name)
    items = [Input(images=(Image.open(next(SAMPLES.rglob("zebra.*"))).convert("RGB"),))]
    rows = embedder.load(str(folder)).embed(items, "document")
    del weights["conse.exponent"]
    save_file(weights, folder / HEAD_FILE.name)
    np.testing.assert_array_equal(embedder.load(str(folder)).embed(items, "document"), rows)


def test_a_damaged_head_is_reported(folder):
    (folder / HEAD_FILE.name).write_bytes(b"nothing")
    with pytest.raises(EmbedderError, match="cannot be read"):
        embedder.load(str(folder)).embed(ITEMS, "query")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings("cuda"), "the starter model runs on the CPU, not on 'cuda'"),
        (Settings(dim=64), "the starter has vectors of dim 384, not 64"),
        (Settings(pixel_budget=9), "the starter .* has no pixel budget; leave --pixel-budget out$"),
    ],
)
def test_unsupported_settings_are_refused(folder, settings, message):
    with pytest.raises(EmbedderError, match=message):
        embedder.load(str(folder), settings)


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(UnknownModelError, match="no folder"):
        embedder.load(f"starter:{tmp_path / 'nowhere'}")
