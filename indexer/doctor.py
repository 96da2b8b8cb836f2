"""Checks for problems of the installation and the collection, and how to fix each."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embedder.cli.console import pluralize
from embedder.errors import EmbedderError
from embedder.extras import EXTRAS, find_missing_module, format_install_command
from embedder.redaction import redact_secrets
from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import make_settings
from indexer.collections.model_hosts import check_model_host
from indexer.config import Config
from indexer.errors import CollectionError, IndexerError
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.stores.base import check_disk_space, iterate_records
from indexer.stores.edge.state import SERVER_FILE, read_state

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MIN_PYTHON = (3, 11)
REPAIR_ADVICE = "indexer doctor --repair, then indexer ingest FOLDER (nothing is embedded twice)"

CheckState = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, its state, and the command that fixes a problem or adds an extra."""

    name: str
    state: CheckState
    detail: str
    advice: str = ""


NO_CATALOG = Check("catalog", "note", "is missing; the next ingest creates it")


def run_checks(config: Config, *, repair: bool = False) -> Iterator[Check]:
    """Run the checks one by one; a problem that they find is not raised.

    `repair` deletes what the next ingest rebuilds: a catalog that does not match the store, and
    thumbnails of points that are gone.
    """
    yield _check_python()
    yield _check_packages()
    yield from _check_extras()
    yield from _catch_errors("disk", lambda: _check_disk(config))
    yield from _catch_errors("privacy", lambda: _check_privacy(config))
    yield from _catch_errors("collection", lambda: _check_collection(config, repair=repair))
    yield from _catch_errors("model", lambda: _check_model(config))


def _catch_errors(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Report our own errors as problems; their messages say how to fix them."""
    try:
        yield from checks()
    except (IndexerError, EmbedderError, OSError) as error:
        yield Check(name, "problem", str(error))


def _check_python() -> Check:
    installed = platform.python_version()
    if sys.version_info >= MIN_PYTHON:
        return Check("python", "ok", installed)
    advice = f"install Python {'.'.join(map(str, MIN_PYTHON))} or later"
    return Check("python", "problem", f"{installed} is too old", advice)


def _check_packages() -> Check:
    """Compare each requirement with the installed version; those of extras only if installed."""
    problems, extras, num_ok = [], [], 0
    for requirement, extra in _list_requirements().values():
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if extra:
                continue  # `_check_extras` says so
            problems.append(f"{requirement.name} is missing")
        else:
            if requirement.specifier.contains(installed.partition("+")[0], prereleases=True):
                num_ok += 1
                continue
            problems.append(f"{requirement.name} is {installed}, not {requirement.specifier}")
        extras += [extra] if extra else []
    if problems:
        advice = format_install_command(",".join(dict.fromkeys(extras)))
        return Check("packages", "problem", "; ".join(problems), advice)
    return Check("packages", "ok", f"{num_ok} as required")


def _list_requirements() -> dict[str, tuple[Requirement, str]]:
    """The packages to have on this platform, each with the extra it is in ("" for the core)."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("polylens") or []
    except metadata.PackageNotFoundError:  # a checkout
        project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
        lines = project["project"]["dependencies"]
    found: dict[str, tuple[Requirement, str]] = {}
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        for extra in ("", *EXTRAS):
            if marker is None or marker.evaluate({"extra": extra}):
                found.setdefault(requirement.name, (requirement, extra))
    found.pop("polylens", None)  # some extras include others
    return found


def _check_extras() -> Iterator[Check]:
    for name, extra in EXTRAS.items():
        missing = find_missing_module(name)
        if missing is None:
            yield Check(f"[{name}]", "ok", f"installed; for {extra.purpose}")
        else:
            detail = f"{missing} is not installed; for {extra.purpose}"
            yield Check(f"[{name}]", "note", detail, format_install_command(name))


def _check_disk(config: Config) -> Iterator[Check]:
    folder = config.local_folder
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK):
        check_disk_space(folder)
        yield Check("disk", "ok", f"{shutil.disk_usage(folder).free / 1e9:.1f} GB free at {folder}")
    else:
        detail = f"{folder} cannot be written to"
        if open_backend(config).exists(config.collection):
            yield Check("disk", "note", f"{detail}: the collection can be searched only")
            return
        yield Check("disk", "problem", detail, "choose another with --store")


