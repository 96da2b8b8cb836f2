"""`--model` with a vision-language model from a folder, and with one behind a server.

The models are tiny and random: what is tested is that the right vectors come to the right place.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from embedder.types import Input
from tests.programs import run_program

ROOT = Path(__file__).parents[3]


class Indexer:
    """`indexer ...` on a store of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.environment |= {"POLYLENS_STORE": str(folder / "store"), "OMP_NUM_THREADS": "1"}

    def __call__(self, *arguments: object, code: int = 0) -> str:
        done = run_program("indexer", *arguments, cwd=self.folder, env=self.environment)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def id(self, path: Path) -> str:
        """The point of the image at `path`."""
        found = json.loads(self("search", "--where", f"name={path.name}", "--json"))
        return found["hits"][0]["id"]

    def hits(self, *arguments: object) -> dict[str, float]:
        """Names of files and their scores, best first."""
        found = json.loads(self("search", *arguments, "--no-fold", "--json"))["hits"]
        return {Path(hit["paths"][0]).name: hit["score"] for hit in found}


@pytest.fixture(scope="module")
def runner(tmp_path_factory, checkpoint):
    """Five images, indexed with a copy of the tiny E5-V."""
    folder = tmp_path_factory.mktemp("vlm")
    (folder / "pictures").mkdir()
    for name in ("square", "wide", "tall", "small", "large"):
        tiny.picture(name).save(folder / "pictures" / f"{name}.png")
    shutil.copytree(checkpoint("e5v"), folder / "model")
    indexer = Indexer(folder)
    # without names a score is the cosine of the image alone
    indexer("ingest", "pictures", "--model", "model", "--no-names", "--quiet")
    return indexer


@pytest.fixture(scope="module")
def url(runner):
    """The same model behind `embedder serve`, loaded once for many commands."""
    command = [sys.executable, "-m", "embedder", "serve", "--model", "model", "--port", "0"]
    served = {**runner.environment, "POLYLENS_SERVE_API_KEY": "secret"}
    server = subprocess.Popen(
        command, env=served, cwd=runner.folder, stderr=subprocess.PIPE, text=True
    )
    address = next(line for line in server.stderr if "http://" in line).split()[-1]
    runner.environment["POLYLENS_MODEL_API_KEY"] = "secret"
    runner.environment["POLYLENS_MODEL_API_KEY_URL"] = address
    yield address
    server.terminate()
    assert server.wait(20) == 0


def test_text_is_compared_with_the_models_own_vectors(runner, model):
    names = ["square", "wide", "tall", "small", "large"]
    pictures = [Input(images=(tiny.picture(name),)) for name in names]
    words = model("e5v").embed([Input(text="a cat")], "query")[0]
    cosines = model("e5v").embed(pictures, "document") @ words
    wanted = {f"{name}.png": float(cosine) for name, cosine in zip(names, cosines, strict=True)}
    found = runner.hits("a cat")
    assert found == pytest.approx(wanted, abs=2e-3)  # the store keeps 16 bits a number
    assert list(found) == sorted(wanted, key=wanted.get, reverse=True)


def test_an_unchanged_scan_needs_no_weights(runner):
    weights = runner.folder / "model" / "model.safetensors"
    weights.rename(runner.folder / "away")
    try:
        runner("ingest", "pictures", "--quiet")
    finally:
        (runner.folder / "away").rename(weights)


def test_another_model_or_dim_is_refused_with_the_fix(runner, checkpoint):
    other = runner("ingest", "pictures", "--model", checkpoint("mme5"), code=1)
    assert "cannot be compared" in other
    assert f"indexer reindex --model {checkpoint('mme5')} --collection default" in other
    assert "a pixel budget of 5000" in runner("ingest", "pictures", "--pixel-budget", 5000, code=1)
    assert "dim 32, not 16" in runner(
        "ingest", "pictures", "--collection", "new", "--model", "model", "--dim", 16, code=1
    )
    assert not (runner.folder / "store" / "new").exists()


