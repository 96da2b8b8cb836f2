"""Where pictures come from: folders, buckets, lists of URLs, archives, tables."""

from indexer.sources.base import Source, SourceOptions, SourcePart
from indexer.sources.paths import (
    ancestors,
    container_of,
    is_local_file,
    is_within,
    redact_url,
    split_path,
)
from indexer.sources.registry import open_source
from indexer.sources.source_set import SourceSet, is_root_available, read_original

__all__ = [
    "Source",
    "SourceOptions",
    "SourcePart",
    "SourceSet",
    "ancestors",
    "container_of",
    "is_local_file",
    "is_root_available",
    "is_within",
    "open_source",
    "read_original",
    "redact_url",
    "split_path",
]
