"""kill -9 at random moments: nothing acknowledged is lost, nothing is stored twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from tests.programs import ROOT

BATCH = 4
DRIVER = """
import sys, time
from pathlib import Path
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from tests.embedders import ColorEmbedder

embedded = 0

class Slow(ColorEmbedder):
    def embed(self, inputs, role, instruction=None):
        global embedded
        time.sleep(0.02)
        rows = super().embed(inputs, role, instruction)
        embedded += len(rows)
        print("embedded", embedded, flush=True)
        return rows

model = Slow()
with OpenCollection.open_or_create(load_config({"store": sys.argv[1]}), model.card) as collection:
    options = IngestOptions(batch_size=int(sys.argv[3]))
    report = ingest([Path(sys.argv[2])], collection, model, options)
print("added", report.added, "unchanged", report.unchanged, flush=True)
"""


def start(store: Path, pictures: Path) -> subprocess.Popen:
    arguments = [str(store), str(pictures), str(BATCH)]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("seed", range(3))
def test_kill_at_random_moments(tmp_path, photo, colors, seed):
    rng = random.Random(seed)
    pictures, store = tmp_path / "pictures", tmp_path / "store"
    for i in range(60):
        photo(pictures / f"{i:02}.jpg", i)
    embedded = 0
    for kills in range(1, 5):
        process = start(store, pictures)
        lines = iter(process.stdout.readline, "")
        seen = [next(lines, "") for _ in range(rng.randint(1, 3))]  # it is at work
        time.sleep(rng.random() * 0.05)
        process.kill()
        seen += list(lines)
        process.wait()
        batches = [line for line in seen if line.startswith("embedded")]
        embedded += int(batches[-1].split()[1]) if batches else 0
        with OpenCollection.open(load_config({"store": str(store)})) as collection:
            # every batch before the last one begun was acknowledged
            assert collection.store.count() >= embedded - BATCH * kills
    process = start(store, pictures)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    last_line = out.splitlines()[-1].split()
    added, unchanged = int(last_line[1]), int(last_line[3])
    assert added + unchanged == 60
    with OpenCollection.open(load_config({"store": str(store)})) as collection:
        assert collection.store.count() == 60
    assert embedded + added <= 60 + 4 * BATCH, "a crash costs at most one batch"
