"""A collection's images: their neighbors, and how well a sample's text agrees with its image.

The agreement of a text with an image is the share of the collection's images that fit the text
less well, by the collection's own embedder: 0.5 is chance, 1 the best of all. So a minimum means
the same for every text, however high or low its cosines are. The positive need not beat the hard
negative: the embedder learns most from pairs in which it prefers the negative.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedder.client.embeddings import is_utf8_encodable
from embedder.types import Embedder, Input, Vectors
from finetune.errors import FinetuneError
from finetune.synthesis.journal import JobOutcome, Sample
from finetune.synthesis.plan import (
    NEGATIVE,
    POSITIVE,
    QUERY,
    Rejected,
    SampleImage,
    SampleJob,
)
from indexer.collections.schema import IMAGE
from indexer.paths import resolve_display_path
from indexer.search.duplicates import CROP_SAMPLE, estimate_crop_cosine, group_duplicates
from indexer.search.filters import build_store_filter
from indexer.stores.base import Store, iterate_records
from indexer.types import FieldFilter

if TYPE_CHECKING:
    from indexer.types import Record

POSITIVE_NEIGHBORS = 4  # nearest neighbors that a positive is drawn from
NEGATIVE_NEIGHBORS = 12  # the next ones, that a hard negative is drawn from
MAX_NEIGHBORS = 64  # before near-duplicates are dropped
IMAGE_FILTER = {"kind": FieldFilter(("image",))}
NUM_REFERENCE_IMAGES = 1_000  # that a text is compared with
TEXT_BATCH = 64  # texts embedded at once


@dataclass(frozen=True, slots=True)
class CollectionImages:
    """The points with images; thread-safe, as its store is.

    Attributes:
        store: The collection's points.
        ids: Those with images, sorted.
        crop_cosine: See `indexer.search.duplicates.estimate_crop_cosine`.
    """

    store: Store
    ids: tuple[str, ...]
    crop_cosine: float

    @staticmethod
    def from_store(store: Store, name: str) -> CollectionImages:
        """List the images of collection `name`; raises `FinetuneError` if there are none."""
        images_only = build_store_filter(IMAGE_FILTER)
        ids = sorted(record.id for record in iterate_records(store, images_only))
        if not ids:
            raise FinetuneError(
                f"collection {name!r} has no pictures; add some with: indexer ingest FOLDER "
                f"--collection {name}"
            )
        sample = random.Random(0).sample(ids, min(CROP_SAMPLE, len(ids)))
        crop_cosine = estimate_crop_cosine(_read_vectors(store, sample))
        return CollectionImages(store, tuple(ids), crop_cosine)

    def get_image(self, id: str) -> SampleImage:
        """Return an image whose file exists; raises `Rejected`."""
        payload = self._retrieve(id).payload
        for path in map(resolve_display_path, payload["paths"]):
            if is_utf8_encodable(path) and Path(path).is_file():
                return SampleImage(id, payload["content"], path)
        raise Rejected("picture is gone", f"no file at {payload['paths'][0]}")

    def display_path(self, id: str) -> str:
        """Return the path of an image for display."""
        return str(self._retrieve(id).payload["paths"][0])

    def find_neighbors(self, id: str) -> list[str]:
        """Return the nearest images, nearest first, without near-duplicates."""
        from qdrant_client import models

        anchor = self._retrieve(id)
        vector = np.asarray(anchor.vectors[IMAGE], np.float32)
        request = models.QueryRequest(
            query=vector.tolist(),
            using=IMAGE,
            filter=build_store_filter(IMAGE_FILTER),
            limit=MAX_NEIGHBORS,
            with_payload=True,
            with_vector=[IMAGE],
        )
        hits = [hit for hit in self.store.query_batch([request])[0] if hit.id != id]
        payloads = [anchor.payload, *(hit.payload or {} for hit in hits)]
        vectors = np.array([vector, *(hit.vectors[IMAGE] for hit in hits)], np.float32)
        leaders = group_duplicates(payloads, vectors, self.crop_cosine)
        return [hit.id for row, hit in enumerate(hits, 1) if leaders[row] == row]

    def get_vectors(self, ids: Sequence[str]) -> Vectors:
        """Return (n, dim) unit rows in the order of `ids`, without those that are gone."""
        return _read_vectors(self.store, ids)

    def _retrieve(self, id: str) -> Record:
        found = self.store.retrieve([id], vectors=True)
        if not found or IMAGE not in found[0].vectors:
            raise Rejected("picture is gone", "it is no longer in the collection")
        return found[0]


def _read_vectors(store: Store, ids: Sequence[str]) -> Vectors:
    records = {record.id: record for record in store.retrieve(list(ids), vectors=True)}
    return np.asarray([records[id].vectors[IMAGE] for id in ids if id in records], np.float32)


def choose_images(job: SampleJob, images: CollectionImages) -> dict[str, SampleImage]:
    """Choose the images of a job by role; raises `Rejected` if the anchor has too few neighbors.

    A positive that is not the anchor is one of its nearest neighbors, a hard negative one of the
    next nearest.
    """
    anchor_role, *other_roles = job.combination.image_roles
    chosen = {anchor_role: images.get_image(job.anchor_id)}
    if not other_roles:
        return chosen
    rng = random.Random(job.seed)
    neighbors = images.find_neighbors(job.anchor_id)
    positive_count = 0
    if POSITIVE in other_roles:
        positive_count = min(POSITIVE_NEIGHBORS, max(1, len(neighbors) // 3))
    negative_candidates = neighbors[positive_count : positive_count + NEGATIVE_NEIGHBORS]
    if not negative_candidates:
        raise Rejected("no neighbors", "too few pictures in the collection are like it")
    if POSITIVE in other_roles:
        chosen[POSITIVE] = images.get_image(rng.choice(neighbors[:positive_count]))
    chosen[NEGATIVE] = images.get_image(rng.choice(negative_candidates))
    return chosen


def matching_text_and_image(sample: Sample) -> tuple[str, SampleImage] | None:
    """Return the text of one side and the image of the other that belong together, if any.

    An answer means little without its question, so the two are joined.
    """
    texts, images = sample.texts, sample.pictures
    if QUERY in texts and POSITIVE in images:
        return texts[QUERY], images[POSITIVE]
    if QUERY in images and POSITIVE in texts:
        question = texts.get(QUERY, "") if sample.task != "retrieval" else ""
        return f"{question} {texts[POSITIVE]}".strip(), images[QUERY]
    return None


def compute_agreements(
    samples: Sequence[Sample], images: CollectionImages, embedder: Embedder
) -> list[float | None]:
    """Return each sample's agreement among 1000 images; None if there is nothing to compare."""
    ids = random.Random(0).sample(images.ids, min(NUM_REFERENCE_IMAGES, len(images.ids)))
    references = images.get_vectors(ids)  # (n, dim)
    shares: list[float | None] = [None] * len(samples)
    pairs = [(i, pair) for i, s in enumerate(samples) if (pair := matching_text_and_image(s))]
    for start in range(0, len(pairs), TEXT_BATCH):
        batch = pairs[start : start + TEXT_BATCH]
        texts = embedder.embed([Input(text) for _, (text, _) in batch], "query")  # (b, dim)
        for (index, (_, image)), text in zip(batch, texts, strict=True):
            own = images.get_vectors([image.id]) @ text  # (1,), or (0,) if it is gone
            if len(own):
                cosines = references @ text  # (n,)
                lower = np.mean(cosines < own - 1e-6)
                equal = np.mean(np.abs(cosines - own) <= 1e-6)  # may include the image itself
                shares[index] = float(lower + equal / 2)
    return shares


def filter_by_agreement(
    outcomes: Sequence[JobOutcome],
    images: CollectionImages,
    embedder: Embedder,
    min_agreement: float = 0.5,
) -> list[JobOutcome]:
    """Return the outcomes whose samples reach `min_agreement` or have nothing to compare."""
    kept = [(outcome, outcome.sample) for outcome in outcomes if outcome.sample is not None]
    shares = compute_agreements([sample for _, sample in kept], images, embedder)
    return [
        outcome
        for (outcome, _), share in zip(kept, shares, strict=True)
        if share is None or share >= min_agreement
    ]
