"""Measures what the noun bank, and the collection's own images, find in a collection at best.

Where the calibration sample is the whole collection, it takes some milliseconds from the sample.
A larger collection is asked: at the end of an ingest, and in the background of a process that
searches it for longer than a moment, between its searches. The scores are kept in the index's
local folder, and are measured again after a tenth of the points has changed. Until then `strength`
has nothing to compare with, and makes no claim.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from embedder import Embedder, EmbedderError
from embedder.files import PRIVATE, make_private_dir, replace_file
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import IMAGE
from indexer.errors import IndexerError
from indexer.search.calibration import MAX_GROWTH, SAMPLE_SIZE, CalibrationSample
from indexer.search.noun_bank import compute_noun_vectors, load_noun_vectors
from indexer.search.strength import ReferenceScores
from indexer.stores.base import Store

SCORES_FILE = "reference_scores.npz"
NOUN_PREFIX = "nouns_"  # of a channel, in the file
MIN_NOUNS = 200  # that are asked, whatever the time
BUDGET_SECONDS = 30.0
NOUNS_AT_A_TIME = 8  # or as few as a request of `REQUEST_SECONDS` takes
REQUEST_SECONDS = 0.01  # a search that has just begun waits for no more
MAX_IMAGES = 200  # of the collection, as queries
DELAY_SECONDS = 3.0  # before the background starts: a command that searches once has ended
QUIET_SECONDS = 0.1  # without a new search before the next request
MOST_QUIET_SECONDS = 1.0  # waited for that, so that constant searches do not put it off for ever

Array = NDArray[np.float64]
log = logging.getLogger(__name__)


def is_valid(scores: ReferenceScores, points: int) -> bool:
    """Whether they still hold in a collection of `points` points."""
    most = MAX_GROWTH * scores.points
    return abs(points - scores.points) <= most and scores.changes <= most


def score_sample(sample: CalibrationSample, nouns: NDArray[np.float32]) -> ReferenceScores:
    """Measure in a sample that is the whole collection; `nouns` are their vectors (n, dim)."""
    best = {
        channel: (nouns @ vectors[sample.present[channel]].T).max(axis=1)
        for channel, vectors in sample.vectors.items()
        if sample.present[channel].any()
    }
    images = sample.vectors[IMAGE][sample.present[IMAGE]]
    queries = images[:MAX_IMAGES]
    cosines = queries @ images.T  # (q, m)
    np.fill_diagonal(cosines, -1.0)
    others = cosines.max(axis=1) if len(images) > 1 else np.empty(0)
    return ReferenceScores(best, others, sample.points)


def score_store(
    store: Store,
    channels: Sequence[str],
    nouns: NDArray[np.float32],
    images: NDArray[np.float32],
    *,
    pause: Callable[[float], bool],
    budget: float = BUDGET_SECONDS,
) -> ReferenceScores | None:
    """Measure in a store, by its index, until the budget is spent or all queries are asked.

    Args:
        store: It is asked for the best point of each noun and channel.
        channels: Its dense vectors.
        nouns: Their vectors, (n, dim); they are asked in a random order.
        images: Vectors (m, dim) of points of the store.
        pause: Called with the seconds that the last request took; True ends the work.
        budget: Seconds, without the pauses; at least `MIN_NOUNS` nouns are asked.

    Returns:
        The scores; None where `pause` ended the work. Raises `StoreError`.
    """
    from qdrant_client import models

    def ask(queries: NDArray[np.float32], channel: str, place: int) -> list[float]:
        """The score at `place` of each query's hits."""
        requests = [
            models.QueryRequest(query=query.tolist(), using=channel, limit=place + 1)
            for query in queries
        ]
        found = store.query_batch(requests)
        return [points[place].score if len(points) > place else np.nan for points in found]

    points, spent, start, size = store.count(), 0.0, 0, NOUNS_AT_A_TIME
    order = np.random.default_rng(0).permutation(len(nouns))
    best: dict[str, list[float]] = {channel: [] for channel in channels}
    others: list[float] = []
    while start < len(nouns) and (spent <= budget or start < MIN_NOUNS):
        rows, slowest = slice(start, start + size), 0.0
        steps = [(nouns[order[rows]], channel, 0, best[channel]) for channel in channels]
        for queries, channel, place, known in [*steps, (images[rows], IMAGE, 1, others)]:
            began = time.perf_counter()
            known.extend(ask(queries, channel, place))
            took = time.perf_counter() - began
            spent, slowest = spent + took, max(slowest, took)
            if pause(took):
                return None
        start += size
        size = max(1, min(NOUNS_AT_A_TIME, int(size * REQUEST_SECONDS / slowest)))
    nouns_best = {channel: np.array(scores) for channel, scores in best.items()}
    return ReferenceScores(nouns_best, np.array(others), points)


