"""Checks of a new index: what it lacks of the old one, and whether its vectors are right."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
from PIL.Image import Image

from embedder.types import Embedder, Input
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import IMAGE, NAME, TEXT
from indexer.errors import CollectionError
from indexer.ingest.catalog import CATALOG_FILE, Catalog, is_missing
from indexer.ingest.decode_stage import DecodeStage
from indexer.ingest.embed_stage import EmbedFailedError, embed_each, mean_vector, require_vector
from indexer.ingest.payload import names_to_embed, texts_to_embed
from indexer.ingest.types import DecodedFile, IngestOptions
from indexer.paths import ancestors, is_local_file, resolve_display_path
from indexer.search.searcher import Searcher
from indexer.sources import SourceFile, SourceSet
from indexer.stores.base import iterate_records, sample_records
from indexer.types import Part, Payload, Query, Record, SkippedFile, Vector

PAGE_SIZE = 1000
SAMPLE_SIZE = 16  # points that are embedded again
NUM_SEARCHES = 4
MIN_COSINE = 0.98  # half precision and other batches cost less than 0.01
Fate = Literal["vanished", "changed", "lost"]


@dataclass(frozen=True, slots=True)
class IndexDiff:
    """Files of points of the old index that are not in the new one.

    `vanished`: the files are gone. `changed`: the files have other content now. `lost`: the files
    exist, but the new index lacks them; with the reason if they were skipped. `lost_captions`:
    images that had captions from a table and no longer have any.
    """

    vanished: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    lost: tuple[SkippedFile, ...] = ()
    lost_captions: tuple[str, ...] = ()


def compare_indexes(
    old: OpenCollection,
    new: OpenCollection,
    skipped: Iterable[SkippedFile],
    on_page: Callable[[int], None] = lambda _: None,
) -> IndexDiff:
    """Look for every point of `old` in `new`; `on_page` gets the number of points so far."""
    reasons = {skip.path: skip for skip in skipped}
    missing: dict[Fate, dict[str, None]] = {"vanished": {}, "changed": {}, "lost": {}}
    lost_captions: list[str] = []
    seen, records = 0, iterate_records(old.store)
    with closing(Catalog(new.index_dir / CATALOG_FILE)) as catalog:
        while page := list(islice(records, PAGE_SIZE)):
            found = new.store.retrieve([record.id for record in page])
            existing = {record.id: record.payload for record in found}
            for record in page:
                if record.id not in existing:
                    fate, path = _classify(record.payload, catalog, reasons)
                    missing[fate][path] = None  # a document has many points
                elif _is_in_table(record.payload) and not _is_in_table(existing[record.id]):
                    lost_captions.append(record.payload["paths"][0])
            on_page(seen := seen + len(page))
    lost = tuple(reasons.get(path) or SkippedFile(path, "not-reached") for path in missing["lost"])
    return IndexDiff(
        tuple(missing["vanished"]), tuple(missing["changed"]), lost, tuple(lost_captions)
    )


def _classify(payload: Payload, catalog: Catalog, skipped: Container[str]) -> tuple[Fate, str]:
    """Return why a point is missing, and the path that shows it."""
    available = [path for path in payload["paths"] if _is_available(path, catalog, skipped)]
    unknown = [path for path in available if catalog.get_file(resolve_display_path(path)) is None]
    if unknown:
        return "lost", unknown[0]
    return ("changed", available[0]) if available else ("vanished", payload["paths"][0])


def _is_available(path: str, catalog: Catalog, skipped: Container[str]) -> bool:
    """Whether a file exists. The ingest has just listed all remote files: one of them exists if it
    was indexed, or if it or the archive that contains it was skipped."""
    if is_local_file(path):
        return not is_missing(resolve_display_path(path))
    return catalog.get_file(path) is not None or any(one in skipped for one in ancestors(path))


def _is_in_table(payload: Payload) -> bool:
    return any(caption["source"] == "manifest" for caption in payload["captions"])


def verify_index(new: OpenCollection, embedder: Embedder, options: IngestOptions) -> int:
    """Compare some points of `new` with what the model computes for their files now.

    Returns:
        How many points were embedded again and agree.

    Raises:
        CollectionError: A vector differs, the counts differ, or a search finds nothing.
    """
    roots, hosts = _check_counts(new)
    sources = SourceSet.from_roots(roots, replace(options, allowed_hosts=hosts))
    decode_stage = DecodeStage(sources, options, embedder.card.image_side)
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
    if NAME in record.vectors:
        inputs[NAME] = [Input(text=name) for name in names_to_embed(record.payload)]
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
