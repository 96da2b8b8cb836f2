"""onnxruntime's telemetry stays off: it writes no file and opens no socket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(cache: Path, before: str = "") -> str:
    """Embed an image with the starter in a process of its own; returns what it wrote to stderr."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is moved by XDG_CACHE_HOME")
def test_no_telemetry_file_is_written(tmp_path):
    assert "telemetry" not in run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_import_causes_a_warning(tmp_path):
    assert "ORT_DISABLE_TELEMETRY=1" in run(tmp_path, "import onnxruntime")
