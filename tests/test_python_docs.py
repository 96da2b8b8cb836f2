"""The examples of docs/python.md and the notebook run as they are written."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SAMPLES = (
    *("animals/tiger.webp", "animals/zebra.webp", "animals/owl.jpg", "animals/grey-cat.jpg"),
    *("food/banana.jpg", "food/red-apple.jpg", "food/pizza.webp", "places/lighthouse.jpg"),
)
NOTEBOOK = ROOT / "docs" / "tour.ipynb"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder with some of the samples, as in a checkout, and a home folder of its own."""
    for name in SAMPLES:
        (tmp_path / "samples" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "samples" / name, tmp_path / "samples" / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_of_the_page(checkout, capsys):
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "red-apple.jpg" in printed
    assert "(3, 384) float32" in printed
    assert "there is no collection 'nothing-here'" in printed
    assert len(EXAMPLES) == 5


def test_the_example_of_the_readme(checkout, capsys):
    readme = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (checkout / "samples").rename(checkout / "Pictures")
    exec(compile(example.replace(', filters={"year": "2019..2022"}', ""), "README.md", "exec"), {})
    assert "Pictures" in capsys.readouterr().out


def test_every_public_name_is_documented_or_exported():
    import embedder
    import indexer

    for package in (embedder, indexer):
        assert all(getattr(package, name) is not None for name in package.__all__)
        assert sorted(package.__all__) == package.__all__


def test_the_notebook(checkout):
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"tour.ipynb, cell {number}", "exec"), names)
    assert names["best"] == "tiger.webp"
