"""What a batch of prepared files means for the collection's points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from indexer.ids import make_point_ids
from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import CatalogContent, CatalogFile
from indexer.ingest.decode_stage import DecodedFile
from indexer.ingest.payload import build_payload, keyword_text, texts_to_embed
from indexer.types import Payload, Record

ChangeKind = Literal["added", "updated", "moved", "unchanged", "superseded"]


@dataclass(slots=True)
class ContentChange:
    """One content whose files are no longer what they were."""

    content: CatalogContent
    before: list[CatalogFile]
    decoded: list[DecodedFile] = field(default_factory=list)
    moved: bool = False  # an old path is gone, and a new one is here
    replaces: bool = False  # a path of it held something else before
    stored: dict[str, Record] = field(default_factory=dict)  # found in the store, not catalogued
    after: list[CatalogFile] = field(default_factory=list)
    failed: bool = False  # could not be embedded

    @property
    def ids(self) -> list[str]:
        return make_point_ids(self.content.id, self.content.num_chunks)

    @property
    def is_new(self) -> bool:
        """Nothing of it is in the store yet."""
        return not self.before and not self.stored

    @property
    def needs_decode(self) -> bool:
        """A picture that is to be written whole, and was not decoded here."""
        known = any(item.new_content and not item.images for item in self.decoded)
        return self.is_new and not self.content.num_chunks and not self.decoded_image and known

    @property
    def written_by_worker(self) -> bool:
        """A worker of this run has put its points in the store."""
        return any(item.written_by_worker for item in self.decoded)

    @property
    def written_by_other_worker(self) -> bool:
        """A worker has written what was in the store, and catalogued, already: a copy's worker, who
        looked before and wrote after. What the point says of its other files is lost."""
        return bool(self.before) and self.written_by_worker

    @property
    def decoded_image(self) -> DecodedFile | None:
        """The decoded picture, where this run has decoded it."""
        return next((p for p in self.decoded if p.images), None)

    def old_payloads(self) -> list[Payload]:
        if self.before:
            return [build_payload(facts, self.before) for facts in self.content.base_payloads]
        return [self.stored[id].payload for id in self.ids if id in self.stored]

    def new_payloads(self) -> list[Payload]:
        return [build_payload(facts, self.after) for facts in self.content.base_payloads]

    def kind(self) -> ChangeKind:
        if not self.after:
            return "superseded"
        if self.is_new or self.written_by_worker:
            return "updated" if self.replaces else "added"
        if [_without_modified(p) for p in self.old_payloads()] == [
            _without_modified(p) for p in self.new_payloads()
        ]:
            return "unchanged"
        return "moved" if self.moved else "updated"


@dataclass(frozen=True, slots=True)
class PointWrite:
    """One point to write: `embed_picture`, and `texts` where its text vector is to be made."""

    id: str
    payload: Payload
    change: ContentChange
    is_new: bool  # a new point; otherwise payload and changed vectors only
    texts: list[str]
    keyword_text: str | None  # None: as they were
    drop_text_vector: bool = False  # its last caption is gone, and its text vector must go too


def plan_writes(change: ContentChange) -> list[PointWrite]:
    """The points of `change` that must be written, and what must be embedded for them."""
    new = change.new_payloads()
    old = change.old_payloads()
    lost = change.written_by_other_worker
    if change.is_new or len(old) != len(new):
        return [
            PointWrite(id, payload, change, True, texts_to_embed(payload), keyword_text(payload))
            for id, payload in zip(change.ids, new, strict=True)
        ]
    return [
        PointWrite(id, after, change, False, *_diff_texts(None if lost else before, after))
        for id, before, after in zip(change.ids, old, new, strict=True)
        if before != after or lost
    ]


def _diff_texts(before: Payload | None, after: Payload) -> tuple[list[str], str | None, bool]:
    """The texts and words to be made anew, and whether the last text is gone; all of it where it
    is not known what was there before."""
    if before is None:
        return texts_to_embed(after), keyword_text(after), False
    old, new = texts_to_embed(before), texts_to_embed(after)
    spoken = keyword_text(after)
    return (
        new if new != old else [],
        spoken if spoken != keyword_text(before) else None,
        bool(old) and not new,
    )


def reconcile(
    catalogue: Catalog, batch: Sequence[DecodedFile]
) -> tuple[list[ContentChange], list[DecodedFile]]:
    """Note the batch in the catalogue (not committed): the contents it changes, and the orphans.

    An orphan is a copy whose first sibling, decoded before it, came to nothing.
    """
    changes: dict[str, ContentChange] = {}
    orphans = []
    for item in batch:
        change = _get_change(catalogue, changes, item.file.content_id, item.new_content)
        if change is None:
            orphans.append(item)
            continue
        change.decoded.append(item)
        old = catalogue.get_file(item.file.path)
        if old and old.content_id != item.file.content_id:
            change.replaces = True
            _get_change(catalogue, changes, old.content_id, None)
        catalogue.put_file(item.file)
    for change in changes.values():
        _drop_moved_paths(catalogue, change)
        change.after = catalogue.find_files(change.content.id)
    return list(changes.values()), orphans


def _get_change(
    catalogue: Catalog, changes: dict[str, ContentChange], content: str, new: CatalogContent | None
) -> ContentChange | None:
    if content not in changes:
        known = catalogue.get_content(content) or new
        if known is None:
            return None
        changes[content] = ContentChange(known, catalogue.find_files(content))
        catalogue.put_content(known)
    return changes[content]


def _drop_moved_paths(catalogue: Catalog, change: ContentChange) -> None:
    """A path that is gone while its content turned up elsewhere: the file was moved."""
    arrived = {p.file.path for p in change.decoded} - {file.path for file in change.before}
    for file in change.before if arrived else ():
        if file.path not in arrived and catalogue.is_missing(file.path):
            catalogue.delete_file(file.path)
            change.moved = True


def _without_modified(payload: Payload) -> Payload:
    """A file that was only touched has not changed."""
    return {key: value for key, value in payload.items() if key != "modified"}
