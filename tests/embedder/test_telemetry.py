"""The telemetry of libraries is off: its switches are set before they are imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from embedder.telemetry import SWITCHES

ROOT = Path(__file__).parents[2]
EMBED = """
import warnings
warnings.simplefilter("always")
from PIL import Image
import embedder
model = embedder.load("starter")
model.embed([embedder.Input(images=(Image.new("RGB", (64, 64), "red"),))], "document")
"""
SWITCHED_OFF = dict(SWITCHES.values())


def run(code: str, environment: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run a program whose environment has no switch but those that are given."""
    inherited = {k: v for k, v in os.environ.items() if k not in SWITCHED_OFF}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.parametrize("package", ["embedder", "indexer", "finetune", "app"])
def test_every_package_sets_the_switches(package):
    code = f"import sys, {package}, os, json; print(sorted({set(SWITCHES)} & set(sys.modules)))"
    code += f"; print([os.environ.get(name) for name in {[*SWITCHED_OFF]}])"
    assert run(code).stdout.splitlines() == ["[]", str([*SWITCHED_OFF.values()])]


def test_a_switch_that_the_user_has_set_stays():
    name = SWITCHES["huggingface_hub"][0]
    code = f"import os, embedder; print(os.environ['{name}'])"
    assert run(code, {name: "0"}).stdout == "0\n"


def test_the_libraries_read_the_switches():
    code = "import embedder, huggingface_hub.constants as hub, ray._common.usage.usage_lib as usage"
    code += "; print(hub.HF_HUB_DISABLE_TELEMETRY, usage.usage_stats_enabled())"
    assert run(code).stdout.split() == ["True", "False"]


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is moved by XDG_CACHE_HOME")
def test_onnxruntime_writes_no_file(tmp_path):
    done = run(EMBED, {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)})
    assert "telemetry" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_import_causes_a_warning(tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    assert "ORT_DISABLE_TELEMETRY=1" in run(f"import onnxruntime\n{EMBED}", home).stderr
