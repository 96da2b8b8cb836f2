"""Damages the files of a store as disks, power cuts and people do, and compares what is left."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.stores.base import iterate_records
from indexer.types import SparseVector

KINDS = ("flip", "zero", "noise", "truncate", "delete", "swap", "append")
PAGE = 4096
TRANSIENT = ("keeper.", "writer.lock", "errors.jsonl")
GROUPS = (  # by path: each is damaged equally often, whatever its number of files
    "vector_storage-image", "vector_storage-text", "vector_storage-name", "vector_storage-bm25",
    "payload_storage",
    "payload_index", "mutable_id_tracker", "wal/", "segment.json", "shard/", "catalogue.db",
    ".json", "thumbs/", "feedback",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage: what was done to which file, relative to the collection's folder."""

    kind: str
    file: str
    offset: int = 0
    other: str = ""


def copy_store(source: Path, target: Path) -> Path:
    """Copy a store whose files are sparse."""
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)
    return target


def list_groups(folder: Path) -> dict[str, list[str]]:
    """The files of a collection by group, as far as there are any."""
    files = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(TRANSIENT) and file.stat().st_size
    )
    groups: dict[str, list[str]] = {}
    for file in files:
        group = next((name for name in GROUPS if name in file), None)
        if group is not None:
            groups.setdefault(group, []).append(file)
    return groups


def plan_damage(folder: Path, seed: int) -> Damage:
    """A damage for each seed; of bytes that hold something, four times out of five."""
    rng = random.Random(seed)
    groups = list_groups(folder)
    files = groups[sorted(groups)[seed % len(groups)]]
    kind = KINDS[(seed // len(groups)) % len(KINDS)]
    file = rng.choice(files)
    data = np.fromfile(folder / file, np.uint8)
    filled = np.flatnonzero(data)
    if len(filled) and rng.random() < 0.8:
        offset = int(filled[rng.randrange(len(filled))])
    else:
        offset = rng.randrange(len(data))
    return Damage(kind, file, offset, rng.choice(files))


def apply_damage(folder: Path, damage: Damage, seed: int = 0) -> None:
    """Do it to the collection in `folder`; the names of the files may be patterns."""
    file, rng = next(iter(sorted(folder.glob(damage.file)))), random.Random(seed)
    start = damage.offset - damage.offset % PAGE
    size = file.stat().st_size
    match damage.kind:
        case "truncate":
            with file.open("r+b") as out:
                out.truncate(damage.offset)
        case "delete":
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        case "swap":
            other = next(iter(sorted(folder.glob(damage.other))))
            file.rename(folder / "swapped")
            if other.exists():
                other.rename(file)
            (folder / "swapped").rename(other)
        case "append":
            with file.open("ab") as out:
                out.write(rng.randbytes(64))
        case "flip":
            with file.open("r+b") as out:
                out.seek(damage.offset)
                byte = out.read(1)[0]
                out.seek(damage.offset)
                out.write(bytes([byte ^ rng.randrange(1, 256)]))
        case "zero" | "noise":
            length = min(PAGE, size - start)
            with file.open("r+b") as out:
                out.seek(start)
                out.write(bytes(length) if damage.kind == "zero" else rng.randbytes(length))


def read_points(
    store: Path, collection: str = "default"
) -> dict[str, tuple[dict, dict[str, object]]]:
    """Every point: its payload, and its vectors."""
    config = load_config({"store": str(store), "collection": collection})
    with OpenCollection.open(config) as opened:
        return {r.id: (r.payload, r.vectors) for r in iterate_records(opened.store, vectors=True)}


def read_catalog(store: Path) -> dict[str, list[tuple]]:
    """The rows of the catalog that say which files there are, and what they hold."""
    with closing(sqlite3.connect(store / "default" / "catalogue.db")) as db:
        return {
            table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for table in ("files", "contents", "roots")
        }


def find_differences(expected: dict, actual: dict) -> dict[str, str]:
    """What differs between two results of `read_points`, by id."""
    found = dict.fromkeys(expected.keys() - actual.keys(), "missing")
    found |= dict.fromkeys(actual.keys() - expected.keys(), "not there before")
    for id in expected.keys() & actual.keys():
        (payload, vectors), (own_payload, own_vectors) = expected[id], actual[id]
        if json.dumps(payload, sort_keys=True) != json.dumps(own_payload, sort_keys=True):
            found[id] = "payload"
        elif vectors.keys() != own_vectors.keys():
            found[id] = f"vectors {sorted(own_vectors)}, not {sorted(vectors)}"
        else:
            names = [n for n in vectors if not _is_close(vectors[n], own_vectors[n])]
            if names:
                found[id] = f"vector {names[0]}"
    return found


def _is_close(one: object, two: object) -> bool:
    if isinstance(one, SparseVector):
        return one == two
    return bool(np.allclose(one, two, atol=1e-3))
