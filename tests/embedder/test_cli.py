"""The console script `embedder`, as a process of its own, with the starter model."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import tiny
import typer

from embedder.cli.console import get_version
from embedder.cli.program import app
from embedder.types import Input
from tests.programs import run_program

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands


def run(*arguments: object, stdin: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return run_program("embedder", *arguments, stdin=stdin, cwd=cwd)


def vectors(*arguments: object, stdin: str = "") -> np.ndarray:
    done = run("embed", *arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout)["vectors"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_and_examples(name):
    command = COMMANDS[name]
    assert command.help
    assert f"embedder {name}" in command.epilog
    assert all(param.help for param in command.params)


def test_help_and_version():
    assert "Examples:" in run("--help").stdout
    assert run("--version").stdout.startswith("polylens ")
    assert run().returncode == 2


def test_version_of_a_checkout_that_is_not_installed(monkeypatch):
    def fail(name: str) -> str:
        raise PackageNotFoundError(name)

    installed = get_version()
    monkeypatch.setattr("importlib.metadata.version", fail)
    assert get_version() == installed


def test_models_and_info():
    listed = json.loads(run("models", "--json").stdout)
    card, *others = listed["models"]
    assert card["name"] == "starter"
    assert "Qwen/Qwen3-VL-Reranker-2B" in {one["name"] for one in listed["rerankers"]}
    assert "--rerank: Qwen/Qwen3-VL-Reranker-2B" in run("models").stderr
    assert "royokong/e5-v" in {other["name"] for other in others}
    assert json.loads(run("info", "--json").stdout) == card
    shown = run("info").stdout
    assert card["fingerprint"] in shown
    assert re.search("max images +any number", shown)
    assert "license note" not in shown and "pixel budget" not in shown, "it has none"
    assert "starter" in run("models").stdout


def test_texts_pictures_and_both(tmp_path, photo):
    picture = photo(tmp_path / "red.png", "red")
    texts = vectors("a red wall", "eine rote Wand")
    assert texts.shape == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    mixed = vectors("a red wall", "--image", picture)
    np.testing.assert_allclose(mixed[0], texts[0], atol=1e-5)
    assert vectors("a red wall", "--image", picture, "--together").shape == (1, 384)


def test_several_pictures_in_one_vector(checkpoint, model, tmp_path):
    """With the model's own prompt; a model that takes one says so."""
    files = [tmp_path / f"{name}.png" for name in ("wide", "tall")]
    for file in files:
        tiny.picture(file.stem).save(file)
    words = ["a cat", "--together", *(word for file in files for word in ("--image", file))]
    folder = checkpoint("vlm2vec-qwen2vl", "V2")
    found = vectors(*words, "--model", folder)
    item = Input("a cat", (tiny.picture("wide"), tiny.picture("tall")))
    expected = model("vlm2vec-qwen2vl", "V2").embed([item], "query")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    refused = run("embed", *words, "--model", checkpoint("e5v"))
    assert refused.returncode == 1
    assert "has 2 images, and this model takes one image per input" in refused.stderr


def test_lines_of_stdin():
    np.testing.assert_allclose(
        vectors(stdin="a cat\n\na dog\n"), vectors("a cat", "a dog"), atol=1e-5
    )


def test_numpy_file(tmp_path):
    out = tmp_path / "cat.npy"
    done = run("embed", "a cat", "--npy", out)
    assert (done.returncode, done.stdout) == (0, "")
    array = np.load(out)
    assert (array.shape, array.dtype) == ((1, 384), np.float32)
    np.testing.assert_allclose(array, vectors("a cat"), atol=1e-5)


def test_a_line_a_vector():
    label, *numbers = run("embed", "a cat").stdout.rstrip("\n").split("\t")
    assert label == "a cat"
    assert len(numbers) == 384


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["embed", "cat", "--model", "nobody"], 1, "nobody"),
        (["info", "--model", "nobody"], 1, "nobody"),
        (["embed", "--image", "no-such.jpg"], 1, "no-such.jpg"),
        (["embed", "--image", "README.md"], 1, "README.md"),
        (["embed", "cat", "--npy", "/no/such/folder/cat.npy"], 1, "/no/such/folder"),
        (["embed"], 2, "stdin"),
        (["embed", "cat", "--role", "king"], 2, "--role"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(arguments, code, message, tmp_path):
    (tmp_path / "README.md").write_text("no picture")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_a_model(checkpoint, tmp_path, photo):
    """Instruction, dim and pixel budget reach a model from a folder."""
    folder = checkpoint("vlm2vec-qwen2vl", "V2")
    plain = vectors("a red wall", "--model", folder)
    instructed = vectors("a red wall", "--model", folder, "--instruction", "Find a wall:")
    assert np.abs(plain - instructed).max() > 1e-3
    done = run("embed", "a red wall", "--model", folder, "--dim", 7)
    assert done.returncode == 1
    assert ", not 7" in done.stderr
    picture = photo(tmp_path / "red.png", "red")
    out = tmp_path / "red.npy"
    small = ("--pixel-budget", 4000, "--dtype", "bfloat16", "--int8", "--npy", out)
    done = run("embed", "--image", picture, "--model", folder, *small)
    assert done.returncode == 0, done.stderr
    assert np.load(out).dtype == np.int8
    assert run("embed", "a", "--int8").returncode == 2


def test_a_models_own_card(checkpoint):
    card = json.loads(run("info", "--model", checkpoint("mme5"), "--json").stdout)
    assert card["family"] == "mme5"
    assert card["name"] == str(checkpoint("mme5"))
    assert "known once" in run("info", "--model", "royokong/e5-v").stdout
