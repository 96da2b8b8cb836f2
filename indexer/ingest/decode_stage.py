"""Decode stage: read a file, identify its content, decode it, write its thumbnail.

Runs in threads, a bounded number of files ahead of the stage that follows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL.Image import Image

from embedder.images.decode import decode_frames, decode_image
from indexer.captions.embedded import read_embedded_metadata
from indexer.errors import UnusableFileError
from indexer.ingest.chunking import chunk_document
from indexer.ingest.payload import chunk_payloads, image_payload
from indexer.ingest.thumbnails import (
    encode_thumbnail,
    is_thumbnail,
    thumbnail_path,
    write_thumbnail,
)
from indexer.ingest.types import (
    CatalogContent,
    CatalogFile,
    DecodedFile,
    IngestOptions,
    StageTimer,
)
from indexer.paths import display_path, hash_content, make_point_ids
from indexer.search.image_signature import SIGNATURE, compute_signature
from indexer.sources import SourceFile, SourceSet
from indexer.types import SkippedFile

MAX_FRAMES = 4


class DecodeStage:
    """Decodes files. Of several files with the same new content, the first one is decoded.

    `is_known` tells whether a content need not be decoded at all. Thread-safe.
    """

    def __init__(
        self,
        sources: SourceSet,
        options: IngestOptions,
        image_side: int,
        *,
        is_known: Callable[[str], bool] = lambda _: False,
        thumbnails_dir: Path | None = None,  # None: thumbnails are not written
        timer: StageTimer | None = None,
    ) -> None:
        self.sources = sources
        self._options, self._image_side = options, image_side
        self._is_known, self._thumbnails_dir = is_known, thumbnails_dir
        self._timer = timer or StageTimer()
        self._claimed: set[str] = set()
        self._lock = threading.Lock()

    def decode(self, pending: SourceFile, *, force: bool = False) -> DecodedFile | SkippedFile:
        """Decode one file; `force` decodes it even where its content is known.

        Never raises for what a file holds: an unusable file is a `SkippedFile` with its reason.
        """
        try:
            return self._decode(pending, force=force)
        except UnusableFileError as error:
            return SkippedFile(display_path(pending.path), error.reason, error.detail)

    def decode_ahead(
        self, pending: Iterable[SourceFile], *, threads: int, ahead: int
    ) -> Generator[DecodedFile | SkippedFile]:
        """Decode in threads, in order, at most `ahead` files before the caller asks for them."""
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            waiting: deque[Future[DecodedFile | SkippedFile]] = deque()
            try:
                for item in pending:
                    waiting.append(pool.submit(self.decode, item))
                    if len(waiting) >= ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def release(self, content_id: str) -> None:
        """Forget that a content has been decoded: it is written, or it failed."""
        with self._lock:
            self._claimed.discard(content_id)

    def _decode(self, pending: SourceFile, *, force: bool) -> DecodedFile:
        with self._timer("read"):
            data = self.sources.read(pending.path, self._options.limits)
            content_id = hash_content(data)
        captions = self.sources.load_captions(pending.path)
        file = CatalogFile(
            pending.path,
            pending.size,
            pending.mtime_ns,
            content_id,
            captions,
            pending.ctime_ns,
        )
        if not force and not self._claim(content_id):
            return DecodedFile(pending=pending, file=file)
        decode = self._decode_image if pending.kind == "image" else self._decode_document
        try:
            return decode(pending, file, data)
        except UnusableFileError:
            self.release(content_id)
            raise

    def _claim(self, content_id: str) -> bool:
        """Whether the content is new, and decoded by the caller."""
        with self._lock:
            if content_id in self._claimed or self._is_known(content_id):
                return False
            self._claimed.add(content_id)
            return True

    def _decode_image(self, pending: SourceFile, file: CatalogFile, data: bytes) -> DecodedFile:
        side, limits = self._image_side, self._options.limits
        with self._timer("decode"):
            decoded = decode_image(
                data, side=side, limits=limits, read_metadata=read_embedded_metadata
            )
            base = image_payload(decoded, file.content_id, len(data))
            base[SIGNATURE] = compute_signature(decoded.image)
            images: tuple[Image, ...] = (decoded.image,)
            if self._options.embed_frames and decoded.frame_count > 1:
                images += tuple(decode_frames(data, MAX_FRAMES - 1, side=side, limits=limits))
        (point_id,) = make_point_ids(file.content_id)
        folder = self._thumbnails_dir
        if folder and not is_thumbnail(thumbnail_path(folder, point_id)):
            with self._timer("thumbnail"):
                thumbnail = encode_thumbnail(decoded.image)
                write_thumbnail(folder, point_id, thumbnail)
        content = CatalogContent(file.content_id, 0, [base])
        return DecodedFile(
            pending=pending, file=file, new_content=content, images=images, note=decoded.note
        )

    def _decode_document(self, pending: SourceFile, file: CatalogFile, data: bytes) -> DecodedFile:
        with self._timer("decode"):
            chunks = chunk_document(data)
            base = chunk_payloads(chunks, file.path, file.content_id, len(data))
        content = CatalogContent(file.content_id, len(chunks), base)
        return DecodedFile(pending=pending, file=file, new_content=content)
