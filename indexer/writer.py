"""Writes batches: embed what is new, tell the store, and only then keep it in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from embedder import Embedder, Input
from indexer.batching import EmbedFailedError, embed_each, mean_vector
from indexer.bm25 import document_vector
from indexer.captions import Described
from indexer.catalogue import Catalogue
from indexer.changes import Change, Work, record, work
from indexer.collection import Collection
from indexer.files import HEARD_OF, File
from indexer.payload import words
from indexer.prepare import Prepared
from indexer.schema import BM25, IMAGE, TEXT
from indexer.sources import continues, holder
from indexer.thumbnails import thumbnail_path
from indexer.timing import Stages
from indexer.types import Caption, Record, Skip, Vector
from indexer.walk import printable

UPSERT = 256  # points a message


@dataclass(slots=True)
class Writer:
    """The only one who changes the collection. Raises `StoreError`; what came before is kept."""

    collection: Collection
    catalogue: Catalogue
    embedder: Callable[[], Embedder]  # called only where something must be embedded
    stages: Stages
    skip: Callable[[Skip], None] = lambda _: None
    roots: Sequence[str] = ()  # of this run
    size: int = 32  # inputs a call of the model
    dry_run: bool = False

    def write(self, batch: Sequence[Prepared]) -> list[Prepared]:
        """Acknowledged by the store before the catalogue keeps it: a crash loses this batch.

        Returns what must be prepared again: copies whose first sibling came to nothing, and what a
        worker has found in the store that is not there any more.
        """
        changes, orphans = record(self.catalogue, batch)
        shared = self.collection.shared
        self._adopt([change for change in changes if shared or not change.before])
        for change in [change for change in changes if change.is_bereft]:
            orphans += change.prepared
            changes.remove(change)
            self._forget(change)
        self._apply(changes)
        for change in changes:
            if change.prepared and not change.failed:
                self.catalogue.count(change.content.content, change.kind())
        self._commit()
        return orphans

    def insert(self, batch: Sequence[Prepared]) -> None:
        """Write contents that the store does not have; nothing is looked up or committed."""
        changes, _ = record(self.catalogue, batch)
        self._apply(changes)

    def remove(self, paths: Iterable[str]) -> int:
        """Forget `paths`; contents that lie nowhere else leave the store. Returns how many."""
        removed = 0
        for path in paths:
            file = self.catalogue.file(path)
            content = self.catalogue.content(file.content) if file else None
            if not file or not content:
                continue
            change = Change(content, self.catalogue.paths_of(file.content))
            self.catalogue.drop_file(path)
            change.after = self.catalogue.paths_of(file.content)
            if self.collection.shared:
                self._adopt([change])
            removed += not change.after
            self._apply([change])
        self._commit()
        return removed

    def _commit(self) -> None:
        if not self.dry_run:
            self.catalogue.commit()

    def _apply(self, changes: Sequence[Change]) -> None:
        gone = [change for change in changes if not change.after]
        todo = [item for change in changes if change.after for item in work(change)]
        if not self.dry_run:
            self._store(todo)
        self._delete(gone)

    def _adopt(self, changes: Sequence[Change]) -> None:
        """What the store knows and the catalogue does not: after a crash, or of other machines."""
        ids = {id: change for change in changes for id in change.ids}
        if not ids:
            return
        with self.stages("upsert"):
            known = self.collection.store.retrieve(list(ids))
        for found in known:
            ids[found.id].stored[found.id] = found
        for change in changes:
            if change.stored:
                self._keep_other_paths(change)

    def _keep_other_paths(self, change: Change) -> None:
        """Paths outside this run's roots stay with the point, with what was said of them there;
        those that were only heard of go when the point no longer has them."""
        payload = next(iter(change.stored.values())).payload
        for file in change.after:
            if file.size == HEARD_OF and printable(file.path) not in payload["paths"]:
                self.catalogue.drop_file(file.path)
        here = {printable(file.path) for file in (*change.before, *change.after)}
        said = tuple(Caption(**c) for c in payload["captions"] if c["source"] != "embedded")
        described = Described(said, tuple(payload["tags"]), payload["meta"], "")
        roots = [printable(root) for root in self.roots]
        for path in payload["paths"]:
            if path not in here and not any(_seen(path, root) for root in roots):
                content = change.content.content
                self.catalogue.put_file(File(path, HEARD_OF, -1, "", content, described))
        change.after = self.catalogue.paths_of(change.content.content)

    def _store(self, todo: Sequence[Work]) -> None:
        vectors = self._vectors(todo)
        done = [item for item in todo if not item.change.failed]
        kept = self._image_vectors([item.id for item in done if item.speechless])
        for id, image in kept.items():
            vectors[id][IMAGE] = image
        whole = [_record(i, vectors[i.id]) for i in done if i.whole or i.speechless]
        parts = [_record(i, vectors[i.id]) for i in done if not (i.whole or i.speechless)]
        with self.stages("upsert"):
            for start in range(0, len(whole), UPSERT):
                self.collection.store.upsert(whole[start : start + UPSERT])
            for start in range(0, len(parts), UPSERT):
                self.collection.store.patch(parts[start : start + UPSERT])

    def _image_vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """What must be kept of points that are written anew without their text vector."""
        records = self.collection.store.retrieve(ids, vectors=True) if ids else []
        return {record.id: np.asarray(record.vectors[IMAGE]) for record in records}

    def _vectors(self, todo: Sequence[Work]) -> dict[str, dict[str, Vector]]:
        """The dense vectors of each point, by its id; a change that fails is given up."""
        asked: list[tuple[Work, str, Input]] = []
        for item in todo:
            picture = item.change.picture
            if item.whole and picture:
                asked.append((item, IMAGE, picture.input))
            asked += [(item, TEXT, Input(text=text)) for text in item.texts]
        with self.stages("embed"):
            outputs = self._embed(asked)
        made: dict[str, dict[str, list[Vector]]] = {item.id: {} for item in todo}
        for (item, name, _), output in zip(asked, outputs, strict=True):
            if isinstance(output, EmbedFailedError):
                self._give_up(item.change, str(output))
            else:
                made[item.id].setdefault(name, []).append(output)
        return {id: {n: mean_vector(v) for n, v in named.items()} for id, named in made.items()}

    def _embed(self, asked: Sequence[tuple[Work, str, Input]]) -> list[Vector | EmbedFailedError]:
        """Pictures and texts apart: a batch of one kind wastes nothing on padding."""
        outputs: dict[int, Vector | EmbedFailedError] = {}
        for kind in (IMAGE, TEXT):
            places = [i for i, (_, name, _) in enumerate(asked) if name == kind]
            if not places:
                continue
            made = embed_each(self.embedder(), [asked[i][2] for i in places], self.size)
            outputs.update(zip(places, made, strict=True))
        return [outputs[i] for i in range(len(asked))]

    def _give_up(self, change: Change, why: str) -> None:
        """Leave the change as it was before: a later run tries again."""
        if change.failed:
            return
        change.failed = True
        for item in change.prepared:
            self.skip(Skip(printable(item.file.path), "embed-failed", why))
        self._forget(change)

    def _forget(self, change: Change) -> None:
        """Put the catalogue back to what it said before the change."""
        for item in change.prepared:
            self.catalogue.drop_file(item.file.path)
        for file in change.before:
            self.catalogue.put_file(file)
        if not change.before:
            self.catalogue.drop_content(change.content.content)

    def _delete(self, changes: Sequence[Change]) -> None:
        ids = [id for change in changes for id in change.ids]
        for change in changes:
            self.catalogue.drop_content(change.content.content)
        if ids and not self.dry_run:
            with self.stages("upsert"):
                self.collection.store.delete(ids)
            for id in ids:
                thumbnail_path(self.collection.thumbs, id).unlink(missing_ok=True)


def _seen(path: str, root: str) -> bool:
    """Whether a run over `root` sees `path`; what is within an archive, one over that sees."""
    return continues(path, root) and holder(path) in {None, root}


def _record(item: Work, dense: dict[str, Vector]) -> Record:
    spoken = words(item.payload) if item.speechless else item.words
    sparse = {} if spoken is None else {BM25: document_vector(spoken)}
    return Record(item.id, {**dense, **sparse}, item.payload)
