"""What a batch of prepared files means for the collection's points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from indexer.catalogue import Catalogue
from indexer.files import Content, File
from indexer.identity import point_ids
from indexer.payload import full_payload, texts_to_embed, words
from indexer.prepare import Prepared
from indexer.types import Payload, Record

Kind = Literal["added", "updated", "moved", "unchanged", "superseded"]


@dataclass(slots=True)
class Change:
    """One content whose files are no longer what they were."""

    content: Content
    before: list[File]
    prepared: list[Prepared] = field(default_factory=list)
    moved: bool = False  # an old path is gone, and a new one is here
    replaces: bool = False  # a path of it held something else before
    stored: dict[str, Record] = field(default_factory=dict)  # found in the store, not catalogued
    after: list[File] = field(default_factory=list)
    failed: bool = False  # could not be embedded

    @property
    def ids(self) -> list[str]:
        return point_ids(self.content.content, self.content.passages)

    @property
    def is_new(self) -> bool:
        """Nothing of it is in the store yet."""
        return not self.before and not self.stored

    @property
    def is_bereft(self) -> bool:
        """A picture that is to be written whole, and was not decoded here."""
        known = any(item.new and not item.pictures for item in self.prepared)
        return self.is_new and not self.content.passages and not self.picture and known

    @property
    def written(self) -> bool:
        """A worker of this run has put its points in the store."""
        return any(item.written for item in self.prepared)

    @property
    def overwritten(self) -> bool:
        """A worker has written what was in the store, and catalogued, already: a copy's worker, who
        looked before and wrote after. What the point says of its other files is lost."""
        return bool(self.before) and self.written

    @property
    def picture(self) -> Prepared | None:
        """The decoded picture, where this run has decoded it."""
        return next((p for p in self.prepared if p.pictures), None)

    def old_payloads(self) -> list[Payload]:
        if self.before:
            return [full_payload(facts, self.before) for facts in self.content.facts]
        return [self.stored[id].payload for id in self.ids if id in self.stored]

    def new_payloads(self) -> list[Payload]:
        return [full_payload(facts, self.after) for facts in self.content.facts]

    def kind(self) -> Kind:
        if not self.after:
            return "superseded"
        if self.is_new or self.written:
            return "updated" if self.replaces else "added"
        if [_visible(p) for p in self.old_payloads()] == [_visible(p) for p in self.new_payloads()]:
            return "unchanged"
        return "moved" if self.moved else "updated"


@dataclass(frozen=True, slots=True)
class Work:
    """One point to write: `embed_picture`, and `texts` where its text vector is to be made."""

    id: str
    payload: Payload
    change: Change
    whole: bool  # a new point; otherwise payload and changed vectors only
    texts: list[str]
    words: str | None  # None: as they were
    speechless: bool = False  # its last caption is gone, and its text vector must go too


def work(change: Change) -> list[Work]:
    """The points of `change` that must be written, and what must be embedded for them."""
    new = change.new_payloads()
    old = change.old_payloads()
    lost = change.overwritten
    if change.is_new or len(old) != len(new):
        return [
            Work(id, payload, change, True, texts_to_embed(payload), words(payload))
            for id, payload in zip(change.ids, new, strict=True)
        ]
    return [
        Work(id, after, change, False, *_differences(None if lost else before, after))
        for id, before, after in zip(change.ids, old, new, strict=True)
        if before != after or lost
    ]


def _differences(before: Payload | None, after: Payload) -> tuple[list[str], str | None, bool]:
    """The texts and words to be made anew, and whether the last text is gone; all of it where it
    is not known what was there before."""
    if before is None:
        return texts_to_embed(after), words(after), False
    old, new = texts_to_embed(before), texts_to_embed(after)
    spoken = words(after)
    return (
        new if new != old else [],
        spoken if spoken != words(before) else None,
        bool(old) and not new,
    )


def record(catalogue: Catalogue, batch: Sequence[Prepared]) -> tuple[list[Change], list[Prepared]]:
    """Note the batch in the catalogue (not committed): the contents it changes, and the orphans.

    An orphan is a copy whose first sibling, decoded before it, came to nothing.
    """
    changes: dict[str, Change] = {}
    orphans = []
    for item in batch:
        change = _touch(catalogue, changes, item.file.content, item.new)
        if change is None:
            orphans.append(item)
            continue
        change.prepared.append(item)
        old = catalogue.file(item.file.path)
        if old and old.content != item.file.content:
            change.replaces = True
            _touch(catalogue, changes, old.content, None)
        catalogue.put_file(item.file)
    for change in changes.values():
        _drop_gone(catalogue, change)
        change.after = catalogue.paths_of(change.content.content)
    return list(changes.values()), orphans


def _touch(
    catalogue: Catalogue, changes: dict[str, Change], content: str, new: Content | None
) -> Change | None:
    if content not in changes:
        known = catalogue.content(content) or new
        if known is None:
            return None
        changes[content] = Change(known, catalogue.paths_of(content))
        catalogue.put_content(known)
    return changes[content]


def _drop_gone(catalogue: Catalogue, change: Change) -> None:
    """A path that is gone while its content turned up elsewhere: the file was moved."""
    arrived = {p.file.path for p in change.prepared} - {file.path for file in change.before}
    for file in change.before if arrived else ():
        if file.path not in arrived and catalogue.is_gone(file.path):
            catalogue.drop_file(file.path)
            change.moved = True


def _visible(payload: Payload) -> Payload:
    """A file that was only touched has not changed."""
    return {key: value for key, value in payload.items() if key != "modified"}
