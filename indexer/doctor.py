"""Checks for problems of the installation and the collection, and how to fix each."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.cli.console import pluralize
from embedder.errors import EmbedderError
from embedder.extras import EXTRAS, find_missing_module, format_install_command
from embedder.redaction import redact_secrets
from indexer.collections import CollectionBackend, CollectionIndexes, open_backend
from indexer.collections.collection import OpenCollection, exclude_writers, lock_for_writing
from indexer.collections.local import METADATA_FILE, LocalBackend, restore_metadata
from indexer.collections.model import (
    check_model_settings,
    find_changed_model,
    make_settings,
)
from indexer.collections.model_hosts import check_model_host
from indexer.config import Config
from indexer.errors import CollectionError, DamagedError, IndexerError
from indexer.ingest.catalog import CATALOG_FILE
from indexer.integrity import (
    NO_CATALOG,
    Check,
    LocalInspector,
    check_catalog,
    make_aside_dir,
    set_aside,
)
from indexer.stores.base import Layout, check_disk_space
from indexer.stores.edge.state import SERVER_FILE, read_state
from indexer.stores.qdrant.cluster import compute_write_consistency

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MIN_PYTHON = (3, 11)


def run_checks(config: Config, *, repair: bool = False) -> Iterator[Check]:
    """Run the checks one by one; a problem that they find is not raised.

    `repair` repairs what it can; see `indexer.integrity`.
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
    if isinstance(backend, LocalBackend):
        yield from _check_metadata(backend, name, repair=repair)
    if not backend.exists(name):
        missing = f"there is no collection {name!r} in {redact_secrets(config.store)}"
        yield Check("collection", "note", missing, "indexer ingest FOLDER")
        return
    indexes = backend.get_indexes(name)
    active = indexes.in_use
    yield Check("collection", "ok", f"{name}, made with {active.card.name} {active.card.revision}")
    if active.texts.is_outdated and not find_changed_model(active.card):  # else: a reindex
        detail = "those of files are not searched, and words as in an earlier version"
        yield Check("names", "note", detail, "indexer ingest FOLDER")
    if not isinstance(backend, LocalBackend):
        with OpenCollection.open(config, active) as opened:
            yield from _check_server(config, opened, repair=repair)
        yield from _check_copies(backend, indexes, repair=repair)
        return
    state = read_state(active.folder)
    if state is not None and not state.is_clean and not (active.folder / SERVER_FILE).exists():
        yield Check("closed", "note", "was not closed properly; the store recovered")
    check_model_settings(config, active.card)
    lock = lock_for_writing if repair else exclude_writers
    with lock(backend.local_dir(name)):
        yield from LocalInspector(backend, name, repair=repair).run(active, indexes.old)


def _check_metadata(backend: LocalBackend, name: str, *, repair: bool) -> Iterator[Check]:
    """Without its collection.json, a collection is not found at all."""
    try:
        backend.get_indexes(name)
    except DamagedError:
        if not repair:
            raise
        path = backend.local_dir(name)
        aside = make_aside_dir(path)
        with lock_for_writing(path):
            set_aside(path / METADATA_FILE, aside)
            restore_metadata(path)
        yield Check("collection", "note", f"{METADATA_FILE} was restored from its copy")
    except CollectionError:  # there is none
        return


def _check_server(config: Config, opened: OpenCollection, *, repair: bool) -> Iterator[Check]:
    """Ask a server for the points that this machine's catalog lists, and no more: listing millions
    would take too long."""
    points = opened.store.count()
    yield Check(
        "store", "ok", f"{redact_secrets(config.store)} answers; {pluralize(points, 'point')}"
    )
    file = opened.index_dir / CATALOG_FILE
    if not file.exists():
        yield NO_CATALOG
        return
    with opened.lock_for_writing() if repair else opened.exclude_writers():
        aside = make_aside_dir(opened.path)
        yield check_catalog(file, opened.store, aside, repair=repair, shared=True)


def _check_copies(
    backend: CollectionBackend, indexes: CollectionIndexes, *, repair: bool
) -> Iterator[Check]:
    """Whether the loss of a node stops an ingest: earlier versions let a write need both copies."""
    if lost := backend.find_lost_nodes():
        yield Check("cluster", "problem", f"{lost}; start the missing nodes")
    parts = {"": indexes.in_use, " old": indexes.old, " unfinished": indexes.building}
    for what, index in parts.items():
        layout = backend.get_layout(index) if index else Layout()
        copies, needed = layout.replicas or 1, layout.write_consistency or 1
        wanted, of = compute_write_consistency(copies), f"of {copies} copies of the{what} index"
        if index is None or copies == 1:
            continue
        if needed <= wanted:
            yield Check("copies", "ok", f"a write needs {needed} {of}")
        elif repair:
            backend.set_write_consistency(index, wanted)
            yield Check("copies", "ok", f"a write needs {wanted} {of}, and needed {needed}")
        else:
            detail = f"a write needs {needed} {of}: a lost node stops every ingest"
            yield Check("copies", "note", detail, "indexer doctor --repair")


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
        how = model.describe_computation()
        detail = f"{name} loads and embeds to {rows.shape[1]} dimensions{how and f' ({how})'}"
        yield Check("model", "ok", detail)
        return
    yield Check(
        "model",
        "problem",
        f"{name} is not what the collection was made with "
        f"({model.card.fingerprint[:12]}, not {made_with.fingerprint[:12]})",
        f"indexer reindex --model {name} --collection {config.collection}",
    )
