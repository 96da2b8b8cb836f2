"""Checks what a collection in a folder has stored, and repairs it from what is sound.

A repair deletes nothing that cannot be made again: what it replaces is moved to `damaged/TIME` in
the collection's folder. Points that it had to leave out are forgotten by the catalog, so that the
next ingest reads their files again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from embedder.cli.console import pluralize
from embedder.files import PRIVATE, make_private_dir, write_file
from indexer.collections import CollectionIndex
from indexer.collections.backend import make_index_name
from indexer.collections.collection import tenant_dir
from indexer.collections.local import LocalBackend
from indexer.errors import DamagedError, StoreError
from indexer.feedback import IMAGES_FOLDER, VOTES_FILE, split_votes
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.ingest.consistency import forget_lost
from indexer.paths import hash_content
from indexer.stores.base import Store
from indexer.stores.edge.repair import (
    Inspection,
    inspect,
    lock_shard,
    rebuild,
    restore_settings,
    resume_rebuild,
    set_shard_aside,
)
from indexer.stores.edge.state import STATE_FILE, read_state
from indexer.stores.edge.store import EdgeStore

REPAIR = "indexer doctor --repair"
INGEST = "indexer ingest FOLDER"
REPAIR_ADVICE = f"{REPAIR}, then {INGEST}"
DAMAGED_DIR = "damaged"
MAX_SAMPLE = 1_000  # thumbnails that are decoded; all of them if one of these is damaged
MAX_NAMED = 3  # points named in a message

CheckState = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, its state, and the command that fixes a problem or adds an extra."""

    name: str
    state: CheckState
    detail: str
    advice: str = ""


NO_CATALOG = Check("catalog", "note", "is missing; the next ingest creates it")


