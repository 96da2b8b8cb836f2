"""Damaged files of a store: doctor finds what matters, a repair and an ingest bring it back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from indexer.collections.collection import OpenCollection
from indexer.collections.schema import make_schema
from indexer.config import load_config
from indexer.feedback import Vote, VotedQuery, record_votes
from indexer.types import QueryTerm
from tests import in_process_store
from tests.indexer import damage
from tests.indexer.cli.conftest import Program, ingest
from tests.indexer.damage import Damage

SEGMENT = "shard/segments/*/"


@pytest.fixture(autouse=True)
def all_extras_are_installed(monkeypatch):
    monkeypatch.setattr("indexer.doctor.find_missing_module", lambda extra: None)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A closed store with pictures, captions, documents and votes, and what is in it."""
    root = tmp_path_factory.mktemp("sound")
    pictures = root / "pictures"
    pictures.mkdir()
    for number in range(24):
        noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((120, 90)).save(pictures / f"{number:02}.jpg")
        if number % 2:
            (pictures / f"{number:02}.txt").write_text(f"caption {number}")
    for number in range(3):
        (pictures / f"note{number}.md").write_text(f"# {number}\n\nsnow\n\n# More\n\nrain\n")
    with pytest.MonkeyPatch.context() as patch:
        in_process_store.install(patch)
        ingest(Program(root), pictures)
        points = damage.read_points(root / "store")
    folder = root / "store" / "default"
    for number in range(5):
        query = VotedQuery((QueryTerm(text=f"query {number}"),))
        record_votes(folder, Vote(query=query, id=f"{number}", content="c", vote=1))
    catalog = damage.read_catalog(root / "store")
    yield SimpleNamespace(root=root, pictures=pictures, points=points, catalog=catalog)


@pytest.fixture
def damaged(sound, tmp_path):
    """`damaged(damage)` copies the store and damages the copy; returns the program on it."""
    program = Program(tmp_path)

    def make(planned: Damage, seed: int = 0) -> Program:
        damage.copy_store(sound.root / "store", tmp_path / "store")
        damage.apply_damage(tmp_path / "store" / "default", planned, seed)
        return program

    return make


KNOWN = {  # and how many of the 27 points are embedded again, at most
    "a quantized vectors' status": ("zero", SEGMENT + "*-image/tq_vectors/status.dat", 27),
    "vectors that became zero": ("zero", SEGMENT + "*-text/tq_vectors/chunk_0.mmap", 15),
    "sparse vectors": ("zero", SEGMENT + "*-bm25/store/page_0.dat", 27),
    "payloads": ("zero", SEGMENT + "payload_storage/page_0.dat", 27),
    "an index of payloads": ("zero", SEGMENT + "payload_index/*kind-null/has_values/*_a.dat", 0),
    "the settings of the segment": ("noise", SEGMENT + "segment.json", 0),
    "the ids": ("zero", SEGMENT + "mutable_id_tracker.mappings", 27),
    "all of the shard": ("delete", "shard", 27),
    "an inner page of the catalog": ("zero", "catalogue.db", 0),
    "collection.json": ("truncate", "collection.json", 0),
    "no collection.json": ("delete", "collection.json", 0),
    "a thumbnail": ("zero", "thumbs/*/*.jpg", 0),
    "a line of the votes": ("flip", "feedback.jsonl", 0),
}
SLOW = {
    "sparse vectors",
    "vectors that became zero",
    "the ids",
    "collection.json",
}  # see the others


@pytest.mark.parametrize(
    ("kind", "file", "embedded"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, case in KNOWN.items()
    ],
)
def test_a_known_damage_is_found_and_repaired(damaged, sound, kind, file, embedded, monkeypatch):
    in_process_store.install(monkeypatch)
    offset = 8192 if file == "catalogue.db" else 60 if kind == "truncate" else 0
    program = damaged(Damage(kind, file, offset))
    done = program("doctor")
    assert "type: indexer doctor --repair" in done.stdout
    assert done.returncode == (file != "thumbs/*/*.jpg")
    assert program.json("doctor", "--repair")["ok"] is True
    report = program.json("ingest", sound.pictures)
    assert report["added"] <= embedded, report
    assert report["failed"] == 0
    assert program.json("doctor")["ok"] is True
    store = program.folder / "store"
    assert damage.find_differences(sound.points, damage.read_points(store)) == {}
    assert damage.read_catalog(store) == sound.catalog


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds", [range(start, start + 20) for start in range(0, 200, 20)], ids=str
)
def test_no_random_damage_loses_points_silently(sound, tmp_path, seeds):
    """200 damages, each on two copies: doctor and ingest, and with `--repair` before the ingest."""
    silent, left = [], []
    folder = sound.root / "store" / "default"
    for seed in seeds:
        planned = damage.plan_damage(folder, seed)
        for repair in (False, True):
            program = Program(tmp_path / f"{seed}-{repair}")
            program.folder.mkdir()
            store = damage.copy_store(sound.root / "store", program.folder / "store")
            damage.apply_damage(store / "default", planned, seed)
            outcome = run_rounds(program, sound, repair=repair)
            (left if repair else silent).extend((planned, what) for what in outcome)
            shutil.rmtree(program.folder, ignore_errors=True)  # a server process may be closing
    assert not silent
    assert not left


