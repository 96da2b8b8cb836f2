"""The caption formats. A new format is one module with a parser, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from indexer.types import Caption

Metadata = Mapping[str, str | int | float]
Row = Mapping[str, object]

SidecarParser = Callable[[bytes, str | None, str], "CaptionData"]
"""(data, language in the file's name, image's name) -> its content; raises `ValueError`."""

RowReader = Callable[[str, str, Sequence[str]], Iterator[Row]]
"""(text, extension, names of the column with the file) -> rows; raises `ValueError`."""


@dataclass(frozen=True, slots=True)
class CaptionData:
    """What one sidecar or one manifest says about an image."""

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    meta: Metadata = field(default_factory=dict)


SIDECAR_PARSERS: Mapping[str, str] = {
    "txt": "indexer.captions.sidecar:parse_text",
    "json": "indexer.captions.sidecar:parse_json",
    "xmp": "indexer.captions.xmp:parse_xmp_sidecar",
}
"""Extension -> `SidecarParser`."""

MANIFEST_READERS: Mapping[str, str] = {
    "csv": "indexer.captions.manifest:read_delimited",
    "tsv": "indexer.captions.manifest:read_delimited",
    "jsonl": "indexer.captions.manifest:read_json_lines",
    "ndjson": "indexer.captions.manifest:read_json_lines",
}
"""Extension -> `RowReader`."""
