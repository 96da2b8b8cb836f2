"""The command `indexer reindex`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from indexer.config import load_config
from tests.indexer.outdated import make_outdated
from tests.programs import run_program

ROOT = Path(__file__).parents[3]
NEW = {"POLYLENS_MODEL": ""}  # the collection's own, whichever it is


def best(indexer, words: str = "red") -> str:
    return indexer.json("search", words, **NEW)["hits"][0]["payload"]["name"]


def test_reindex_and_rollback(indexed):
    done = indexed("reindex", "--model", "shades")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "collection 'default' has shades now: 4 points, 4 before; 4 checked"
    )
    assert "indexer reindex --rollback, or --forget" in done.stderr
    assert "the settings (environment) still name 'colors'" in done.stderr
    assert best(indexed) == "red.png"
    status = indexed.json("status", **NEW)
    assert (status["model"], status["old_model"], status["points"]) == ("shades", "colors", 4)
    assert (status["collections"], status["kinds"]) == (["default"], {"pictures": 3, "passages": 1})
    assert "old index    colors; " in indexed("status", **NEW).stdout
    assert indexed.json("doctor", **NEW)["ok"] is True
    again = indexed("reindex", "--model", "shades")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "collection 'default' has shades already: nothing to do\n"
    refused = indexed("search", "red")
    assert "indexer reindex --model colors --collection default" in refused.stderr
    back = indexed("reindex", "--rollback")
    assert back.stdout == "collection 'default' has colors again\n"
    assert best(indexed) == "red.png"
    assert indexed.json("reindex", "--forget") == {"collection": "default", "deleted": ["shades"]}
    assert indexed("reindex", "--forget").stdout == "there was nothing to delete\n"
    assert indexed("reindex", "--rollback").returncode == 1


def test_an_earlier_version_of_the_model(indexed, pictures):
    """What embeds says what to do, also where no file is new; `status` says it too."""
    meta = indexed.folder / "store" / "default" / "collection.json"
    meta.write_text(meta.read_text().replace("colors-1", "colors-0"))
    command = "indexer reindex --model colors --collection default"
    for words in (("search", "red"), ("ingest", pictures)):
        done = indexed(*words, **NEW)
        assert done.returncode == 1
        assert done.stderr.startswith("error: collection 'default' was made with colors (")
        assert done.stderr.endswith(f"{command}\n")
    assert indexed.json("status", **NEW)["needs_reindex"] is True
    outdated = f"outdated     revision 1 is installed; type: {command}\n"
    make_outdated(load_config({"store": str(indexed.folder / "store")}))
    status, doctor = indexed("status", **NEW).stdout, indexed("doctor", **NEW).stdout
    assert outdated in status
    assert "indexer ingest" not in status + doctor, "that would fail"
    assert indexed("reindex", "--model", "colors").returncode == 0
    assert best(indexed) == "red.png"
    assert indexed.json("status", **NEW)["needs_reindex"] is False


def test_killed_in_the_middle(indexer, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(24):
        Image.new("RGB", (64, 64), (255, i, 0)).save(pictures / f"{i:02}.png")
    Image.new("RGB", (64, 64), "blue").save(pictures / "blue.png")
    assert indexer("ingest", pictures, "--quiet").returncode == 0
    words = ["reindex", "--model", "shades", "--batch", "2"]
    process = indexer.start(*words, pause=0.3)
    deadline = time.monotonic() + 60
    while not (begun := indexer.json("status")["building"]) or not begun["points"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)  # each look costs as much as several images
    assert begun["model"] == "shades"
    assert best(indexer, "blue") == "blue.png"
    process.kill()
    process.communicate()
    status = indexer("status").stdout
    assert "reindexing   to shades, " in status
    assert indexer.json("status")["collections"] == ["default"]
    assert best(indexer, "blue") == "blue.png"
    refused = indexer("reindex", "--model", "colors")
    assert "nothing to do" in refused.stdout
    report = indexer.json("reindex", "--model", "shades")
    assert (report["switched"], report["from"], report["to"]) == (True, "colors", "shades")
    assert report["points"] == {"old": 25, "new": 25}
    assert report["ingest"]["unchanged"] >= 1
    assert report["ingest"]["added"] < 25
    assert best(indexer, "blue") == "blue.png"


def test_files_that_the_new_index_would_lose(indexed, pictures):
    (pictures / "red.png").write_bytes(b"no picture")
    done = indexed("reindex", "--model", "shades")
    assert done.returncode == 1
    assert "1 file in the old index and not in the new one:" in done.stderr
    assert "red.png (corrupt: " in done.stderr
    assert "--allow-missing" in done.stderr
    assert "errors.jsonl" not in done.stderr
    assert best(indexed) == "red.png"
    report = indexed.json("reindex", "--model", "shades", "--allow-missing", code=3)
    assert (report["switched"], report["points"]) == (True, {"old": 4, "new": 3})
    assert [lost["reason"] for lost in report["lost"]] == ["corrupt"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--rollback", "--forget"], 2, "--forget deletes it"),
        (["--model", "shades", "--collection", "nobody"], 1, "no collection 'nobody'"),
        (["--model", "nothing"], 1, "no model or folder is called 'nothing'"),
        (["--rollback", "--collection", "nobody"], 1, "no collection 'nobody'"),
    ],
)
def test_wrong_usage(library, arguments, code, message):
    done = library("reindex", *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_the_new_model_must_be_named(library):
    done = library("reindex", **NEW)
    assert done.returncode == 2
    assert "name the new model: --model" in done.stderr


def test_a_fine_tuning_run(checkpoint, indexed, tmp_path):
    """`--model RUN`: an adapter around a tiny model, with the real program."""
    from peft import LoraConfig, get_peft_model

    import embedder
    from embedder.types import Settings

    base, run = checkpoint("e5v"), tmp_path / "run"
    config = LoraConfig(
        r=2, target_modules=r".*language_model.*\.q_proj", base_model_name_or_path=str(base)
    )
    body = embedder.load(str(base), Settings(device="cpu")).backbone.model
    get_peft_model(body, config).save_pretrained(run / "model")
    (run / "model" / "polylens.json").write_text(json.dumps({"family": "e5v", "base": str(base)}))
    (run / "run.json").write_text(json.dumps({"format": 1, "status": "done"}))

    def real(*arguments: str) -> dict:
        done = run_program("indexer", *arguments, "--json", env=indexed.environment | NEW)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    report = real("reindex", "--model", os.fspath(run), "--device", "cpu", "--quiet")
    assert (report["switched"], report["to"], report["checked"]) == (True, str(run), 4)
    assert real("status")["card"]["dim"] == 32
    assert len(real("search", "a red wall")["hits"]) == 4
    assert real("reindex", "--rollback")["model"] == "colors"
