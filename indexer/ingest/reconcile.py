"""What a batch of files means for the points of a collection: an explicit table of cases.

A *content* is what a file's bytes are. Its points (one of an image, one for each chunk of a
document) carry its hash in their ids, so a renamed or copied file is the same point with another
path. `collect_changes` finds the contents that a batch touches; `ACTIONS` is the table;
`reconcile` plans what the write stage does. Nothing here changes the catalog or the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from indexer.collections.schema import ADDED, NAME, TEXT
from indexer.ingest.catalog import Catalog
from indexer.ingest.described import read_described
from indexer.ingest.payload import (
    build_payload,
    is_same_payload,
    keyword_texts,
    names_to_embed,
    texts_to_embed,
)
from indexer.ingest.tagging import keep_tags
from indexer.ingest.thumbnails import sign_thumbnail
from indexer.ingest.types import (
    NOT_READ_HERE,
    CatalogContent,
    CatalogFile,
    DecodedFile,
    PointWrite,
)
from indexer.paths import container_of, display_path, is_within
from indexer.search.image_signature import SIGNATURE
from indexer.stores.base import Store
from indexer.types import KeywordTexts, Payload, Record, Vector

Outcome = Literal["added", "updated", "moved", "unchanged", "removed"]


class Stored(Enum):
    """How many of a content's points the store has."""

    UNCHECKED = "not asked: the catalog has them, and no other machine writes"
    NONE = "none of them"
    SOME = "some of them"
    ALL = "all of them"


class Action(Enum):
    """What is done with the points of a content."""

    CREATE = "write whole points"
    ADOPT = "compare with what the store has, and write what differs"
    UPDATE = "compare with what the catalog has, and write what differs"
    DELETE = "delete the points"
    FORGET = "drop it from the catalog alone"


ACTIONS: Mapping[tuple[bool, bool, Stored], Action] = {
    # (the catalog has files with the content, it will have some, its points in the store)
    #
    # a content that this machine has not seen
    (False, True, Stored.NONE): Action.CREATE,
    # a crash came between the chunks of a document
    (False, True, Stored.SOME): Action.CREATE,
    # a crash, a lost catalog, or a point of another machine
    (False, True, Stored.ALL): Action.ADOPT,
    # a copy, a moved file, or new captions
    (True, True, Stored.UNCHECKED): Action.UPDATE,
    (True, True, Stored.ALL): Action.UPDATE,
    # another machine has deleted points
    (True, True, Stored.NONE): Action.CREATE,
    (True, True, Stored.SOME): Action.CREATE,
    # its last file is gone, or holds something else
    (True, False, Stored.UNCHECKED): Action.DELETE,
    (True, False, Stored.ALL): Action.DELETE,
    (True, False, Stored.SOME): Action.DELETE,
    # ... and another machine has deleted its points already
    (True, False, Stored.NONE): Action.FORGET,
}
"""The table of cases. A content of which there are no files before and after is not touched."""


@dataclass(slots=True, kw_only=True)
class ContentChange:
    """One content, and how its files change."""

    content: CatalogContent
    before: list[CatalogFile]
    arrived: list[DecodedFile] = field(default_factory=list)
    left: set[str] = field(default_factory=set)  # paths that no longer hold it
    moved: bool = False  # a path of it is gone, and another one is new
    replaces: bool = False  # a path of it held something else before
    replaced: list[CatalogContent] = field(default_factory=list)  # what these paths held
    stored: dict[str, Record] | None = None  # None: not asked
    payloads: dict[str, Payload] = field(default_factory=dict)  # of the points that the store has
    former: Payload | None = None  # of the point that a file was before it was edited

    @property
    def stored_state(self) -> Stored:
        if self.stored is None:
            return Stored.UNCHECKED
        if not self.stored:
            return Stored.NONE
        return Stored.ALL if len(self.stored) == len(self.content.point_ids) else Stored.SOME


@dataclass(slots=True, kw_only=True)
class ContentPlan:
    """What the write stage does for one content: first in the store, then in the catalog."""

    change: ContentChange
    action: Action
    outcome: Outcome
    writes: list[PointWrite] = field(default_factory=list)
    put_files: list[CatalogFile] = field(default_factory=list)
    delete_paths: set[str] = field(default_factory=set)
    vectors: dict[str, Mapping[str, Vector]] = field(default_factory=dict)  # by point id and name
    error: str = ""  # why the model failed on a point: nothing is done then

    @property
    def lacks_image(self) -> bool:
        """Whether an image must be embedded that has not been decoded: its file is read again."""
        return (
            self.action is Action.CREATE
            and not self.change.content.num_chunks
            and not any(write.images or write.image_vector is not None for write in self.writes)
        )


