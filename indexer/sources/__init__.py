"""Where images and texts come from: folders, buckets, lists of URLs, archives, tables."""

from indexer.sources.base import Source, SourceFile, SourceOptions, SourcePart
from indexer.sources.source_set import (
    SourceSet,
    find_original,
    is_root_available,
    open_source,
    read_original,
)

__all__ = [
    "Source",
    "SourceFile",
    "SourceOptions",
    "SourcePart",
    "SourceSet",
    "find_original",
    "is_root_available",
    "open_source",
    "read_original",
]
