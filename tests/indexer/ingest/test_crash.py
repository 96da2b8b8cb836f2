"""kill -9 at random moments: nothing acknowledged is lost, nothing is stored twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from tests.indexer import damage
from tests.indexer.cli.conftest import Program
from tests.indexer.outdated import make_outdated
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


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
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
        # the last line may be cut off
        batches = [line for line in seen if line.startswith("embedded") and line.endswith("\n")]
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


SCENARIOS = {  # what is killed; all begin with an ingested folder that has changed since
    "a first ingest": ("ingest", "PICTURES", "--batch", "4", "--collection", "new"),
    "an ingest": ("ingest", "PICTURES", "--batch", "4"),
    "an ingest that prunes": ("ingest", "PICTURES", "--batch", "4", "--prune"),
    "a prune": ("prune",),
    "a reindex": ("reindex", "--model", "shades", "--batch", "4"),
    "a restore": ("restore", "SNAPSHOT", "--collection", "again"),
    "an ingest of an outdated collection": ("ingest", "PICTURES", "--collection", "outdated"),
}
NUM_KILLS = 17  # of each scenario
SMALL_PAGES = "import indexer.ingest.refresh\nindexer.ingest.refresh.PAGE_SIZE = 4\n"
PAUSE = 0.03  # seconds that each call of the model takes


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> SimpleNamespace:
    """A store whose pictures have been added to, deleted, moved and captioned since its ingest."""
    root = tmp_path_factory.mktemp("library")
    pictures, program = root / "pictures", Program(root)
    pictures.mkdir()

    def paint(name: str, seed: int) -> None:
        noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((60, 45)).save(pictures / name)

    for number in range(30):
        stem = f"sea {number}" if number >= 20 else str(number)
        paint(f"{stem}.png", number)
        if number % 3 == 0:
            (pictures / f"{stem}.txt").write_text(f"caption {number}")
    (pictures / "note.md").write_text("# One\n\nsnow\n\n# Two\n\nrain\n")
    program.json("ingest", pictures)
    program.json("snapshot", "-o", root / "snapshot.tar")
    program.json("ingest", pictures, "--collection", "outdated")
    make_outdated(load_config({"store": str(root / "store"), "collection": "outdated"}))
    for number in range(30, 45):
        paint(f"{number}.png", number)
    for number in range(8):
        (pictures / f"{number}.png").unlink()
    (pictures / "9.png").rename(pictures / "moved.png")
    (pictures / "10.txt").write_text("a new caption")
    (pictures / "12.txt").write_text("another caption")
    time.sleep(3)  # until the server process has ended
    return SimpleNamespace(root=root, pictures=pictures, store=root / "store")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kill_any_process_at_any_moment(library, tmp_path, scenario):
    """119 kills: of the program, of the shards' server processes, of both. Run again, the command
    comes to the same end as without a kill."""
    names = {"PICTURES": library.pictures, "SNAPSHOT": library.root / "snapshot.tar"}
    command = [names.get(argument, argument) for argument in SCENARIOS[scenario]]
    collection = command[-1] if "--collection" in command else "default"
    rng, expected, seconds = random.Random(scenario), None, 0.0
    for number in range(NUM_KILLS + 1):
        program = Program(tmp_path / str(number))
        program.driver = SMALL_PAGES + program.driver
        program.folder.mkdir()
        store = damage.copy_store(library.store, program.folder / "store")
        process, started = program.start(*command, pause=PAUSE), time.monotonic()
        if expected is None:
            process.communicate(timeout=120)
            seconds = time.monotonic() - started
        else:
            time.sleep(rng.uniform(0.2, 1.0) * seconds)
            kill(process, store, victim=("program", "servers", "both")[number % 3])
        if scenario == "an ingest of an outdated collection":  # it is searched meanwhile
            program.json("search", "snow", "--collection", collection)
        for _ in range(2):  # a second time, it finds nothing to do
            program(*command)
        report = program.json(
            "ingest", library.pictures, "--prune", "--collection", collection, POLYLENS_MODEL=""
        )
        assert not report["lost"], (number, report)
        points = damage.read_points(store, collection)
        doctor = program("doctor", "--json", "--collection", collection, POLYLENS_MODEL="")
        assert doctor.returncode == 0, (number, doctor.stdout)
        notes = [check for check in json.loads(doctor.stdout)["checks"] if check["state"] == "note"]
        assert not [n for n in notes if n["name"] in {"store", "catalog", "collection"}], notes
        if expected is None:
            expected = points
        assert damage.find_differences(expected, points) == {}, number
        shutil.rmtree(program.folder, ignore_errors=True)  # a server process may be closing


def kill(process: subprocess.Popen[str], store: Path, victim: str) -> None:
    """Kill the program, the server processes of its store, or all of them; wait for the program."""
    if victim != "servers":
        process.kill()
    if victim != "program":
        for file in store.rglob("keeper.json"):
            with suppress(OSError, ValueError):
                os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)
    process.communicate(timeout=120)