def collect_changes(
    batch: Sequence[DecodedFile], catalog: Catalog
) -> tuple[list[ContentChange], list[DecodedFile]]:
    """The contents that a batch of files touches, and the orphans among the files.

    An orphan is a copy of a file that was decoded before it and has failed since.
    """
    changes: dict[str, ContentChange] = {}
    orphans = []
    for item in batch:
        change = _get_change(changes, catalog, item.file.content_id, item.new_content)
        if change is None:
            orphans.append(item)
            continue
        change.arrived.append(item)
        old = catalog.get_file(item.file.path)
        if old and old.content_id != item.file.content_id:
            change.replaces = True
            former = _get_change(changes, catalog, old.content_id, None)
            if former is not None:
                former.left.add(old.path)
                change.replaced.append(former.content)
    for change in changes.values():
        _find_moved_paths(change, catalog)
    return list(changes.values()), orphans


def collect_removals(paths: Iterable[str], catalog: Catalog) -> list[ContentChange]:
    """The contents that lose `paths`."""
    changes: dict[str, ContentChange] = {}
    for path in paths:
        file = catalog.get_file(path)
        change = _get_change(changes, catalog, file.content_id, None) if file else None
        if change is not None:
            change.left.add(path)
    return list(changes.values())


def load_stored(
    changes: Sequence[ContentChange], store: Store, thumbnail_dir: Path, *, shared: bool
) -> None:
    """Look up, in one request, the points of the contents: what people have changed is in the
    store alone.

    Whether the store has them counts only for contents that the catalog does not have, or for all
    where other machines write to the store too (`ContentChange.stored`). Images whose signature the
    catalog lacks get that of their point, or of their thumbnail. Of two dates on which a content
    was added, the earlier one counts.
    """
    ids = [id for change in changes for id in change.content.point_ids]
    found = {record.id: record for record in store.retrieve(ids)} if ids else {}
    for change in changes:
        own = {id: found[id] for id in change.content.point_ids if id in found}
        change.payloads = {id: record.payload for id, record in own.items()}
        if shared or not change.before:
            change.stored = own
        former = [id for content in change.replaced for id in content.point_ids]
        if len(former) == len(change.content.point_ids) == 1 and former[0] in found:
            change.former = found[former[0]].payload
        _merge_dates(change)
        for id, base in zip(change.content.point_ids, change.content.base_payloads, strict=True):
            if base["kind"] != "image" or SIGNATURE in base:
                continue
            signature = change.payloads.get(id, {}).get(SIGNATURE)
            signature = signature or sign_thumbnail(thumbnail_dir, id)
            if signature:
                base[SIGNATURE] = signature


def _merge_dates(change: ContentChange) -> None:
    bases = change.content.base_payloads
    payloads = [*bases, *change.payloads.values()]
    dates = [payload[ADDED] for payload in payloads if ADDED in payload]
    for base in bases if dates else ():
        base[ADDED] = min(dates)


def reconcile(
    change: ContentChange, roots: Sequence[str] = (), *, names: bool = False
) -> ContentPlan:
    """Plan what becomes of a content.

    Args:
        change: The content, and how its files change.
        roots: Those of this run: paths under them that it has not seen are gone, paths elsewhere
            stay with the point.
        names: Whether the points have vectors of names.
    """
    kept = {file.path: file for file in change.before if file.path not in change.left}
    arrived = {item.file.path: item.file for item in change.arrived}
    foreign, forgotten = _reconcile_foreign_paths(change, {**kept, **arrived}, roots)
    after = {path: f for path, f in {**kept, **arrived}.items() if path not in forgotten}
    after |= {file.path: file for file in foreign}
    files = sorted(after.values(), key=lambda file: os.fsencode(file.path))
    action = ACTIONS[bool(change.before), bool(files), change.stored_state]
    if action is Action.CREATE and not change.arrived:
        action = Action.UPDATE  # there is no file to make the point from: the next run has one
    plan = ContentPlan(
        change=change,
        action=action,
        outcome="removed",
        put_files=[*arrived.values(), *foreign],
        delete_paths=change.left | forgotten,
    )
    new = _build_payloads(change, files) if files else []
    match action:
        case Action.CREATE:
            ids = change.content.point_ids
            plan.writes = [
                _plan_new_point(change, id, payload, names=names)
                for id, payload in zip(ids, new, strict=True)
            ]
            plan.outcome = "updated" if change.replaces or change.before else "added"
        case Action.ADOPT | Action.UPDATE:
            old = _old_payloads(change, action)
            plan.writes = _plan_updates(change, old, new, names=names)
            plan.outcome = _compare_outcome(change, old, new)
    return plan


def take_vectors(
    plans: Iterable[ContentPlan], outputs: Iterable[Mapping[str, Vector] | Exception]
) -> None:
    """Give the plans the vectors of their writes, in order (none of them in a dry run), or why
    there are none."""
    writes = ((plan, write) for plan in plans for write in plan.writes)
    for (plan, write), output in zip(writes, outputs, strict=False):
        if isinstance(output, Exception):
            plan.error = plan.error or str(output)
        else:
            plan.vectors[write.id] = output


