"""From a path to what can be embedded: read, identify, decode, thumbnail. Runs in threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.images.decode import DecodeLimits, decode_frames, decode_image
from embedder.types import Input
from indexer.ids import hash_content, make_point_ids
from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import CatalogContent, CatalogFile, PendingFile
from indexer.ingest.chunking import chunk_document
from indexer.ingest.payload import chunk_payloads, image_payload
from indexer.ingest.thumbnails import thumbnail_path, write_thumbnail
from indexer.ingest.timing import StageTimer
from indexer.paths import display_path
from indexer.skip_reasons import UnusableFileError
from indexer.sources import SourceSet
from indexer.types import SkippedFile

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FRAMES = 4


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """A file whose content is identified and, where it is new, ready to be embedded."""

    pending: PendingFile
    file: CatalogFile
    new_content: CatalogContent | None = None  # None: the content is known already
    images: tuple[Image, ...] = ()
    written_by_worker: bool = False  # a worker of this run has put its points in the store

    @property
    def point_ids(self) -> list[str]:
        return make_point_ids(
            self.file.content_id, self.new_content.num_chunks if self.new_content else 0
        )

    @property
    def input(self) -> Input:
        """What a picture's vector is made from."""
        return Input(images=self.images)


@dataclass(slots=True)
class DecodeStage:
    """Prepares files; each new content is decoded once, however many copies come by."""

    catalogue: Catalog
    sources: SourceSet
    limits: DecodeLimits
    image_side: int  # the model has no use for a shorter side longer than this
    thumbnails_dir: Path | None  # None: a dry run, nothing is written
    embed_frames: bool
    timer: StageTimer
    _claimed: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decode(self, todo: PendingFile) -> DecodedFile | SkippedFile:
        """Never raises for what a file holds: a bad one is a `Skip` with its reason."""
        try:
            return self._decode(todo)
        except UnusableFileError as error:
            return SkippedFile(display_path(todo.path), error.reason, error.detail)

    def decode_again(self, known: DecodedFile) -> DecodedFile | SkippedFile:
        """For a copy whose first sibling came to nothing after all."""
        self._release(known.file.content_id)
        return self.decode(known.pending)

    def _decode(self, todo: PendingFile) -> DecodedFile:
        with self.timer("read"):
            data = self.sources.read(todo.path, self.limits)
            content = hash_content(data)
        described = self.sources.load_captions(todo.path)
        file = CatalogFile(todo.path, todo.size, todo.mtime_ns, described.stamp, content, described)
        if not self._claim(content):
            return DecodedFile(todo, file)
        try:
            return (
                self._decode_image(todo, file, data)
                if todo.kind == "image"
                else self._decode_document(todo, file, data)
            )
        except UnusableFileError:
            self._release(content)
            raise

    def _claim(self, content: str) -> bool:
        """Whether this content is new, and ours to decode."""
        with self._lock:
            if content in self._claimed or self.catalogue.get_content(content):
                return False
            self._claimed.add(content)
            return True

    def _release(self, content: str) -> None:
        with self._lock:
            self._claimed.discard(content)

    def _decode_image(self, todo: PendingFile, file: CatalogFile, data: bytes) -> DecodedFile:
        with self.timer("decode"):
            picture = decode_image(data, side=self.image_side, limits=self.limits)
            facts = image_payload(picture, file.content_id, len(data))
            pictures: tuple[Image, ...] = (picture.image,)
            if self.embed_frames and picture.frame_count > 1:
                later = decode_frames(
                    data, MAX_FRAMES - 1, side=self.image_side, limits=self.limits
                )
                pictures = (picture.image, *later)
        prepared = DecodedFile(todo, file, CatalogContent(file.content_id, 0, [facts]), pictures)
        if (
            self.thumbnails_dir
            and not thumbnail_path(self.thumbnails_dir, prepared.point_ids[0]).exists()
        ):
            with self.timer("thumbnail"):
                write_thumbnail(self.thumbnails_dir, prepared.point_ids[0], picture.image)
        return prepared

    def _decode_document(self, todo: PendingFile, file: CatalogFile, data: bytes) -> DecodedFile:
        with self.timer("decode"):
            texts = chunk_document(data)
            facts = chunk_payloads(texts, file.path, file.content_id, len(data))
        return DecodedFile(todo, file, CatalogContent(file.content_id, len(texts), facts))


def decode_ahead(
    pending: Iterable[PendingFile],
    decode: Callable[[PendingFile], DecodedFile | SkippedFile],
    *,
    threads: int,
    ahead: int,
) -> Iterator[DecodedFile | SkippedFile]:
    """Prepare in threads, in order, at most `ahead` items before the caller."""
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        waiting: deque[Future[DecodedFile | SkippedFile]] = deque()
        try:
            for item in pending:
                waiting.append(pool.submit(decode, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