def test_the_pixel_budget_stays_with_the_collection(runner):
    budget = ("--collection", "cheap", "--model", "model", "--no-names", "--pixel-budget", "4k")
    runner("ingest", "pictures", *budget, "--quiet")
    runner("ingest", "pictures", "--collection", "cheap", "--quiet")
    shown = json.loads(runner("status", "--collection", "cheap", "--json"))
    assert shown["card"]["pixel_budget"] == 4000
    assert runner.hits("a cat", "--collection", "cheap") != runner.hits("a cat")


def test_quantized_weights_stay_with_the_collection(runner):
    small = ("--collection", "small", "--model", "model", "--no-names", "--quantize", "nf4")
    runner("ingest", "pictures", *small, "--quiet")
    runner("ingest", "pictures", "--collection", "small", "--quiet")
    shown = json.loads(runner("status", "--collection", "small", "--json"))
    assert shown["card"]["quantize"] == "nf4"
    assert runner.hits("a cat", "--collection", "small") != runner.hits("a cat")
    refused = runner("ingest", "pictures", "--quantize", "int8", code=1)
    assert "weights in int8" in refused and "--quantize int8 --collection default" in refused


def test_a_server_and_a_folder_are_one_model(runner, model, url):
    """A collection made with the folder is searched through the server, and the other way."""
    query = model("e5v").embed([Input("a cat")], "query")[0]
    tall = model("e5v").embed([Input(images=(tiny.picture("tall"),))], "document")[0]
    here = runner.hits("a cat", "--model", url)
    assert here["tall.png"] == pytest.approx(float(query @ tall), abs=2e-3)
    far = ("--collection", "far", "--model", url, "--no-names")
    runner("ingest", "pictures", *far, "--quiet")
    assert runner.hits("a cat", "--collection", "far") == pytest.approx(here, abs=5e-3)


@pytest.mark.parametrize("name", ["POLYLENS_MODEL_API_KEY", "POLYLENS_MODEL_API_KEY_URL"])
def test_a_server_requires_its_key(runner, url, name):
    """A key alone is not sent to the server that --model names."""
    value = runner.environment.pop(name)
    try:
        assert f"set {name}" in runner("search", "a cat", "--model", url, code=1)
    finally:
        runner.environment[name] = value


def test_an_image_with_text_is_embedded_as_one_input(runner, model, url):
    """By its path or by its id, not as a sum of two vectors."""
    path = runner.folder / "pictures" / "wide.png"
    both = Input("at night", (tiny.picture("wide"),))
    query = model("e5v").embed([both], "query")[0]
    tall = model("e5v").embed([Input(images=(tiny.picture("tall"),))], "document")[0]
    found = runner.hits(path, "at night", "--model", url)
    assert found["tall.png"] == pytest.approx(float(query @ tall), abs=2e-3)
    by_id = runner.hits(f"id:{runner.id(path)}", "at night", "--model", url)
    assert by_id["tall.png"] == pytest.approx(found["tall.png"], abs=1e-3)
    assert "wide.png" not in by_id, "what the query is runner from is no answer"


def test_an_instruction_reaches_the_model(runner, model, url):
    """E5-V's names one of the prompts of its paper, and others are refused."""
    path = runner.folder / "pictures" / "wide.png"
    both = Input("a longer dress", (tiny.picture("wide"),))
    query = model("e5v").embed([both], "query", "fashioniq dress")[0]
    tall = model("e5v").embed([Input(images=(tiny.picture("tall"),))], "document")[0]
    with_instruction = ("--instruction", "fashioniq dress", "--model", url)
    found = runner.hits(path, "a longer dress", *with_instruction)
    assert found["tall.png"] == pytest.approx(float(query @ tall), abs=2e-3)
    wrong = runner("search", "a cat", "--instruction", "do", "--model", url, code=1)
    assert "use 'cirr', 'fashioniq CATEGORY' or 'sts'" in wrong


def test_an_image_that_is_gone_is_added_by_its_vector(runner, url):
    path = runner.folder / "pictures" / "wide.png"
    id = runner.id(path)
    path.rename(runner.folder / "wide.png")
    try:
        found = runner.hits(f"id:{id}", "at night", "--model", url)
        assert set(found) == {"tall.png", "square.png", "small.png", "large.png"}
    finally:
        (runner.folder / "wide.png").rename(path)
