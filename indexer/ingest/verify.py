"""Whether a new index holds what its model gives: some contents are embedded anew, and found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedder.types import Embedder, Input
from indexer.collection import Collection
from indexer.errors import CollectionError
from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import PendingFile
from indexer.ingest.decode_stage import DecodedFile, DecodeStage
from indexer.ingest.embed_stage import EmbedFailedError, embed_each, mean_vector
from indexer.ingest.payload import texts_to_embed
from indexer.ingest.timing import StageTimer
from indexer.paths import resolve_display_path
from indexer.schema import IMAGE, TEXT
from indexer.search.searcher import Searcher
from indexer.sources import SourceSet, is_local_file
from indexer.types import Part, Payload, Query, Record, Vector

if TYPE_CHECKING:
    from indexer.ingest.pipeline import IngestOptions

SAMPLE_SIZE = 16  # points embedded anew
NUM_SEARCHES = 4
MIN_COSINE = 0.98  # cosine; half-precision numbers and other batches cost less than 0.01


def verify_index(new: Collection, embedder: Embedder, options: IngestOptions) -> int:
    """How many points were embedded anew and agree; raises `CollectionError` where one does not,
    where the counts differ, or where a search finds nothing."""
    roots, hosts = _check_counts(new)
    records = _sample_points(new)
    with closing(Catalog(Path(":memory:"))) as catalogue:
        sources = SourceSet.from_roots(roots, replace(options.source_options, allowed_hosts=hosts))
        side = embedder.card.image_side
        preparer = DecodeStage(
            catalogue, sources, options.limits, side, None, options.embed_frames, StageTimer()
        )
        checked = sum(_check_point(record, preparer, embedder) for record in records)
    searcher = Searcher(new, lambda: embedder)
    for record in [r for r in records if texts_to_embed(r.payload)][:NUM_SEARCHES]:
        words = texts_to_embed(record.payload)[0]
        if not searcher.search(Query((Part(text=words),), limit=5)).hits:
            raise _mismatch_error(f"a search for {words[:60]!r} finds nothing")
    return checked


def _check_counts(new: Collection) -> tuple[list[str], tuple[str, ...]]:
    """The roots of the index, whose catalogue and store agree, and the hosts that rows may name."""
    with closing(Catalog(new.index / "catalogue.db")) as catalogue:
        known, stored = catalogue.count_points(), new.store.count()
        roots, hosts = catalogue.list_roots(), catalogue.list_hosts()
    if known != stored:
        raise _mismatch_error(f"{known} points were written, and {stored} are there")
    return roots, hosts


def _sample_points(new: Collection) -> list[Record]:
    from qdrant_client import models

    request = models.QueryRequest(
        query=models.SampleQuery(sample=models.Sample.RANDOM), limit=SAMPLE_SIZE
    )
    return new.store.retrieve([point.id for point in new.store.query(request)], vectors=True)


def _check_point(record: Record, preparer: DecodeStage, embedder: Embedder) -> bool:
    """Whether there was anything of the point to embed anew."""
    wanted: list[tuple[str, Sequence[Input]]] = []
    picture = _decode_image(record.payload, preparer) if IMAGE in record.vectors else None
    wanted += [(IMAGE, [picture.input])] if picture else []
    if TEXT in record.vectors:
        wanted.append((TEXT, [Input(text=text) for text in texts_to_embed(record.payload)]))
    for name, inputs in wanted:
        cosine = float(np.dot(_embed_again(inputs, embedder), np.asarray(record.vectors[name])))
        if not cosine > MIN_COSINE:
            what = f"the {name} vector of {record.payload['paths'][0]}"
            raise _mismatch_error(
                f"{what} and what the model gives now have a cosine of {cosine:.3f}"
            )
    return bool(wanted)


def _decode_image(payload: Payload, preparer: DecodeStage) -> DecodedFile | None:
    """The picture as an ingest decodes it, where one of the paths still holds it."""
    for shown in payload["paths"]:
        path = resolve_display_path(shown) if is_local_file(shown) else shown
        if preparer.sources.source_for(path) is None:
            continue
        found = preparer.decode(PendingFile(path, 0, 0, "image"))
        if isinstance(found, DecodedFile) and found.file.content_id == payload["content"]:
            return found if found.images else None
    return None


def _embed_again(inputs: Sequence[Input], embedder: Embedder) -> Vector:
    made = embed_each(embedder, inputs, len(inputs))
    failed = next((str(one) for one in made if isinstance(one, EmbedFailedError)), None)
    if failed is not None:
        raise _mismatch_error(failed)
    return mean_vector([one for one in made if not isinstance(one, EmbedFailedError)])


def _mismatch_error(why: str) -> CollectionError:
    return CollectionError(
        f"the new index does not hold what its model gives ({why}), and the old one stays in use; "
        "delete the new one: indexer reindex --forget, then begin again"
    )
