"""A worker: reads, decodes and embeds the files of one batch after another.

All that it takes and returns can be pickled.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedder import EmbedderError, Input, Role, Vectors
from indexer.collections import CollectionIndex, open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import load_model
from indexer.config import Config
from indexer.errors import IndexerError
from indexer.ingest.decode_stage import DecodeStage
from indexer.ingest.embed_stage import EmbedFailedError, embed_each, require_vector
from indexer.ingest.payload import build_payload, names_to_embed, texts_to_embed
from indexer.ingest.thumbnails import encode_thumbnail
from indexer.ingest.types import DecodedFile, IngestOptions, StageTimer
from indexer.paths import display_path
from indexer.sources import SourceFile, SourceSet
from indexer.types import Payload, SkippedFile, Vector

EMBED_BATCH = 32  # inputs per call of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What every worker of a run gets once. `config` and `roots` may hold keys: never show them."""

    config: Config
    index: CollectionIndex
    roots: tuple[str | Path, ...]  # as the user named them, absolute
    options: IngestOptions
    decode_threads: int = 1


@dataclass(frozen=True, slots=True)
class FileTask:
    """A file to decode and embed. If it still holds the content that the catalog has for it, only
    its captions have changed, and it is not decoded."""

    file: SourceFile
    known_content_id: str | None = None


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Files that a worker gets at once; `failures` counts the workers that died with them."""

    tasks: tuple[FileTask, ...]
    failures: int = 0


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a worker returns for a batch.

    Attributes:
        files: Each file with its vectors and without its images, or why it is skipped.
        thumbnails: JPEGs by content.
        caption_skips: Caption files that could not be read.
        seconds: The time that each stage took.
    """

    files: list[DecodedFile | SkippedFile]
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    caption_skips: tuple[SkippedFile, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


class Worker:
    """One process with the model and the store open. Thread-safe: with two batches at once, one is
    decoded while the other is embedded.

    Methods raise `IndexerError` for what is not the fault of a file: the run ends.
    """

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._embed_lock = threading.Lock()  # one thread embeds
        self._caption_skips: deque[SkippedFile] = deque()  # not reported yet

    def start(self) -> None:
        """Load the model and open the store: before anything else, and once."""
        job, config = self._job, self._job.config
        try:
            self._model = load_model(config, job.index.card, job.decode_threads)
        except EmbedderError as error:
            raise IndexerError(str(error)) from error
        self._collection = OpenCollection.open_index(config, open_backend(config), job.index)
        self._decode_pool = ThreadPoolExecutor(job.decode_threads, thread_name_prefix="decode")
        self._sources = SourceSet.open(job.roots, job.options, self._caption_skips.append)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """As an embedder does."""
        with self._embed_lock:
            return self._model.embed(inputs, role, instruction)

    def process(self, batch: TaskBatch) -> BatchResult:
        """Decode and embed all files of `batch`."""
        timer = StageTimer()
        decoded = list(self._decode_pool.map(lambda task: self._decode(task, timer), batch.tasks))
        with timer("thumbnail"):
            images = {
                item.file.content_id: item.images[0]
                for item in decoded
                if isinstance(item, DecodedFile) and item.images
            }
            thumbnails = dict(
                zip(images, self._decode_pool.map(encode_thumbnail, images.values()), strict=True)
            )
        files = self._embed(decoded, timer)
        skips = [self._caption_skips.popleft() for _ in range(len(self._caption_skips))]
        return BatchResult(files, thumbnails, tuple(skips), timer.seconds)

    def _decode(self, task: FileTask, timer: StageTimer) -> DecodedFile | SkippedFile:
        """Each of several copies is decoded: another may fail."""
        stage = DecodeStage(
            self._sources,
            self._job.options,
            self._model.card.image_side,
            is_known=lambda content_id: content_id == task.known_content_id,
            timer=timer,
        )
        return stage.decode(task.file)

    def _embed(
        self, items: Sequence[DecodedFile | SkippedFile], timer: StageTimer
    ) -> list[DecodedFile | SkippedFile]:
        """The files with the vectors of those whose content the store does not have."""
        decoded = [item for item in items if isinstance(item, DecodedFile) and item.new_content]
        with timer("upsert"):
            stored = self._find_stored(decoded)
        new = [item for item in decoded if item.file.content_id not in stored]
        images = {item.file.content_id: item.images for item in new if item.images}
        texts = dict.fromkeys(text for item in new for text in _list_texts(item))
        if self._job.index.names:
            texts |= dict.fromkeys(name for item in new for name in _list_names(item))
        with self._embed_lock, timer("embed"):
            image_vectors = self._embed_inputs(
                images, [Input(images=image) for image in images.values()]
            )
            text_vectors = self._embed_inputs(texts, [Input(text=text) for text in texts])
        return [
            _with_vectors(item, image_vectors, text_vectors)
            if isinstance(item, DecodedFile)
            else item
            for item in items
        ]

    def _find_stored(self, items: Iterable[DecodedFile]) -> set[str]:
        """The contents of which the store has all points."""
        point_ids = {i.file.content_id: i.new_content.point_ids for i in items if i.new_content}
        ids = [id for ids in point_ids.values() for id in ids]
        found = {record.id for record in self._collection.store.retrieve(ids)} if ids else set()
        return {content_id for content_id, ids in point_ids.items() if found.issuperset(ids)}

    def _embed_inputs(
        self, keys: Iterable[str], inputs: Sequence[Input]
    ) -> dict[str, Vector | EmbedFailedError]:
        return dict(zip(keys, embed_each(self._model, inputs, EMBED_BATCH), strict=True))


def _list_texts(item: DecodedFile) -> list[str]:
    """The texts of a file's points, as far as this file alone tells."""
    return [text for payload in _build_payloads(item) for text in texts_to_embed(payload)]


def _list_names(item: DecodedFile) -> list[str]:
    return [name for payload in _build_payloads(item) for name in names_to_embed(payload)]


def _build_payloads(item: DecodedFile) -> list[Payload]:
    bases = item.new_content.base_payloads if item.new_content else []
    return [build_payload(base, [item.file]) for base in bases]


def _with_vectors(
    item: DecodedFile,
    image_vectors: dict[str, Vector | EmbedFailedError],
    text_vectors: dict[str, Vector | EmbedFailedError],
) -> DecodedFile | SkippedFile:
    """The file without its images and with its vectors; skipped where the model failed on it."""
    texts: dict[str, Vector] = {}
    image = image_vectors.get(item.file.content_id)
    outputs = {text: text_vectors[text] for text in _list_texts(item) if text in text_vectors}
    try:
        for text, output in outputs.items():
            texts[text] = require_vector(output)
        image_vector = None if image is None else require_vector(image)
    except EmbedFailedError as error:
        return SkippedFile(display_path(item.file.path), "embed-failed", str(error))
    for name in _list_names(item):
        vector = text_vectors.get(name)
        if vector is not None and not isinstance(vector, EmbedFailedError):
            texts[name] = vector
    return replace(item, images=(), image_vector=image_vector, text_vectors=texts)
