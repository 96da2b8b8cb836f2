"""Power cuts at random moments, simulated with images of a file system: no picture is lost.

A command works on a mounted image. The copy of the image has what was synced, and of what the file
system held in memory only some pages that a kernel may have written. It is mounted as after a power
cut, and the same command runs again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.images.decode import decode_image
from embedder.types import Input
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.thumbnails import ensure_thumbnail
from indexer.paths import hash_content, make_point_ids
from indexer.stores.base import iterate_records
from tests.embedders import CARD, PAUSE, SHADES, ColorEmbedder
from tests.filesystems import copy_as_after_a_power_cut, make_ext4, mount, run_tool
from tests.programs import COLORS_DRIVER, ROOT

pytestmark = pytest.mark.slow
NUM_PICTURES = 24
MEGABYTES = 768
DRIVER = f"from indexer.ingest import pipeline\npipeline.COMMIT_INTERVAL = 0.1\n{COLORS_DRIVER}"
COMMANDS = {
    "ingest": ["ingest", "{pictures}", "--model", "colors", "--batch", "4"],
    "prune": ["ingest", "{pictures}", "--prune", "--batch", "4"],
    "reindex": ["reindex", "--model", "shades", "--batch", "4"],
    "restore": ["restore", "{kept}/snapshot.tar", "--collection", "default"],
    "migrate": ["migrate", "{kept}/store", "{store}"],
}
TRIES = {"ingest": 40, "prune": 20, "reindex": 20, "restore": 10, "migrate": 10}


def start(command: list[str], store: Path, **places: Path) -> subprocess.Popen[str]:
    words = [word.format(store=store, **places) for word in command]
    if words[0] != "migrate":
        words += ["--store", str(store)]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *words],
        cwd=ROOT,
        env={**os.environ, PAUSE: "0.02"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(command: list[str], store: Path, **places: Path) -> str:
    process = start(command, store, **places)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """Pictures; a folder with the pictures of an older collection, its store and its snapshot."""
    root = tmp_path_factory.mktemp("power")
    pictures, kept = root / "pictures", root / "kept"
    for folder in (pictures, kept):
        folder.mkdir()
    for number in range(NUM_PICTURES):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number:02}.png")
        if number % 3 == 0:
            (pictures / f"{number:02}.txt").write_text("red" if number % 2 else "blue")
    for number in range(8):  # they will be gone, and have been changed
        Image.new("RGB", (20, 20), (number, 9, 99)).save(pictures / f"old{number}.png")
    finish(COMMANDS["ingest"], kept / "store", pictures=pictures)
    return {"pictures": pictures, "kept": kept}


def prepare(operation: str, image: Path, folder: Path, places: dict[str, Path]) -> None:
    """An image with the store as it is before the operation."""
    make_ext4(image, MEGABYTES)
    pictures, kept = places["pictures"], places["kept"]
    with mount(image, folder, "loop"):
        if operation == "prune":
            run_tool("cp", "-r", "--sparse=always", kept / "store", folder / "store")
        for old in pictures.glob("old*"):
            old.unlink()
        if operation in {"restore", "migrate"}:  # of what the folder holds now
            finish(COMMANDS["prune"], kept / "store", pictures=pictures)
            output = ["-o", str(kept / "snapshot.tar")]
            finish(["snapshot", *output], kept / "store")
        elif operation == "reindex":
            finish(COMMANDS["ingest"], folder / "store", pictures=pictures)


def check(store: Path, pictures: Path, model: ColorEmbedder) -> None:
    """Every picture is in the store with its vector, nothing else is, and the catalog agrees."""
    answer = json.loads(finish(["ingest", str(pictures), "--json"], store))
    assert (answer["unchanged"], answer["added"], answer["lost"]) == (NUM_PICTURES, 0, [])
    expected = {}
    for path in pictures.glob("*.png"):
        (id,) = make_point_ids(hash_content(path.read_bytes()))
        expected[id] = model.embed([Input(images=(Image.open(path),))], "document")[0]
    with OpenCollection.open(load_config({"store": str(store)})) as collection:
        records = {r.id: r for r in iterate_records(collection.store, vectors=True)}
    assert set(records) == set(expected)
    for id, vector in expected.items():
        assert float(records[id].vectors["image"] @ vector) > 0.999, id
        paths = records[id].payload["paths"]
        thumbnail = ensure_thumbnail(store / "default/thumbs", id, paths, roots=[str(pictures)])
        assert ("text" in records[id].vectors) == Path(paths[0]).with_suffix(".txt").exists()
        assert decode_image(thumbnail, side=300).image.size == (32, 24)


@pytest.mark.parametrize("operation", COMMANDS)
def test_nothing_is_lost_in_a_power_cut(tmp_path, places, operation):
    command, choice = COMMANDS[operation], random.Random(operation)
    base, image, copy = (tmp_path / name for name in ("base.img", "image.img", "copy.img"))
    folder, restored = tmp_path / "mounted", tmp_path / "restored"
    prepare(operation, base, folder, places)
    model = ColorEmbedder(SHADES if operation == "reindex" else CARD)
    moments, duration = [], 0.0
    for number in range(TRIES[operation] + 1):
        run_tool("cp", "--sparse=always", base, image)
        options = f"loop,commit={(5, 300)[number % 2]}"
        with mount(image, folder, options):
            process, started = start(command, folder / "store", **places), time.monotonic()
            if not number:  # how long it takes
                assert process.communicate(timeout=120) and process.returncode == 0
                duration = time.monotonic() - started
                continue
            time.sleep(choice.uniform(0.4, 1.1) * duration)
            moments.append(time.monotonic() - started)
            copy_as_after_a_power_cut(image, folder, copy, choice)
            process.kill()
            process.communicate()
        with mount(copy, restored, "loop"):
            try:
                _repeat(command, restored / "store", places)
                check(restored / "store", places["pictures"], model)
            except BaseException:
                shutil.copytree(restored, tmp_path / f"failed-{number}")
                raise


def _repeat(command: list[str], store: Path, places: dict[str, Path]) -> None:
    """Run the command again; a copy may have been complete."""
    process = start(command, store, **places)
    _, err = process.communicate(timeout=120)
    is_complete = command[0] in {"restore", "migrate"} and "already exists" in err
    assert process.returncode == 0 or is_complete, err
