"""From a path to what can be embedded: read, identify, decode, thumbnail. Runs in threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.types import Input
from indexer.catalogue import Catalogue
from indexer.decode import Limits, decode, frames
from indexer.documents import passages
from indexer.files import Content, File, Todo
from indexer.identity import content_hash, point_ids
from indexer.payload import document_facts, picture_facts
from indexer.skips import Undecodable
from indexer.sources import Sources
from indexer.thumbnails import thumbnail_path, write_thumbnail
from indexer.timing import Stages
from indexer.types import Skip
from indexer.walk import printable

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file whose content is identified and, where it is new, ready to be embedded."""

    todo: Todo
    file: File
    new: Content | None = None  # None: the content is known already
    pictures: tuple[Image, ...] = ()
    written: bool = False  # a worker of this run has put its points in the store

    @property
    def ids(self) -> list[str]:
        return point_ids(self.file.content, self.new.passages if self.new else 0)

    @property
    def input(self) -> Input:
        """What a picture's vector is made from."""
        return Input(images=self.pictures)


@dataclass(slots=True)
class Preparer:
    """Prepares files; each new content is decoded once, however many copies come by."""

    catalogue: Catalogue
    sources: Sources
    limits: Limits
    side: int  # the model has no use for a shorter side longer than this
    thumbs: Path | None  # None: a dry run, nothing is written
    animated: bool
    stages: Stages
    _claimed: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, todo: Todo) -> Prepared | Skip:
        """Never raises for what a file holds: a bad one is a `Skip` with its reason."""
        try:
            return self._prepare(todo)
        except Undecodable as error:
            return Skip(printable(todo.path), error.reason, error.detail)

    def prepare_again(self, known: Prepared) -> Prepared | Skip:
        """For a copy whose first sibling came to nothing after all."""
        self._release(known.file.content)
        return self.prepare(known.todo)

    def _prepare(self, todo: Todo) -> Prepared:
        with self.stages("read"):
            data = self.sources.read(todo.path, self.limits)
            content = content_hash(data)
        described = self.sources.captions_for(todo.path)
        file = File(todo.path, todo.size, todo.mtime_ns, described.stamp, content, described)
        if not self._claim(content):
            return Prepared(todo, file)
        try:
            return (
                self._picture(todo, file, data)
                if todo.kind == "image"
                else self._document(todo, file, data)
            )
        except Undecodable:
            self._release(content)
            raise

    def _claim(self, content: str) -> bool:
        """Whether this content is new, and ours to decode."""
        with self._lock:
            if content in self._claimed or self.catalogue.content(content):
                return False
            self._claimed.add(content)
            return True

    def _release(self, content: str) -> None:
        with self._lock:
            self._claimed.discard(content)

    def _picture(self, todo: Todo, file: File, data: bytes) -> Prepared:
        with self.stages("decode"):
            picture = decode(data, side=self.side, limits=self.limits)
            facts = picture_facts(picture, file.content, len(data))
            pictures: tuple[Image, ...] = (picture.image,)
            if self.animated and picture.frames > 1:
                later = frames(data, MOST_FRAMES - 1, side=self.side, limits=self.limits)
                pictures = (picture.image, *later)
        prepared = Prepared(todo, file, Content(file.content, 0, [facts]), pictures)
        if self.thumbs and not thumbnail_path(self.thumbs, prepared.ids[0]).exists():
            with self.stages("thumbnail"):
                write_thumbnail(self.thumbs, prepared.ids[0], picture.image)
        return prepared

    def _document(self, todo: Todo, file: File, data: bytes) -> Prepared:
        with self.stages("decode"):
            texts = passages(data)
            facts = document_facts(texts, file.path, file.content, len(data))
        return Prepared(todo, file, Content(file.content, len(texts), facts))


def prepare_ahead(
    todo: Iterable[Todo], prepare: Callable[[Todo], Prepared | Skip], *, workers: int, ahead: int
) -> Iterator[Prepared | Skip]:
    """Prepare in threads, in order, at most `ahead` items before the caller."""
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[Future[Prepared | Skip]] = deque()
        try:
            for item in todo:
                waiting.append(pool.submit(prepare, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
