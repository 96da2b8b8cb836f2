"""The payload of a point: fields that follow from its content, and from its paths and captions."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.captions.dates import Taken, parse_name
from indexer.captions.names import describe_paths
from indexer.ingest.time_and_place import choose_fields, format_place, format_taken
from indexer.paths import display_path, split_path
from indexer.types import Caption, KeywordTexts, Payload

if TYPE_CHECKING:
    from embedder.images.decode import DecodedImage
    from indexer.ingest.types import CatalogFile

MAX_CAPTIONS = 64
MAX_PATHS = 256
DOCUMENT_FORMATS = {".md": "markdown", ".markdown": "markdown", ".rst": "rst"}


def image_payload(image: DecodedImage, content_id: str, size: int) -> Payload:
    """The fields of an image's payload that follow from its bytes."""
    metadata = image.metadata
    optional = {
        **format_taken(metadata.taken),
        **format_place(metadata.place),
        "camera": metadata.camera,
        "meta": {"rating": metadata.rating} if metadata.rating else None,
    }
    return {
        "kind": "image",
        "format": image.format,
        "bytes": size,
        "content": content_id,
        "width": image.width,
        "height": image.height,
        "frames": image.frame_count,
        "captions": [caption_to_dict(caption) for caption in metadata.captions],
        "tags": list(metadata.tags),
        **{key: value for key, value in optional.items() if value is not None},
    }


def chunk_payloads(chunks: Sequence[str], path: str, content_id: str, size: int) -> list[Payload]:
    """The same for each chunk of a document."""
    base = {
        "kind": "text",
        "format": DOCUMENT_FORMATS.get(Path(path).suffix.lower(), "text"),
        "bytes": size,
        "content": content_id,
        "captions": [],
        "tags": [],
        "passages": len(chunks),
    }
    return [{**base, "passage": i, "text": text} for i, text in enumerate(chunks)]


def build_payload(base: Payload, files: Sequence[CatalogFile]) -> Payload:
    """The payload of a point whose content is at `files` (by path; at least one)."""
    paths = [display_path(file.path) for file in files][:MAX_PATHS]
    described = (caption_to_dict(caption) for f in files for caption in f.captions.captions)
    captions = _deduplicate([*described, *base["captions"]])
    latest = max(file.mtime_ns for file in files)
    meta = {k: v for file in reversed(files) for k, v in file.captions.meta.items()}
    if base["kind"] == "image":
        dates = [*(file.captions.taken for file in files), *date_names({"paths": paths})]
        base = choose_fields(base, dates, (file.captions.place for file in files))
    return {
        **base,
        "paths": paths,
        "folder": list(dict.fromkeys(split_path(path)[0] for path in paths)),
        "name": split_path(paths[0])[1],
        "modified": datetime.fromtimestamp(latest / 1e9, UTC).isoformat(timespec="seconds"),
        "captions": captions,
        "languages": sorted({c["language"] for c in captions if c["language"]}),
        "tags": list(dict.fromkeys([*base["tags"], *(t for f in files for t in f.captions.tags)])),
        "meta": base.get("meta", {}) | meta,
    }


def is_same_payload(one: Any, two: Any) -> bool:
    """Whether two payloads, or values of theirs, are the same. Floats may differ in their last
    bits: the embedded store may return them so."""
    if one == two:
        return True
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=1e-12)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(is_same_payload(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(is_same_payload, one, two))
    return False


def texts_to_embed(payload: Payload) -> list[str]:
    """What the `text` vector is made from: the captions, or the chunk of a document."""
    if payload["kind"] == "text":
        return [payload["text"]]
    return [caption["text"] for caption in payload["captions"]]


def names_to_embed(payload: Payload) -> list[str]:
    """What the `name` vector of an image is made from: what its names say, if they have words. The
    text of a document speaks for itself."""
    return [] if payload["kind"] == "text" else describe_paths(payload["paths"])


def date_names(payload: Payload) -> list[Taken]:
    """The dates that the names of a point's files carry."""
    dates = (parse_name(split_path(path)[1]) for path in payload["paths"])
    return [date for date in dates if date]


def keyword_texts(payload: Payload) -> KeywordTexts:
    """What the `bm25` vector is made from: captions, tags and the file name, with languages."""
    texts: list[tuple[str, str | None]] = [(tag, None) for tag in payload["tags"]]
    texts.append((os.path.splitext(payload["name"])[0], None))  # noqa: PTH122
    if payload["kind"] == "text":
        return ((payload["text"], None), *texts)
    return (*((c["text"], c["language"]) for c in payload["captions"]), *texts)


def _deduplicate(captions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_text = {(c["text"], c["language"]): c for c in reversed(captions)}
    return list(reversed(by_text.values()))[:MAX_CAPTIONS]


def caption_to_dict(caption: Caption) -> dict[str, Any]:
    """A caption as payloads and the catalog have it."""
    return {"text": caption.text, "language": caption.language, "source": caption.source}
