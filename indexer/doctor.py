"""Checks for problems of the installation and the collection, and how to fix each."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from embedder.errors import EmbedderError
from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection, check_disk_space
from indexer.collections.model import make_settings
from indexer.config import Config
from indexer.errors import IndexerError
from indexer.stores.edge.state import read_state
from indexer.stores.qdrant.connection import redact_password

MIN_PYTHON = (3, 11)
PAGE_SIZE = 1_000

CheckState = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, its state, and for a problem the command that fixes it."""

    name: str
    state: CheckState
    detail: str
    advice: str = ""


def run_checks(config: Config, *, repair: bool = False, model: bool = True) -> Iterator[Check]:
    """Run the checks one by one; a problem that they find is not raised.

    `repair` deletes what the next ingest rebuilds: a catalog that does not match the store, and
    thumbnails of points that are gone. `model` False skips loading the model.
    """
    yield _check_python()
    yield from _check_packages()
    yield from _catch_errors("disk", lambda: _check_disk(config))
    yield from _catch_errors("collection", lambda: _check_collection(config, repair=repair))
    if model:
        yield from _catch_errors("model", lambda: _check_model(config))


def _catch_errors(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Report our own errors as problems; their messages say how to fix them."""
    try:
        yield from checks()
    except (IndexerError, EmbedderError, OSError) as error:
        yield Check(name, "problem", str(error))


def _check_python() -> Check:
    installed = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= MIN_PYTHON:
        return Check("python", "ok", installed)
    needed = ".".join(map(str, MIN_PYTHON))
    return Check(
        "python", "problem", f"{installed} is too old", f"install Python {needed} or later"
    )


def _check_packages() -> Iterator[Check]:
    """Compare each requirement with the installed version."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    problems, num_ok = [], 0
    for requirement in map(Requirement, _read_requirements()):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if requirement.specifier.contains(installed.partition("+")[0], prereleases=True):
            num_ok += 1
        else:
            problems.append(f"{requirement.name} is {installed}, not {requirement.specifier}")
    if problems:
        yield Check("packages", "problem", "; ".join(problems), "pip install -r requirements.txt")
    else:
        yield Check("packages", "ok", f"{num_ok} as required")


def _read_requirements() -> list[str]:
    """The requirements of the distribution, or of a checkout's requirements.txt."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("polylens") or []
    except PackageNotFoundError:
        lines = (Path(__file__).parents[1] / "requirements.txt").read_text("utf-8").splitlines()
    plain = (line.partition("#")[0].strip() for line in lines if "extra ==" not in line)
    return [line for line in plain if line]


def _check_disk(config: Config) -> Iterator[Check]:
    folder = config.local_folder
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        yield Check(
            "disk", "problem", f"{folder} cannot be written to", "choose another with --store"
        )
        return
    check_disk_space(folder)
    yield Check("disk", "ok", f"{shutil.disk_usage(folder).free / 1e9:.1f} GB free at {folder}")


@dataclass(slots=True)
class _StoredPoints:
    """The points of a store: their count, and their ids."""

    points: int
    ids: set[str] = field(default_factory=set)


def _check_collection(config: Config, *, repair: bool) -> Iterator[Check]:
    backend, name = open_backend(config), config.collection
    if not backend.exists(name):
        missing = f"there is no collection {name!r} in {redact_password(config.store)}"
        yield Check("collection", "note", missing, "indexer ingest FOLDER")
        return
    active = backend.get_indexes(name).in_use
    card, index = active.card, active.folder
    yield Check("collection", "ok", f"{name}, made with {card.name} {card.revision}")
    yield from (
        _check_server(config)
        if backend.is_shared
        else _check_local_index(config, index, repair=repair)
    )


def _check_server(config: Config) -> Iterator[Check]:
    """Ask a server for its count; listing millions of points would take too long."""
    with OpenCollection.open(config) as opened:
        points = opened.store.count()
        yield Check("store", "ok", f"{redact_password(config.store)} answers; {points} points")
        if not (opened.index_dir / "catalogue.db").exists():
            yield Check("catalogue", "note", "is missing; the next ingest creates it")


def _check_local_index(config: Config, index: Path, *, repair: bool) -> Iterator[Check]:
    path = config.local_folder / config.collection
    state = read_state(index)
    with OpenCollection.open(config) as opened:
        if state is not None and not state.is_clean and not (index / "keeper.json").exists():
            yield Check("closed", "note", "was not closed properly; the store recovered")
        counts = _StoredPoints(opened.store.count(), _list_ids(opened))
        if counts.points != len(counts.ids):
            yield Check(
                "store",
                "problem",
                f"counts {counts.points} points and lists {len(counts.ids)}",
                f"restore a backup, or delete {path} and ingest again",
            )
        else:
            yield Check("store", "ok", f"opens; {counts.points} points")
        with opened.lock_for_writing():
            yield _check_catalog(opened.index_dir, counts, repair=repair)
            yield _check_thumbnails(opened.thumbnail_dir, counts, repair=repair)


def _list_ids(collection: OpenCollection) -> set[str]:
    ids: set[str] = set()
    after = None
    while True:
        records, after = collection.store.scroll(limit=PAGE_SIZE, after=after)
        ids.update(record.id for record in records)
        if after is None:
            return ids


def _check_catalog(path: Path, counts: _StoredPoints, *, repair: bool) -> Check:
    """Content that the catalog lists and the store lost would never be ingested again."""
    from indexer.errors import CollectionError
    from indexer.ingest.catalog import Catalog

    file = path / "catalogue.db"
    if not file.exists():
        return Check("catalogue", "note", "is missing; the next ingest creates it")
    try:
        with closing(Catalog(file)) as catalog:
            cataloged = catalog.count_points()
    except CollectionError as error:
        return (
            _delete_catalog(file)
            if repair
            else Check("catalogue", "problem", str(error), REPAIR_ADVICE)
        )
    if cataloged == counts.points:
        return Check("catalogue", "ok", f"agrees with the store: {cataloged} points")
    if repair:
        return _delete_catalog(file)
    detail = f"lists {cataloged} points, and the store has {counts.points}"
    return Check("catalogue", "problem", detail, REPAIR_ADVICE)


REPAIR_ADVICE = "indexer doctor --repair, then indexer ingest FOLDER (nothing is embedded twice)"


def _delete_catalog(file: Path) -> Check:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    return Check(
        "catalogue", "note", "did not match the store, and was deleted", "indexer ingest FOLDER"
    )


def _check_thumbnails(thumbs: Path, counts: _StoredPoints, *, repair: bool) -> Check:
    orphans = [file for file in thumbs.glob("*/*.jpg") if file.stem not in counts.ids]
    if not orphans:
        return Check("thumbnails", "ok", "all belong to a point")
    if repair:
        for file in orphans:
            file.unlink(missing_ok=True)
        return Check("thumbnails", "note", f"{len(orphans)} of points that are gone were deleted")
    return Check(
        "thumbnails", "note", f"{len(orphans)} of points that are gone", "indexer doctor --repair"
    )


def _check_model(config: Config) -> Iterator[Check]:
    """Load the model, embed a word, and compare its fingerprint with the collection's."""
    import embedder

    backend, collection = open_backend(config), config.collection
    made_with = backend.get_indexes(collection).in_use.card if backend.exists(collection) else None
    name = config.model or (made_with.name if made_with else embedder.DEFAULT_MODEL)
    model = embedder.load(name, make_settings(config, made_with))
    rows = model.embed([embedder.Input(text="a red bicycle")], "query")
    if made_with is not None and model.card.fingerprint != made_with.fingerprint:
        yield Check(
            "model",
            "problem",
            f"{name} is not what the collection was made with "
            f"({model.card.fingerprint[:12]}, not {made_with.fingerprint[:12]})",
            f"indexer reindex --model {name} --collection {config.collection}",
        )
        return
    yield Check("model", "ok", f"{name} loads and embeds to {rows.shape[1]} dimensions")
