"""onnxruntime's telemetry stays off: it writes no file and opens no socket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_cache_path

ROOT = Path(__file__).parents[2]
EMBED = """
import sys
{before}
import warnings
warnings.simplefilter("always")
from PIL import Image
import embedder
model = embedder.load("starter")
model.embed([embedder.Input(images=(Image.new("RGB", (64, 64), "red"),))], "document")
"""


@pytest.fixture(scope="module")
def graphs() -> list[Path]:
    """The starter's exported graphs, so that no test has to export them again."""
    import embedder
    from embedder.families.starter import vision_tower as vision

    embedder.load("starter")
    return [vision.export_cached(tower) for tower in vision.TOWERS]


def run(cache: Path, graphs: list[Path], before: str = "") -> str:
    """Embed an image with the starter in a process of its own; returns what it wrote to stderr."""
    folder = cache / "polylens"
    folder.mkdir(parents=True)
    for graph in graphs:
        (folder / graph.name).symlink_to(graph)
    inherited = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", EMBED.format(before=before)],
        env={
            **inherited,
            "HOME": str(cache),
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stderr


def written(cache: Path) -> set[str]:
    """The entries of the cache folder that Polylens did not write."""
    return {path.name for path in cache.iterdir()} - {"polylens"}


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is moved by XDG_CACHE_HOME")
def test_no_telemetry_file_is_written(tmp_path, graphs):
    assert user_cache_path("x", appauthor=False).name == "x"
    assert "telemetry" not in run(tmp_path / "cache", graphs)
    assert written(tmp_path / "cache") == set()


def test_an_earlier_import_causes_a_warning(tmp_path, graphs):
    assert "ORT_DISABLE_TELEMETRY=1" in run(tmp_path / "cache", graphs, "import onnxruntime")
