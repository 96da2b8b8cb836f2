"""Where pictures come from: folders, buckets, lists of URLs, archives, tables."""

from indexer.sources.addresses import above, clean, continues, holder, is_plain, split
from indexer.sources.opening import source_of
from indexer.sources.protocol import Part, Reading, Source
from indexer.sources.together import Sources, is_there, read_original

__all__ = [
    "Part",
    "Reading",
    "Source",
    "Sources",
    "above",
    "clean",
    "continues",
    "holder",
    "is_plain",
    "is_there",
    "read_original",
    "source_of",
    "split",
]
