"""Finds what is damaged in a shard, and makes a new shard of the points that are sound.

The files of a damaged shard are never written to: even a sound point in it may lie where the engine
believes to have free space.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from embedder.files import make_private_dir, open_private, sync_folder, sync_tree
from indexer.errors import DamagedError, StoreBusyError, StoreError, StoreUnavailableError
from indexer.stores.base import Schema
from indexer.stores.edge.checksums import NOT_CHECKED
from indexer.stores.edge.read_only import copy_files
from indexer.stores.edge.state import LOCK_FILE, STATE_FILE, damage_message, lock_file
from indexer.stores.edge.store import EdgeStore

PAGE_POINTS = 500
MAX_FAILURES = 100  # requests of an inspection that fail: each may restart the server process
LOCK_TIMEOUT = 15.0  # seconds for which a server process may stay without a client
REBUILD_DIR = "rebuilding"


@dataclass(slots=True, kw_only=True)
class Inspection:
    """What was found in a shard: `ids` of all its points, and what is wrong with some of them."""

    count: int
    ids: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    not_checked: set[str] = field(default_factory=set)  # of an earlier version, without checksum
    filters: set[str] = field(default_factory=set)  # payload keys whose filters miss points

    @property
    def is_sound(self) -> bool:
        return not self.faults and not self.filters and self.count == len(self.ids)


def inspect(store: EdgeStore, path: Path) -> Inspection:
    """Read every point of the shard in `path`, a page at a time: 100,000 points in half a minute.

    Raises `DamagedError` where not even their ids can be read.
    """
    failures = 0

    def check(ids: Sequence[str]) -> dict[str, str]:
        nonlocal failures
        try:
            return store.check(ids)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            failures += 1
            if len(ids) == 1 or failures > MAX_FAILURES:
                return dict.fromkeys(ids, f"it cannot be read ({error})")
            half = len(ids) // 2
            return {**check(ids[:half]), **check(ids[half:])}

    try:
        found = Inspection(count=store.count())
        for page in _iter_ids(store):
            found.ids.update(page)
            faults = check(page)
            found.not_checked.update(id for id in faults if faults[id] == NOT_CHECKED)
            found.faults.update({id: f for id, f in faults.items() if f != NOT_CHECKED})
            if not found.faults.keys() & set(page):
                found.filters.update(store.check_filters(page))
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise DamagedError(damage_message(path, str(error))) from error
    return found


def rebuild(store: EdgeStore, path: Path, schema: Schema, ids: Sequence[str], aside: Path) -> None:
    """Copy the points `ids` to a new shard, which takes the place of the one in `path`; that one is
    moved to the folder `aside`. Closes `store`.

    The state file stays meanwhile: between the two moves, it shows that the shard is missing, and
    `resume_rebuild` does the second one.

    Raises `StoreBusyError` if another program has the shard open, and `StoreError`.
    """
    with _make_new_shard(path, schema) as (new_path, new):
        with closing(new), closing(store):
            for start in range(0, len(ids), PAGE_POINTS):
                new.upsert(store.retrieve(ids[start : start + PAGE_POINTS], vectors=True))
            new.flush()
        with lock_shard(path), lock_shard(new_path):
            set_shard_aside(path, aside, keep_state=True)
            _move_shard(new_path, path)


def resume_rebuild(path: Path) -> None:
    """Finish a rebuild that was killed before the new shard was in its place."""
    if (path / REBUILD_DIR / "shard").exists() and not (path / "shard").exists():
        with lock_shard(path):
            _move_shard(path / REBUILD_DIR, path)


def _move_shard(source: Path, target: Path) -> None:
    (source / "shard").replace(target / "shard")
    sync_folder(target)
    (source / STATE_FILE).replace(target / STATE_FILE)


def restore_settings(path: Path, schema: Schema, aside: Path) -> None:
    """Move a shard that cannot be opened from `path` to `aside`, and leave a copy of it with the
    settings of a new shard, which are the same for all of `schema`. The caller holds `lock_shard`.
    """
    if not (path / "shard").exists():
        return
    with _make_new_shard(path, schema) as (new_path, new):
        new.close()
        with lock_shard(new_path):
            copy = new_path / "copy"
            copy_files(path / "shard", copy)
            _copy_settings(new_path / "shard", copy)
            sync_tree(copy)
            set_shard_aside(path, aside)
            copy.replace(path / "shard")
            sync_folder(path)


def _copy_settings(source: Path, target: Path) -> None:
    (segment,) = (source / "segments").iterdir()
    shutil.copyfile(source / "edge_config.json", target / "edge_config.json")
    for own in target.glob("segments/*"):
        for file in (*segment.rglob("*.json"), *segment.glob("*.info")):
            make_private_dir((own / file.relative_to(segment)).parent)
            shutil.copyfile(file, own / file.relative_to(segment))


@contextmanager
def _make_new_shard(path: Path, schema: Schema) -> Iterator[tuple[Path, EdgeStore]]:
    """An empty shard in a temporary folder within `path`, and that folder."""
    new_path = path / REBUILD_DIR
    shutil.rmtree(new_path, ignore_errors=True)
    make_private_dir(new_path)
    try:
        with closing(EdgeStore(new_path)) as new:
            new.ensure(schema)
            yield new_path, new
    finally:
        shutil.rmtree(new_path, ignore_errors=True)


def set_shard_aside(path: Path, aside: Path, *, keep_state: bool = False) -> None:
    """Move a shard from `path` to `aside`, unless it is a copy of the one that is there already;
    the next opening creates an empty one, or with `keep_state` misses it. The caller holds
    `lock_shard`."""
    make_private_dir(aside)
    if not keep_state:  # without the counts, a missing shard is created
        with suppress(FileNotFoundError):
            (path / STATE_FILE).replace(aside / STATE_FILE)
    if (aside / "shard").exists():
        shutil.rmtree(path / "shard")
    elif (path / "shard").exists():
        (path / "shard").replace(aside / "shard")
    sync_folder(path)


@contextmanager
def lock_shard(path: Path) -> Iterator[None]:
    """Keep server processes of the shard in `path` from starting; wait for one that is ending.

    Raises `StoreBusyError` if one goes on, for another program.
    """
    with open_private(path / LOCK_FILE, "a+b") as file:
        if not lock_file(file, seconds=LOCK_TIMEOUT):
            raise StoreBusyError(
                f"another program has {path} open: close the app, searches and exports, "
                "then run the command again"
            )
        yield


def _iter_ids(store: EdgeStore) -> Iterator[list[str]]:
    after: str | None = None
    while True:
        page, after = store.list_ids(PAGE_POINTS, after)
        if page:
            yield page
        if after is None:
            return
