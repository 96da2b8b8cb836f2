"""The measurements run, on little, and write their section where they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import report
from bench.null_embedder import NullEmbedder
from embedder.types import Input

ROOT = Path(__file__).parent.parent


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_null_embedder_gives_unit_rows_that_differ():
    looks = [Image.new("RGB", (64, 48), colour) for colour in ("red", "navy")]
    rows = NullEmbedder().embed([Input(images=(look,)) for look in looks], "document")
    assert rows.shape == (2, 384) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert rows[0] @ rows[1] < 0.99


def test_a_section_is_replaced_and_the_others_stay():
    page = "# Benchmarks\n\nIntroduction.\n\n## One\n\nold\n\n## Two\n\nkept\n"
    once = report.replace(page, "One", "## One\n\nnew\n")
    assert "old" not in once and "new" in once and "kept" in once
    assert once.index("## One") < once.index("## Two")
    assert report.replace(once, "One", "## One\n\nnew\n") == once
    assert report.replace(page, "Three", "## Three\n\nadded\n").endswith("## Three\n\nadded\n")


def test_pipeline_counts_every_picture(tmp_path):
    made = run("bench.make_jpegs", str(tmp_path / "jpegs"), "--count", "12")
    assert made.startswith("12 pictures")
    told = run("bench.pipeline", str(tmp_path / "jpegs"), "--runs", "1")
    assert "12 pictures" in told and "Polylens" in told


def test_search_finds_what_exact_search_finds():
    told = run("bench.search", "--sizes", "1000", "--queries", "10")
    recall = float(told.strip().splitlines()[-1].split("|")[-2])
    assert recall >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("bench.startup", "--runs", "1"),
        ("bench.memory", "--count", "100"),
        ("bench.serve", "--count", "64", "--runs", "1", "--models", "null"),
    ],
)
def test_the_small_ones_run(words):
    assert "|" in run(*words)
