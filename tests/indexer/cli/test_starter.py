"""End to end with the starter model: ingest a folder, search in three languages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.programs import run_program

ROOT = Path(__file__).parents[3]
PICTURES = ("banana", "strawberry", "tiger")  # whatever their folders and formats are


def run(store: Path, *arguments: object) -> dict:
    done = run_program("indexer", *arguments, "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_search_in_any_language(tmp_path):
    folder, store = tmp_path / "pictures", tmp_path / "store"
    folder.mkdir()
    for name in PICTURES:
        shutil.copy(next((ROOT / "samples").rglob(f"{name}.[jpw]*")), folder)
    assert run(store, "ingest", folder)["added"] == len(PICTURES)
    assert run(store, "status")["card"]["name"] == "starter"
    for words in ("a banana", "eine Banane", "バナナ"):
        hits = run(store, "search", words)["hits"]
        assert Path(hits[0]["path"]).stem == "banana", words
    assert run(store, "doctor")["ok"] is True