class ReferenceScorer:
    """Has the reference scores of a collection, as far as they are known. Thread-safe.

    Args:
        collection: The open collection.
        embedder: Loads its model, for nouns whose vectors are not known on this machine yet.
    """

    def __init__(self, collection: OpenCollection, embedder: Callable[[], Embedder]) -> None:
        self._collection, self._embedder = collection, embedder
        self._file = collection.index_dir / SCORES_FILE
        self._sample: CalibrationSample | None = None  # that `_scores` were last looked up for
        self._scores: ReferenceScores | None = None
        self._thread: threading.Thread | None = None
        self._searched_at = float("-inf")  # time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, sample: CalibrationSample, *, has_model: bool) -> ReferenceScores | None:
        """Return the scores for a search that begins; None while they are not known.

        Never waits for them. The background asks nothing for a moment.

        Args:
            sample: The calibration sample of the collection.
            has_model: Whether the query needs the model. It is not loaded for the nouns alone.
        """
        with self._lock:
            self._searched_at = time.monotonic()
            if self._sample is not sample:
                self._scores = self._look_up(sample, has_model) or self._scores
            return self._scores

    def update(self, changes: int = 0) -> None:
        """Measure now, if the scores are missing or no longer valid; raises what the model raises.

        Args:
            changes: The points that the caller has added, changed or removed.
        """
        nouns = compute_noun_vectors(self._collection.card, self._embedder)
        points = self._collection.store.count()
        if points <= SAMPLE_SIZE:  # a search measures in its sample
            return
        known = self._read()
        known = known and replace(known, changes=known.changes + changes)
        if known is None or not is_valid(known, points):
            known = self._measure(nouns, lambda _: False)
        if known:
            self._write(known)

    def _look_up(self, sample: CalibrationSample, has_model: bool) -> ReferenceScores | None:
        is_complete = sample.points <= SAMPLE_SIZE
        nouns = load_noun_vectors(self._collection.card)
        if nouns is None and not has_model:
            return None
        self._sample = sample
        if is_complete and nouns is not None:
            return score_sample(sample, nouns)
        known = None if is_complete else self._read()
        if known is None or not is_valid(known, sample.points):
            self._start()
        return known

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, daemon=True, name="reference-scores")
            self._thread.start()

    def _run(self) -> None:
        if self._collection.closed.wait(DELAY_SECONDS):
            return
        try:
            nouns = compute_noun_vectors(self._collection.card, self._embedder)
            if self._collection.store.count() > SAMPLE_SIZE:
                scores = self._measure(nouns, self._pause)
                if scores:
                    self._write(scores)
        except (EmbedderError, IndexerError) as error:
            log.warning("the strength of matches stays unknown: %s", error)
        with self._lock:
            self._sample = None  # the next search looks the scores up again

    def _pause(self, seconds: float) -> bool:
        """Wait for that time and until no search has begun for a moment; True once closed."""
        closed, latest = self._collection.closed, time.monotonic() + seconds + MOST_QUIET_SECONDS
        while seconds > 0 and not closed.wait(seconds):
            seconds = min(self._searched_at + QUIET_SECONDS, latest) - time.monotonic()
        return closed.is_set()

    def _measure(
        self, nouns: NDArray[np.float32], pause: Callable[[float], bool]
    ) -> ReferenceScores | None:
        from qdrant_client import models

        store = self._collection.store
        request = models.QueryRequest(
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            limit=MAX_IMAGES,
            with_vector=[IMAGE],
        )
        drawn = store.query_batch([request])[0]
        rows = [point.vectors[IMAGE] for point in drawn if IMAGE in point.vectors]
        images = np.array(rows, dtype=np.float32).reshape(-1, self._collection.card.dim)
        return score_store(store, self._channels, nouns, images, pause=pause)

    @property
    def _channels(self) -> list[str]:
        return [name for name, _ in self._collection.active_index.schema.dense]

    def _read(self) -> ReferenceScores | None:
        """The scores that were measured before; None if there are none that are usable."""
        try:
            with np.load(self._file, allow_pickle=False) as arrays:
                if str(arrays["model"]) != self._collection.card.fingerprint:
                    return None
                names = {name for name in arrays if name.startswith(NOUN_PREFIX)}
                if names != {NOUN_PREFIX + channel for channel in self._channels}:
                    return None  # names were turned on or off since then
                return ReferenceScores(
                    {name.removeprefix(NOUN_PREFIX): arrays[name] for name in names},
                    arrays["images"],
                    int(arrays["points"]),
                    int(arrays["changes"]),
                )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def _write(self, scores: ReferenceScores) -> None:
        """Replace the file atomically; if that fails, the next process measures its own."""
        with suppress(OSError):
            make_private_dir(self._file.parent)
            with replace_file(self._file, mode=PRIVATE) as file:
                np.savez(
                    file,
                    allow_pickle=False,
                    model=np.array(self._collection.card.fingerprint),
                    images=scores.images,
                    points=scores.points,
                    changes=scores.changes,
                    **{NOUN_PREFIX + name: best for name, best in scores.nouns.items()},
                )