class LocalInspector:
    """Checks one collection of a folder; with `repair`, it repairs what it finds.

    The caller holds the write lock of the collection.
    """

    def __init__(self, backend: LocalBackend, name: str, *, repair: bool) -> None:
        self.backend, self.path, self.repair = backend, backend.local_dir(name), repair
        self.aside = make_aside_dir(self.path)

    def run(self, index: CollectionIndex, old: CollectionIndex | None) -> Iterator[Check]:
        """The checks of the active index, of the old one, and of what belongs to the collection."""
        found = yield from self.check_points(index)
        if found is None:
            return
        with closing(self.backend.open(index)) as store:
            catalogs = list(self._check_catalogs(store, index))
        yield from catalogs
        is_complete = found.is_sound and all(check.state == "ok" for check in catalogs)
        yield self._check_thumbnails(found.ids if is_complete else None)
        yield from self._check_votes()
        if old is not None:
            yield from self._check_old(old)

    def check_points(self, index: CollectionIndex) -> Generator[Check, None, Inspection | None]:
        """Read every point; returns what was found, or None if the shard cannot be opened."""
        store, check = self._open(index)
        if check is not None:
            yield check
        if store is None:
            return None
        with closing(store):
            try:
                found = inspect(store, index.folder)
            except DamagedError as error:
                if not self.repair:
                    yield Check("store", "problem", _without_advice(error), REPAIR_ADVICE)
                    return None
                store.close()
                with lock_shard(index.folder):
                    set_shard_aside(index.folder, self._aside_of(index.folder))
                yield self._describe_move(error, "it was")
                store.ensure(index.schema)
                found = inspect(store, index.folder)
            yield from self._report_points(store, index, found)
        return found

    def _open(self, index: CollectionIndex) -> tuple[EdgeStore | None, Check | None]:
        """Open the shard; a repair sets aside what keeps it from being opened."""
        store, folder = EdgeStore(index.folder), index.folder
        check = None
        if self.repair:
            make_private_dir(folder)
            resume_rebuild(folder)
        if (folder / STATE_FILE).exists() and read_state(folder) is None:
            check = Check("store", "note", f"{STATE_FILE} was damaged, and is written again")
        aside, schema = self._aside_of(folder), index.schema
        attempts: list[tuple[str, Callable[[], None]]] = [
            ("its counts were", lambda: set_aside(folder / STATE_FILE, aside)),
            ("its settings were", lambda: restore_settings(folder, schema, aside)),
            ("it was", lambda: set_shard_aside(folder, aside)),
        ]
        while True:
            try:
                store.ensure(schema)
                return store, check
            except DamagedError as error:
                store.close()
                if not self.repair:
                    return None, Check("store", "problem", _without_advice(error), REPAIR_ADVICE)
                if not attempts:
                    raise
                what, attempt = attempts.pop(0)
                with lock_shard(folder), suppress(OSError):  # the next attempt does without it
                    attempt()
                check = self._describe_move(error, what)

    def _describe_move(self, error: DamagedError, what: str) -> Check:
        detail = f"{_without_advice(error)}; {what} moved to {self.aside}"
        return Check("store", "note", detail, INGEST)

    def _report_points(
        self, store: EdgeStore, index: CollectionIndex, found: Inspection
    ) -> Iterator[Check]:
        points = pluralize(found.count, "point")
        if found.is_sound:
            state = "readable" if found.not_checked else "as it was written"
            yield Check("store", "ok", f"opens; {points}, each {state}")
            number = pluralize(len(found.not_checked), "point")
            if found.not_checked and self.repair:
                store.add_checksums(sorted(found.not_checked))
                yield Check("checksums", "ok", f"{number} of an earlier version got one")
            elif found.not_checked:
                detail = f"{number} of an earlier version without one yet"
                yield Check("checksums", "note", detail, REPAIR)
            return
        detail = _describe(found)
        if not self.repair:
            yield Check("store", "problem", detail, REPAIR_ADVICE)
            return
        aside = self._aside_of(index.folder)
        make_private_dir(aside)
        _list_faults(store, found, aside / "points.jsonl")
        sound = sorted(found.ids - found.faults.keys())
        rebuild(store, index.folder, index.schema, sound, aside)
        yield Check(
            "store",
            "note",
            f"{detail}; a new one has the {pluralize(len(sound), 'point')} that are sound, and the "
            f"damaged one is in {aside}",
            INGEST,
        )

    def _check_catalogs(self, store: Store, index: CollectionIndex) -> Iterator[Check]:
        """Those of the collection and of its tenants."""
        tenants = [None, *sorted(folder.name for folder in (self.path / "tenants").glob("*"))]
        for tenant in tenants:
            file = tenant_dir(index.folder, tenant) / CATALOG_FILE
            if len(tenants) > 1:
                from indexer.stores.tenant import TenantStore

                view: Store = TenantStore(store, tenant)
            else:
                view = store
            if file.exists():
                yield check_catalog(file, view, self._aside_of(file.parent), repair=self.repair)
            elif tenant is None:
                yield NO_CATALOG

    def _check_thumbnails(self, ids: Collection[str] | None) -> Check:
        """Those of points that are gone, unless the next ingest brings points back (None), and
        damaged ones, which are made again."""
        files = sorted((self.path / "thumbs").glob("*/*.jpg"))
        orphans = [file for file in files if ids is not None and file.stem not in ids]
        sample = random.sample(files, min(MAX_SAMPLE, len(files)))
        damaged = [file for file in sample if not _is_image(file)]
        if damaged:
            damaged = [file for file in files if not _is_image(file)]
        if not orphans and not damaged:
            return Check("thumbnails", "ok", "all belong to a point")
        parts = [f"{len(orphans)} of points that are gone"] if orphans else []
        parts += [f"{len(damaged)} damaged"] if damaged else []
        if not self.repair:
            return Check("thumbnails", "note", ", ".join(parts), REPAIR)
        for file in {*orphans, *damaged}:
            file.unlink(missing_ok=True)
        return Check("thumbnails", "note", f"{', '.join(parts)} were deleted")

    def _check_votes(self) -> Iterator[Check]:
        for folder in (self.path, *sorted((self.path / "tenants").glob("*"))):
            good, bad = split_votes(folder)
            images = (folder / IMAGES_FOLDER).glob("*")
            changed = [f for f in images if hash_content(f.read_bytes()) != f.name.split(".")[0]]
            if not bad and not changed:
                continue
            parts = [pluralize(len(bad), "line") + f" of {folder / VOTES_FILE}"] if bad else []
            parts += [pluralize(len(changed), "image") + " of votes"] if changed else []
            detail = f"{' and '.join(parts)} cannot be read"
            if not self.repair:
                yield Check("votes", "problem", detail, REPAIR)
                continue
            for file in changed:
                set_aside(file, self._aside_of(file.parent))
            if bad:
                set_aside(folder / VOTES_FILE, self._aside_of(folder))
                write_file(
                    folder / VOTES_FILE, b"".join(line + b"\n" for line in good), mode=PRIVATE
                )
            yield Check("votes", "note", f"{detail}; they were moved to {self.aside}")

    def _check_old(self, old: CollectionIndex) -> Iterator[Check]:
        """The index that a re-index has replaced: a rollback would bring its damage back."""
        try:
            with closing(self.backend.open(old)) as store:
                assert isinstance(store, EdgeStore)
                found = inspect(store, old.folder)
            detail = "" if found.is_sound else _describe(found)
        except StoreError as error:
            detail = str(error)
        except DamagedError as error:
            detail = _without_advice(error)
        if detail:
            yield Check("old index", "problem", detail, "indexer reindex --forget")
        else:
            yield Check("old index", "ok", f"{pluralize(found.count, 'point')}, as written")

    def _aside_of(self, folder: Path) -> Path:
        """Where what lies in the collection's `folder` is moved."""
        return self.aside / folder.relative_to(self.path)


