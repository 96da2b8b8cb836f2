"""Check a new index: embed some of its contents again, compare, and search for them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from PIL.Image import Image

from embedder.types import Embedder, Input
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import IMAGE, TEXT
from indexer.errors import CollectionError
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.ingest.decode_stage import DecodeStage
from indexer.ingest.embed_stage import EmbedFailedError, embed_each, mean_vector, require_vector
from indexer.ingest.payload import texts_to_embed
from indexer.ingest.types import DecodedFile, IngestOptions
from indexer.paths import is_local_file, resolve_display_path
from indexer.search.searcher import Searcher
from indexer.sources import SourceFile, SourceSet
from indexer.stores.base import sample_records
from indexer.types import Part, Payload, Query, Record, Vector

SAMPLE_SIZE = 16  # points that are embedded again
NUM_SEARCHES = 4
MIN_COSINE = 0.98  # half precision and other batches cost less than 0.01


def verify_index(new: OpenCollection, embedder: Embedder, options: IngestOptions) -> int:
    """Compare some points of `new` with what the model computes for their files now.

    Returns:
        How many points were embedded again and agree.

    Raises:
        CollectionError: A vector differs, the counts differ, or a search finds nothing.
    """
    roots, hosts = _check_counts(new)
    sources = SourceSet.from_roots(roots, replace(options.source_options, allowed_hosts=hosts))
    decode_stage = DecodeStage(
        sources, options.limits, embedder.card.image_side, embed_frames=options.embed_frames
    )
    records = sample_records(new.store, SAMPLE_SIZE)
    checked = sum(_check_point(record, decode_stage, embedder) for record in records)
    searcher = Searcher(new, lambda: embedder)
    for record in [r for r in records if texts_to_embed(r.payload)][:NUM_SEARCHES]:
        text = texts_to_embed(record.payload)[0]
        if not searcher.search(Query((Part(text=text),), limit=5)).hits:
            raise _mismatch_error(f"a search for {text[:60]!r} finds nothing")
    return checked


def _check_counts(new: OpenCollection) -> tuple[list[str], tuple[str, ...]]:
    """The roots of the index, and the hosts that its lists may name; the counts must agree."""
    with closing(Catalog(new.index_dir / CATALOG_FILE)) as catalog:
        known, stored = catalog.count_points(), new.store.count()
        roots, hosts = catalog.list_roots(), catalog.list_hosts()
    if known != stored:
        raise _mismatch_error(f"{known} points were written, and {stored} were found")
    return roots, hosts


def _check_point(record: Record, decode_stage: DecodeStage, embedder: Embedder) -> bool:
    """Whether any vector of the point could be compared."""
    inputs: dict[str, list[Input]] = {}
    if IMAGE in record.vectors and (images := _decode_images(record.payload, decode_stage)):
        inputs[IMAGE] = [Input(images=images)]
    if TEXT in record.vectors:
        inputs[TEXT] = [Input(text=text) for text in texts_to_embed(record.payload)]
    for name, items in inputs.items():
        cosine = float(np.dot(_embed_mean(items, embedder), np.asarray(record.vectors[name])))
        if not cosine > MIN_COSINE:
            what = f"the {name} vector of {record.payload['paths'][0]}"
            raise _mismatch_error(f"{what} and what the model gives have a cosine of {cosine:.3f}")
    return bool(inputs)


def _decode_images(payload: Payload, decode_stage: DecodeStage) -> tuple[Image, ...]:
    """The image as an ingest decodes it, if one of the paths still holds it."""
    for shown in payload["paths"]:
        path = resolve_display_path(shown) if is_local_file(shown) else shown
        if decode_stage.sources.source_for(path) is None:
            continue
        decoded = decode_stage.decode(SourceFile(path, 0, 0, "image"), force=True)
        if isinstance(decoded, DecodedFile) and decoded.file.content_id == payload["content"]:
            return decoded.images
    return ()


def _embed_mean(inputs: Sequence[Input], embedder: Embedder) -> Vector:
    try:
        return mean_vector(
            [require_vector(row) for row in embed_each(embedder, inputs, len(inputs))]
        )
    except EmbedFailedError as error:
        raise _mismatch_error(str(error)) from error


def _mismatch_error(reason: str) -> CollectionError:
    return CollectionError(
        f"the new index does not hold what its model gives ({reason}), and the old one stays "
        "active; delete the new one with: indexer reindex --forget, then start again"
    )