def run_rounds(program: Program, sound, *, repair: bool) -> list[object]:
    """What is wrong with the outcome. A loss of one point may be silent, but not after a repair."""
    found = program("doctor", "--json", *(["--repair"] if repair else []))
    done = program("ingest", sound.pictures, "--json")
    for result in (found, done):
        assert "a fault of the program" not in result.stderr, result.stderr
    report = json.loads(done.stdout)
    is_quiet = found.returncode == 0 and "error" not in report
    is_quiet = is_quiet and report["added"] + report["updated"] + report["recovered"] == 0
    if not repair and not is_quiet:
        return []
    differences = damage.find_differences(
        sound.points, damage.read_points(program.folder / "store")
    )
    if not repair:
        return [differences] if len(differences) > 1 else []
    after = program("doctor", "--json")
    is_same = damage.read_catalog(program.folder / "store") == sound.catalog
    return (
        [] if not differences and not after.returncode and is_same else [differences, after.stdout]
    )


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_repair_that_is_killed_while_it_swaps_shards(damaged, sound, monkeypatch, moves):
    in_process_store.install(monkeypatch)
    program = damaged(Damage("zero", SEGMENT + "*-text/tq_vectors/chunk_0.mmap"))
    left = iter(range(moves))
    replace = Path.replace
    with monkeypatch.context() as patch:

        def move(source: Path, target: Path) -> Path:
            if source.name == "shard" and next(left, None) is None:
                patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # it is dead
                raise SystemExit(9)
            return replace(source, target)

        patch.setattr(Path, "replace", move)
        program("doctor", "--repair")
    if moves == 1:
        assert "are gone" in program("search", "red").stderr
    assert program("doctor", "--repair").returncode == 0
    assert program.json("ingest", sound.pictures)["added"] <= 15
    assert damage.find_differences(sound.points, damage.read_points(program.folder / "store")) == {}


def test_damage_is_not_copied_into_a_backup(damaged, monkeypatch):
    """The counts are right, so the store opens."""
    in_process_store.install(monkeypatch)
    program = damaged(Damage("zero", SEGMENT + "*-text/tq_vectors/chunk_0.mmap"))
    assert program("search", "red").returncode == 0
    store = program.folder / "store"
    for command in (
        ["snapshot"],
        ["export", "--vectors"],
        ["migrate", store, program.folder / "b"],
    ):
        done = program(*command)
        assert done.returncode == 1, command
        assert "vector 'text' has changed. Type: indexer doctor --repair" in done.stderr
    assert not list(program.folder.glob("*.tar"))


def test_points_without_a_checksum_get_one(damaged, sound, monkeypatch):
    """A store of an earlier version has none: its vectors are only looked at."""
    import qdrant_edge

    in_process_store.install(monkeypatch)
    program = damaged(Damage("append", "errors.jsonl"))
    store = in_process_store.InProcessStore(program.folder / "store" / "default")
    store.ensure(make_schema(48))
    for id, (payload, _) in sound.points.items():
        write = qdrant_edge.UpdateOperation.overwrite_payload([id], payload)
        store.shard._shard.update(write)
    store.close()
    done = program("doctor")
    assert done.returncode == 0
    assert "27 points, each readable" in done.stdout
    assert "27 points of an earlier version without one yet" in done.stdout
    assert "type: indexer doctor --repair" in done.stdout
    assert "27 points of an earlier version got one" in program("doctor", "--repair").stdout
    assert "earlier version" not in program("doctor").stdout
    assert program.json("ingest", sound.pictures)["unchanged"] == 27
    assert damage.find_differences(sound.points, damage.read_points(program.folder / "store")) == {}


def test_the_old_index_is_checked_too(damaged, sound, monkeypatch):
    """A rollback would bring its damage back."""
    in_process_store.install(monkeypatch)
    program = damaged(Damage("append", "errors.jsonl"))
    done = program("reindex", "--model", "shades")
    assert done.returncode == 0, done.stderr
    assert "old index   27 points, as written" in program("doctor", POLYLENS_MODEL="").stdout
    folder = program.folder / "store" / "default"
    damage.apply_damage(folder, Damage("zero", SEGMENT + "*-image/tq_vectors/chunk_0.mmap"))
    done = program("doctor", POLYLENS_MODEL="")
    assert done.returncode == 1
    assert "type: indexer reindex --forget" in done.stdout


def test_points_that_a_server_has_lost_are_found_by_their_ids(
    sound, tmp_path, http_store, monkeypatch
):
    program = Program(tmp_path)
    at = ("--store", http_store["store"], "--collection", http_store["collection"])
    environment = {"POLYLENS_QDRANT_API_KEY": http_store["qdrant_api_key"] or ""}
    program.json("ingest", sound.pictures, *at, **environment)
    assert program.json("doctor", *at, **environment)["ok"] is True
    with OpenCollection.open(load_config(http_store)) as opened:
        lost = opened.store.scroll(limit=3)[0]
        opened.store.delete([record.id for record in lost])
    done = program("doctor", *at, **environment)
    assert done.returncode == 1
    assert "that the store has lost" in done.stdout
    assert "type: indexer doctor --repair" in done.stdout
    assert program.json("doctor", "--repair", *at, **environment)["ok"] is True
    assert program.json("ingest", sound.pictures, *at, **environment)["added"] > 0
    assert program.json("doctor", *at, **environment)["ok"] is True