def check_catalog(
    file: Path, store: Store, aside: Path, *, repair: bool, shared: bool = False
) -> Check:
    """Compare a catalog with its store: what it lists and the store has lost would never be
    ingested again. A repair makes it forget that, and moves a damaged one to the folder `aside`."""
    points = store.count()
    try:
        with closing(Catalog(file)) as catalog:
            catalog.check_integrity()
            forget_lost(store, catalog, shared=shared)
            lost = catalog.list_lost()
            if lost and repair:
                catalog.commit()
            surplus = points - catalog.count_points()
    except DamagedError as error:
        if not repair:
            return Check("catalog", "problem", _without_advice(error), REPAIR_ADVICE)
        _replace_catalog(file, aside)
        detail = f"was damaged, and moved to {aside}; nothing is embedded twice"
        return Check("catalog", "note", detail, INGEST)
    if lost:
        detail = (
            f"lists {pluralize(len(lost), 'file')} that the store has lost, or has otherwise: "
            f"{', '.join(lost[:MAX_NAMED])}{' ...' if len(lost) > MAX_NAMED else ''}"
        )
        if not repair:
            return Check("catalog", "problem", detail, REPAIR_ADVICE)
        return Check("catalog", "note", f"{detail}; they were forgotten", INGEST)
    more = f"; {surplus} are of files that it does not list" if surplus > 0 else ""
    return Check("catalog", "ok", f"agrees with the store: {pluralize(points, 'point')}{more}")


def make_aside_dir(path: Path) -> Path:
    """The name of a new folder for what a repair of the collection in `path` replaces."""
    return path / DAMAGED_DIR / make_index_name()


def set_aside(file: Path, folder: Path) -> None:
    """Move `file`, if it exists, to `folder`."""
    if file.exists():
        make_private_dir(folder)
        file.replace(folder / file.name)


def _replace_catalog(file: Path, aside: Path) -> None:
    """Set the catalog aside; keep its sources and hosts, where they can be read."""
    roots: list[str] = []
    hosts: tuple[str, ...] = ()
    with suppress(DamagedError), closing(Catalog(file)) as catalog:
        roots = catalog.list_roots()
        hosts = catalog.list_hosts()
    for suffix in ("", "-wal", "-shm"):
        set_aside(file.with_name(file.name + suffix), aside)
    with closing(Catalog(file)) as catalog:
        for root in roots:
            catalog.add_root(root)
        catalog.add_hosts(hosts)
        catalog.commit()


def _without_advice(error: DamagedError) -> str:
    """What is damaged; what to type is the advice of the check."""
    return str(error).partition(". Type: ")[0]


def _describe(found: Inspection) -> str:
    parts = []
    if found.count != len(found.ids):
        parts.append(f"counts {pluralize(found.count, 'point')} and lists {len(found.ids)}")
    if found.faults:
        named = [f"{id}: {fault}" for id, fault in sorted(found.faults.items())[:MAX_NAMED]]
        more = "; ..." if len(found.faults) > MAX_NAMED else ""
        number = f"{len(found.faults)} of {pluralize(found.count, 'point')}"
        parts.append(f"{number} damaged ({'; '.join(named)}{more})")
    if found.filters:
        parts.append(f"filters by {', '.join(sorted(found.filters))} miss points")
    return ", ".join(parts)


def _list_faults(store: EdgeStore, found: Inspection, file: Path) -> None:
    """Write down the damaged points, with the payloads that can be read."""
    lines = []
    for id, fault in sorted(found.faults.items()):
        payload = None
        with suppress(StoreError):
            payload = next((record.payload for record in store.retrieve([id])), None)
        lines.append(json.dumps({"id": id, "fault": fault, "payload": payload}) + "\n")
    write_file(file, "".join(lines), mode=PRIVATE)


def _is_image(file: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(BytesIO(file.read_bytes())) as image:
            image.load()
    except Exception:  # whatever a damaged file causes in Pillow
        return False
    return True
