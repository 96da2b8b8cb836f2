"""Write what Polylens leaves on disk and on a server, as a fixture for later versions.

    python tests/compatibility/record.py

writes tests/compatibility/<version>.tar.gz with the program that is installed: a collection in a
folder, its votes, a snapshot, a run of the starter's head, a LoRA adapter of a tiny model, and the
requests that fill an empty Qdrant server with the same collection. Run it before the program's
formats change, and never over an archive that is there.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLACE = Path("/tmp/polylens-compatibility")  # catalogs keep absolute paths
MTIME = 1_700_000_000
SAMPLES = ("banana", "strawberry", "tiger")

ADAPTER = (
    *("train", PLACE / "pairs.csv", "--preset", "e5v", "--model", f"e5v:{PLACE}/e5v"),
    *("--set", "lora.rank=4", "--set", "quantize=none", "--device", "cpu"),
    *("--steps", 2, "--batch", 4),
)


def tiny() -> ModuleType:
    """The module that builds the tiny models, which belongs to no package."""
    sys.path.append(str(HERE.parent / "embedder" / "parity"))
    return importlib.import_module("tiny")


def environment(place: Path = PLACE) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POLYLENS_", "QDRANT_"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "XDG_DATA_HOME": str(place / "data"),
        "XDG_CONFIG_HOME": str(place / "config"),
        "POLYLENS_STORE": str(place / "store"),
        "POLYLENS_RUNS": str(place / "runs"),
    }


def run(*command: object, store: str = "", code: int = 0) -> dict:
    """Run `python -m COMMAND --json` and return its object."""
    settings = {"POLYLENS_STORE": store} if store else {}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command), "--json"],
        env=environment() | settings,
        cwd=PLACE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def make_library(folder: Path) -> None:
    """Three samples, two of them with captions, and a note; all with one modification time."""
    folder.mkdir(parents=True)
    for name in SAMPLES:
        shutil.copy(next((ROOT / "samples").rglob(f"{name}.[jpw]*")), folder)
    (folder / "banana.txt").write_text("a ripe banana\n")
    (folder / "tiger.json").write_text(
        json.dumps({"caption": {"en": "a tiger", "ja": "虎"}, "tags": ["zoo"]})
    )
    (folder / "note.md").write_text("The zoo opens at nine and closes at six.\n")
    for path in folder.iterdir():
        os.utime(path, (MTIME, MTIME))


def vote(collection: Path) -> None:
    """One thumb up, one thumb down, by words and by an image."""
    from indexer.feedback import Vote, VotedQuery, record_votes
    from indexer.types import QueryTerm

    hits = run("indexer", "search", "a tiger")["hits"]
    query = VotedQuery((QueryTerm(text="a big cat"),))
    for value, hit in ((1, hits[0]), (-1, hits[1])):
        record_votes(
            collection, Vote(query, hit["id"], hit["payload"]["content"], value, hit["path"])
        )
    image = VotedQuery((QueryTerm(image=str(PLACE / "library" / "banana.jpg")),))
    hit = hits[0]
    record_votes(collection, Vote(image, hit["id"], hit["payload"]["content"], -1, hit["path"]))


def server_requests() -> list[list]:
    """Ingest into the stand-in; returns [method, path, body] of what rebuilds its state."""
    sys.path.append(str(HERE.parent / "servers"))
    from qdrant import StandIn
    from qdrant_client import QdrantClient, models

    requests: list[list] = []
    with StandIn() as qdrant:
        run("indexer", "ingest", PLACE / "library", store=qdrant.url)
        client = QdrantClient(url=qdrant.url)
        for name, given in qdrant.state._given.items():
            body = given.model_dump(mode="json", exclude_none=True)
            body["metadata"] = client.get_collection(name).config.metadata
            requests.append(["PUT", f"/collections/{name}", body])
            for field, index in qdrant.state._indexes[name].items():
                schema = index.params or index.data_type
                wanted = models.CreateFieldIndex(field_name=field, field_schema=schema)
                body = wanted.model_dump(mode="json", exclude_none=True)
                requests.append(["PUT", f"/collections/{name}/index?wait=true", body])
            points, _ = client.scroll(name, limit=100, with_vectors=True)
            body = {
                "points": [
                    {"id": p.id, "vector": _plain(p.vector), "payload": p.payload} for p in points
                ]
            }
            requests.append(["PUT", f"/collections/{name}/points?wait=true", body])
        actions = [
            {"create_alias": {"collection_name": a.collection_name, "alias_name": a.alias_name}}
            for a in client.get_aliases().aliases
        ]
        requests.append(["POST", "/collections/aliases", {"actions": actions}])
    return requests


def _plain(vectors: dict) -> dict:
    return {
        name: value.model_dump() if hasattr(value, "model_dump") else value
        for name, value in vectors.items()
    }


def train() -> None:
    """A run of the starter's head on texts, and an adapter of a tiny E5-V, in two steps each."""
    pairs = PLACE / "pairs.csv"
    lines = [f"thing {n},Ding {n}" for n in range(24)]
    pairs.write_text("\n".join(["query,positive", *lines]))
    run("finetune", "train", pairs, "--out", PLACE / "runs" / "head", "--steps", 2, "--batch", 4)
    tiny().build("e5v", PLACE / "e5v")
    run("finetune", *ADAPTER, "--out", PLACE / "runs" / "adapter")
    shutil.rmtree(PLACE / "e5v")  # tests build it again
    for part in ("checkpoints", "cache", "model/starter_head.safetensors"):  # large
        path = PLACE / "runs" / "head" / part
        path.unlink() if path.is_file() else shutil.rmtree(path)


def vectors(model: str) -> list[list[float]]:
    import embedder

    rows = embedder.load(model).embed([embedder.Input(text="a red bicycle")], "query")
    return rows.tolist()


def main() -> None:
    from importlib.metadata import version

    archive = HERE / f"{version('polylens')}.tar.gz"
    assert not archive.exists(), f"{archive} is there already"
    shutil.rmtree(PLACE, ignore_errors=True)
    make_library(PLACE / "library")
    report = run("indexer", "ingest", PLACE / "library")
    vote(PLACE / "store" / "default")
    run("indexer", "snapshot", "--output", PLACE / "default.polylens.tar", "--thumbs")
    train()
    tiny_e5v = PLACE / "e5v"
    tiny().build("e5v", tiny_e5v)
    expected = {
        "ingest": {k: report[k] for k in ("added", "files")},
        "status": run("indexer", "status"),
        "search": run("indexer", "search", "a tiger"),
        "vectors": {
            "starter": vectors("starter"),
            "adapter": vectors(str(PLACE / "runs" / "adapter")),
        },
    }
    shutil.rmtree(tiny_e5v)
    (PLACE / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False))
    (PLACE / "server.json").write_text(json.dumps(server_requests(), ensure_ascii=False))
    shutil.rmtree(PLACE / "data", ignore_errors=True)
    # GNU tar: a shard's files are sparse
    subprocess.run(["tar", "-C", PLACE, "-czSf", archive, "."], check=True)
    print(f"{archive}: {archive.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
