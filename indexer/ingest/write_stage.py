"""Writes batches: embed what is new, tell the store, and only then keep it in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from embedder import Embedder, Input
from indexer.captions.resolver import FileCaptions
from indexer.collection import Collection
from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import NOT_READ_HERE, CatalogFile
from indexer.ingest.decode_stage import DecodedFile
from indexer.ingest.embed_stage import EmbedFailedError, embed_each, mean_vector
from indexer.ingest.payload import keyword_text
from indexer.ingest.reconcile import ContentChange, PointWrite, plan_writes, reconcile
from indexer.ingest.thumbnails import thumbnail_path
from indexer.ingest.timing import StageTimer
from indexer.paths import display_path
from indexer.schema import BM25, IMAGE, TEXT
from indexer.search.bm25 import build_document_vector
from indexer.sources import container_of, is_within
from indexer.types import Caption, Record, SkippedFile, Vector

UPSERT_BATCH = 256  # points a message


@dataclass(slots=True)
class PointWriter:
    """The only one who changes the collection. Raises `StoreError`; what came before is kept."""

    collection: Collection
    catalogue: Catalog
    embedder: Callable[[], Embedder]  # called only where something must be embedded
    timer: StageTimer
    on_skip: Callable[[SkippedFile], None] = lambda _: None
    roots: Sequence[str] = ()  # of this run
    batch_size: int = 32  # inputs a call of the model
    dry_run: bool = False

    def write(self, batch: Sequence[DecodedFile]) -> list[DecodedFile]:
        """Acknowledged by the store before the catalogue keeps it: a crash loses this batch.

        Returns what must be prepared again: copies whose first sibling came to nothing, and what a
        worker has found in the store that is not there any more.
        """
        changes, orphans = reconcile(self.catalogue, batch)
        shared = self.collection.shared
        self._load_existing([change for change in changes if shared or not change.before])
        for change in [change for change in changes if change.needs_decode]:
            orphans += change.decoded
            changes.remove(change)
            self._rollback(change)
        self._apply(changes)
        for change in changes:
            if change.decoded and not change.failed:
                self.catalogue.record_outcome(change.content.id, change.kind())
        self._commit()
        return orphans

    def insert(self, batch: Sequence[DecodedFile]) -> None:
        """Write contents that the store does not have; nothing is looked up or committed."""
        changes, _ = reconcile(self.catalogue, batch)
        self._apply(changes)

    def remove(self, paths: Iterable[str]) -> int:
        """Forget `paths`; contents that lie nowhere else leave the store. Returns how many."""
        removed = 0
        for path in paths:
            file = self.catalogue.get_file(path)
            content = self.catalogue.get_content(file.content_id) if file else None
            if not file or not content:
                continue
            change = ContentChange(content, self.catalogue.find_files(file.content_id))
            self.catalogue.delete_file(path)
            change.after = self.catalogue.find_files(file.content_id)
            if self.collection.shared:
                self._load_existing([change])
            removed += not change.after
            self._apply([change])
        self._commit()
        return removed

    def _commit(self) -> None:
        if not self.dry_run:
            self.catalogue.commit()

    def _apply(self, changes: Sequence[ContentChange]) -> None:
        gone = [change for change in changes if not change.after]
        todo = [item for change in changes if change.after for item in plan_writes(change)]
        if not self.dry_run:
            self._store(todo)
        self._delete(gone)

    def _load_existing(self, changes: Sequence[ContentChange]) -> None:
        """What the store knows and the catalogue does not: after a crash, or of other machines."""
        ids = {id: change for change in changes for id in change.ids}
        if not ids:
            return
        with self.timer("upsert"):
            known = self.collection.store.retrieve(list(ids))
        for found in known:
            ids[found.id].stored[found.id] = found
        for change in changes:
            if change.stored:
                self._load_other_paths(change)

    def _load_other_paths(self, change: ContentChange) -> None:
        """Paths outside this run's roots stay with the point, with what was said of them there;
        those that were only heard of go when the point no longer has them."""
        payload = next(iter(change.stored.values())).payload
        for file in change.after:
            if file.size == NOT_READ_HERE and display_path(file.path) not in payload["paths"]:
                self.catalogue.delete_file(file.path)
        here = {display_path(file.path) for file in (*change.before, *change.after)}
        said = tuple(Caption(**c) for c in payload["captions"] if c["source"] != "embedded")
        described = FileCaptions(said, tuple(payload["tags"]), payload["meta"], "")
        roots = [display_path(root) for root in self.roots]
        for path in payload["paths"]:
            if path not in here and not any(_is_scanned_by(path, root) for root in roots):
                content = change.content.id
                self.catalogue.put_file(
                    CatalogFile(path, NOT_READ_HERE, -1, "", content, described)
                )
        change.after = self.catalogue.find_files(change.content.id)

    def _store(self, todo: Sequence[PointWrite]) -> None:
        vectors = self._embed_vectors(todo)
        done = [item for item in todo if not item.change.failed]
        kept = self._load_image_vectors([item.id for item in done if item.drop_text_vector])
        for id, image in kept.items():
            vectors[id][IMAGE] = image
        whole = [_build_record(i, vectors[i.id]) for i in done if i.is_new or i.drop_text_vector]
        parts = [
            _build_record(i, vectors[i.id]) for i in done if not (i.is_new or i.drop_text_vector)
        ]
        with self.timer("upsert"):
            for start in range(0, len(whole), UPSERT_BATCH):
                self.collection.store.upsert(whole[start : start + UPSERT_BATCH])
            for start in range(0, len(parts), UPSERT_BATCH):
                self.collection.store.patch(parts[start : start + UPSERT_BATCH])

    def _load_image_vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """What must be kept of points that are written anew without their text vector."""
        records = self.collection.store.retrieve(ids, vectors=True) if ids else []
        return {record.id: np.asarray(record.vectors[IMAGE]) for record in records}

    def _embed_vectors(self, todo: Sequence[PointWrite]) -> dict[str, dict[str, Vector]]:
        """The dense vectors of each point, by its id; a change that fails is given up."""
        asked: list[tuple[PointWrite, str, Input]] = []
        for item in todo:
            picture = item.change.decoded_image
            if item.is_new and picture:
                asked.append((item, IMAGE, picture.input))
            asked += [(item, TEXT, Input(text=text)) for text in item.texts]
        with self.timer("embed"):
            outputs = self._embed(asked)
        made: dict[str, dict[str, list[Vector]]] = {item.id: {} for item in todo}
        for (item, name, _), output in zip(asked, outputs, strict=True):
            if isinstance(output, EmbedFailedError):
                self._fail(item.change, str(output))
            else:
                made[item.id].setdefault(name, []).append(output)
        return {id: {n: mean_vector(v) for n, v in named.items()} for id, named in made.items()}

    def _embed(
        self, asked: Sequence[tuple[PointWrite, str, Input]]
    ) -> list[Vector | EmbedFailedError]:
        """Pictures and texts apart: a batch of one kind wastes nothing on padding."""
        outputs: dict[int, Vector | EmbedFailedError] = {}
        for kind in (IMAGE, TEXT):
            places = [i for i, (_, name, _) in enumerate(asked) if name == kind]
            if not places:
                continue
            made = embed_each(self.embedder(), [asked[i][2] for i in places], self.batch_size)
            outputs.update(zip(places, made, strict=True))
        return [outputs[i] for i in range(len(asked))]

    def _fail(self, change: ContentChange, why: str) -> None:
        """Leave the change as it was before: a later run tries again."""
        if change.failed:
            return
        change.failed = True
        for item in change.decoded:
            self.on_skip(SkippedFile(display_path(item.file.path), "embed-failed", why))
        self._rollback(change)

    def _rollback(self, change: ContentChange) -> None:
        """Put the catalogue back to what it said before the change."""
        for item in change.decoded:
            self.catalogue.delete_file(item.file.path)
        for file in change.before:
            self.catalogue.put_file(file)
        if not change.before:
            self.catalogue.delete_content(change.content.id)

    def _delete(self, changes: Sequence[ContentChange]) -> None:
        ids = [id for change in changes for id in change.ids]
        for change in changes:
            self.catalogue.delete_content(change.content.id)
        if ids and not self.dry_run:
            with self.timer("upsert"):
                self.collection.store.delete(ids)
            for id in ids:
                thumbnail_path(self.collection.thumbs, id).unlink(missing_ok=True)


def _is_scanned_by(path: str, root: str) -> bool:
    """Whether a run over `root` sees `path`; what is within an archive, one over that sees."""
    return is_within(path, root) and container_of(path) in {None, root}


def _build_record(item: PointWrite, dense: dict[str, Vector]) -> Record:
    spoken = keyword_text(item.payload) if item.drop_text_vector else item.keyword_text
    sparse = {} if spoken is None else {BM25: build_document_vector(spoken)}
    return Record(item.id, {**dense, **sparse}, item.payload)