def _get_change(
    changes: dict[str, ContentChange],
    catalog: Catalog,
    content_id: str,
    new_content: CatalogContent | None,
) -> ContentChange | None:
    if content_id not in changes:
        content = catalog.get_content(content_id) or new_content
        if content is None:
            return None
        before = catalog.find_files(content_id)
        changes[content_id] = ContentChange(content=content, before=before)
    return changes[content_id]


def _find_moved_paths(change: ContentChange, catalog: Catalog) -> None:
    """A path that is missing while its content has turned up elsewhere: the file was moved."""
    before = {file.path for file in change.before}
    arrived = {item.file.path for item in change.arrived}
    if arrived <= before:
        return
    missing = {path for path in before - arrived - change.left if catalog.is_missing(path)}
    change.left |= missing
    change.moved = bool(missing)


def _reconcile_foreign_paths(
    change: ContentChange, files: Mapping[str, CatalogFile], roots: Sequence[str]
) -> tuple[list[CatalogFile], set[str]]:
    """Paths of other machines and of other runs: those that the stored point has and the catalog
    has not, with the captions that the point has; and those that the point has no longer."""
    if not change.stored:
        return [], set()
    payload = next(iter(change.stored.values())).payload
    forgotten = {
        path
        for path, file in files.items()
        if file.size == NOT_READ_HERE and display_path(path) not in payload["paths"]
    }
    known = {display_path(path) for path in (*files, *(file.path for file in change.before))}
    described = read_described(payload)
    shown_roots = [display_path(root) for root in roots]
    foreign = [
        CatalogFile(path, NOT_READ_HERE, -1, change.content.id, described)
        for path in payload["paths"]
        if path not in known and not any(_is_scanned_from(path, root) for root in shown_roots)
    ]
    return foreign, forgotten


def _is_scanned_from(path: str, root: str) -> bool:
    """Whether a run over `root` sees `path`; a run over an archive sees what is within it."""
    return is_within(path, root) and container_of(path) in {None, root}


def _old_payloads(change: ContentChange, action: Action) -> list[Payload]:
    if action is Action.UPDATE:
        return _build_payloads(change, change.before)
    assert change.stored is not None
    return [change.stored[id].payload for id in change.content.point_ids]


def _build_payloads(change: ContentChange, files: Sequence[CatalogFile]) -> list[Payload]:
    """The payloads of the content's points when it is at `files`, with the tags of people."""
    content = change.content
    return [
        keep_tags(build_payload(base, files), change.payloads.get(id, change.former))
        for id, base in zip(content.point_ids, content.base_payloads, strict=True)
    ]


def _plan_new_point(change: ContentChange, id: str, payload: Payload, *, names: bool) -> PointWrite:
    decoded = [item for item in change.arrived if item.images]
    vectors = (item.image_vector for item in change.arrived if item.image_vector is not None)
    return PointWrite(
        id=id,
        payload=payload,
        is_new=True,
        images=decoded[0].images if decoded else (),
        image_vector=next(vectors, None),
        texts=tuple(texts_to_embed(payload)),
        names=tuple(names_to_embed(payload)) if names else (),
        text_vectors=_given_text_vectors(change),
        keyword_texts=keyword_texts(payload),
    )


def _plan_updates(
    change: ContentChange, old: Sequence[Payload], new: Sequence[Payload], *, names: bool
) -> list[PointWrite]:
    """The points whose payload has changed, with what must be embedded again."""
    writes = []
    for id, before, after in zip(change.content.point_ids, old, new, strict=True):
        if is_same_payload(before, after):
            continue
        old_texts, new_texts = texts_to_embed(before), texts_to_embed(after)
        old_names, new_names = names_to_embed(before), names_to_embed(after)
        keywords: KeywordTexts | None = keyword_texts(after)
        if keywords == keyword_texts(before):
            keywords = None
        dropped = [TEXT] if old_texts and not new_texts else []
        dropped += [NAME] if names and old_names and not new_names else []
        writes.append(
            PointWrite(
                id=id,
                payload=after,
                is_new=False,
                dropped=tuple(dropped),
                texts=tuple(new_texts) if new_texts != old_texts else (),
                names=tuple(new_names) if names and new_names != old_names else (),
                text_vectors=_given_text_vectors(change),
                keyword_texts=keywords,
            )
        )
    return writes


def _given_text_vectors(change: ContentChange) -> dict[str, Vector]:
    return {text: row for item in change.arrived for text, row in item.text_vectors.items()}


def _compare_outcome(
    change: ContentChange, old: Sequence[Payload], new: Sequence[Payload]
) -> Outcome:
    """A file that was only touched, or has got its signature or date, has not changed."""
    for before, after in zip(old, new, strict=True):
        ignored = {"modified": None, SIGNATURE: None, ADDED: None}
        if not is_same_payload({**before, **ignored}, {**after, **ignored}):
            return "moved" if change.moved else "updated"
    return "unchanged"
