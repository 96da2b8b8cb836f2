"""Whether a new index holds what its model gives: some contents are embedded anew, and found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedder.types import Embedder, Input
from indexer.batching import EmbedFailedError, embed_each, mean_vector
from indexer.catalogue import Catalogue
from indexer.collection import Collection
from indexer.errors import CollectionError
from indexer.files import Todo
from indexer.payload import texts_to_embed
from indexer.prepare import Prepared, Preparer
from indexer.schema import IMAGE, TEXT
from indexer.search import Searcher
from indexer.sources import Sources, is_plain
from indexer.timing import Stages
from indexer.types import Part, Payload, Query, Record, Vector
from indexer.walk import file_path

if TYPE_CHECKING:
    from indexer.ingest import IngestOptions

SAMPLE = 16  # points embedded anew
SEARCHES = 4
AGREE = 0.98  # cosine; half-precision numbers and other batches cost less than 0.01


def verify(new: Collection, embedder: Embedder, options: IngestOptions) -> int:
    """How many points were embedded anew and agree; raises `CollectionError` where one does not,
    where the counts differ, or where a search finds nothing."""
    roots, hosts = _check_count(new)
    records = _sample(new)
    with closing(Catalogue(Path(":memory:"))) as catalogue:
        sources = Sources.known(roots, replace(options.reading, hosts=hosts))
        side = embedder.card.image_side
        preparer = Preparer(
            catalogue, sources, options.limits, side, None, options.frames, Stages()
        )
        checked = sum(_check(record, preparer, embedder) for record in records)
    searcher = Searcher(new, lambda: embedder)
    for record in [r for r in records if texts_to_embed(r.payload)][:SEARCHES]:
        words = texts_to_embed(record.payload)[0]
        if not searcher.search(Query((Part(text=words),), limit=5)).hits:
            raise _unlike(f"a search for {words[:60]!r} finds nothing")
    return checked


def _check_count(new: Collection) -> tuple[list[str], tuple[str, ...]]:
    """The roots of the index, whose catalogue and store agree, and the hosts that rows may name."""
    with closing(Catalogue(new.index / "catalogue.db")) as catalogue:
        known, stored = catalogue.count_points(), new.store.count()
        roots, hosts = catalogue.roots(), catalogue.hosts()
    if known != stored:
        raise _unlike(f"{known} points were written, and {stored} are there")
    return roots, hosts


def _sample(new: Collection) -> list[Record]:
    from qdrant_client import models

    request = models.QueryRequest(
        query=models.SampleQuery(sample=models.Sample.RANDOM), limit=SAMPLE
    )
    return new.store.retrieve([point.id for point in new.store.query(request)], vectors=True)


def _check(record: Record, preparer: Preparer, embedder: Embedder) -> bool:
    """Whether there was anything of the point to embed anew."""
    wanted: list[tuple[str, Sequence[Input]]] = []
    picture = _picture(record.payload, preparer) if IMAGE in record.vectors else None
    wanted += [(IMAGE, [picture.input])] if picture else []
    if TEXT in record.vectors:
        wanted.append((TEXT, [Input(text=text) for text in texts_to_embed(record.payload)]))
    for name, inputs in wanted:
        cosine = float(np.dot(_again(inputs, embedder), np.asarray(record.vectors[name])))
        if not cosine > AGREE:
            what = f"the {name} vector of {record.payload['paths'][0]}"
            raise _unlike(f"{what} and what the model gives now have a cosine of {cosine:.3f}")
    return bool(wanted)


def _picture(payload: Payload, preparer: Preparer) -> Prepared | None:
    """The picture as an ingest decodes it, where one of the paths still holds it."""
    for shown in payload["paths"]:
        path = file_path(shown) if is_plain(shown) else shown
        if preparer.sources.of(path) is None:
            continue
        found = preparer.prepare(Todo(path, 0, 0, "image"))
        if isinstance(found, Prepared) and found.file.content == payload["content"]:
            return found if found.pictures else None
    return None


def _again(inputs: Sequence[Input], embedder: Embedder) -> Vector:
    made = embed_each(embedder, inputs, len(inputs))
    failed = next((str(one) for one in made if isinstance(one, EmbedFailedError)), None)
    if failed is not None:
        raise _unlike(failed)
    return mean_vector([one for one in made if not isinstance(one, EmbedFailedError)])


def _unlike(why: str) -> CollectionError:
    return CollectionError(
        f"the new index does not hold what its model gives ({why}), and the old one stays in use; "
        "delete the new one: indexer reindex --forget, then begin again"
    )