def _check_privacy(config: Config) -> Iterator[Check]:
    """New files are private; those of earlier versions, or that the user has shared, are not."""
    folder = config.local_folder / config.collection
    if not folder.exists():
        return
    mode, root = folder.stat().st_mode, config.local_folder.stat().st_mode
    for who, read, enter in (
        ("everybody on this machine", stat.S_IROTH | stat.S_IXOTH, stat.S_IXOTH),
        ("a group", stat.S_IRGRP | stat.S_IXGRP, stat.S_IXGRP),
    ):
        if mode & read and root & enter:
            detail = f"{who} can read {folder}; unless that is on purpose, take it back"
            yield Check("privacy", "note", detail, f"chmod -R go-rwx {shlex.quote(str(folder))}")
            return
    yield Check("privacy", "ok", f"only this account can read {folder}")


def _check_collection(config: Config, *, repair: bool) -> Iterator[Check]:
    backend, name = open_backend(config), config.collection
    if not backend.exists(name):
        missing = f"there is no collection {name!r} in {redact_secrets(config.store)}"
        yield Check("collection", "note", missing, "indexer ingest FOLDER")
        return
    active = backend.get_indexes(name).in_use
    yield Check("collection", "ok", f"{name}, made with {active.card.name} {active.card.revision}")
    state = None if backend.is_shared else read_state(active.folder)
    if state is not None and not state.is_clean and not (active.folder / SERVER_FILE).exists():
        yield Check("closed", "note", "was not closed properly; the store recovered")
    check_points = _check_server if backend.is_shared else _check_local_index
    with OpenCollection.open(config, active) as opened:
        yield from check_points(config, opened, repair)


def _check_server(config: Config, opened: OpenCollection, repair: bool) -> Iterator[Check]:
    """Ask a server for its count; listing millions of points would take too long."""
    points = opened.store.count()
    yield Check(
        "store", "ok", f"{redact_secrets(config.store)} answers; {pluralize(points, 'point')}"
    )
    if not (opened.index_dir / CATALOG_FILE).exists():
        yield NO_CATALOG


def _check_local_index(config: Config, opened: OpenCollection, repair: bool) -> Iterator[Check]:
    points, ids = opened.store.count(), {record.id for record in iterate_records(opened.store)}
    if points == len(ids):
        yield Check("store", "ok", f"opens; {pluralize(points, 'point')}")
    else:
        yield Check(
            "store",
            "problem",
            f"counts {pluralize(points, 'point')} and lists {len(ids)}",
            f"restore a backup, or delete {config.local_folder / config.collection} and ingest "
            "again",
        )
    with opened.lock_for_writing():
        yield _check_catalog(opened.index_dir / CATALOG_FILE, points, repair)
        yield _check_thumbnails(opened.thumbnail_dir, ids, repair)


def _check_catalog(file: Path, points: int, repair: bool) -> Check:
    """Content that the catalog lists and the store lost would never be ingested again."""
    if not file.exists():
        return NO_CATALOG
    try:
        with closing(Catalog(file)) as catalog:
            cataloged = catalog.count_points()
        if cataloged == points:
            return Check("catalog", "ok", f"agrees with the store: {pluralize(points, 'point')}")
        detail = f"lists {pluralize(cataloged, 'point')}, and the store has {points}"
    except CollectionError as error:
        detail = str(error)
    if not repair:
        return Check("catalog", "problem", detail, REPAIR_ADVICE)
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    return Check(
        "catalog", "note", "did not match the store, and was deleted", "indexer ingest FOLDER"
    )


def _check_thumbnails(folder: Path, ids: Collection[str], repair: bool) -> Check:
    orphans = [file for file in folder.glob("*/*.jpg") if file.stem not in ids]
    if not orphans:
        return Check("thumbnails", "ok", "all belong to a point")
    detail = f"{len(orphans)} of points that are gone"
    if not repair:
        return Check("thumbnails", "note", detail, "indexer doctor --repair")
    for file in orphans:
        file.unlink(missing_ok=True)
    return Check("thumbnails", "note", f"{detail} were deleted")


def _check_model(config: Config) -> Iterator[Check]:
    """Load the model, embed a word, and compare its fingerprint with the collection's."""
    import embedder

    backend, collection = open_backend(config), config.collection
    made_with = backend.get_indexes(collection).in_use.card if backend.exists(collection) else None
    if made_with and config.model is None:
        check_model_host(config, made_with.name)
    name = config.model or (made_with.name if made_with else embedder.DEFAULT_MODEL)
    model = embedder.load(name, make_settings(config, made_with))
    rows = model.embed([embedder.Input(text="a red bicycle")], "query")
    if made_with is None or model.card.fingerprint == made_with.fingerprint:
        yield Check("model", "ok", f"{name} loads and embeds to {rows.shape[1]} dimensions")
        return
    yield Check(
        "model",
        "problem",
        f"{name} is not what the collection was made with "
        f"({model.card.fingerprint[:12]}, not {made_with.fingerprint[:12]})",
        f"indexer reindex --model {name} --collection {config.collection}",
    )
