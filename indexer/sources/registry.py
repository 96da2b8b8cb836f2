"""The types of sources. A new one is one module with a `Source` class, and one line here.

A source whose paths are `FILE#MEMBER` also adds its extension to `indexer.paths.MEMBER_PATTERN`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Place = Literal["local", "web", "filesystem"]
"""This machine, http(s), or another file system that fsspec knows."""

ANYWHERE: tuple[Place, ...] = ("local", "web", "filesystem")
TAR_EXTENSIONS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
LIST_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
DATASET_FILES = (("dataset_dict.json",), ("dataset_info.json", "state.json"))


class SourceType(NamedTuple):
    """A class of sources, and which addresses it reads.

    Without `extensions` and `folders` it reads every address of its places. `folders` are sets of
    files that mark a local folder as such a source.
    """

    target: str  # module:class
    places: tuple[Place, ...]
    extensions: tuple[str, ...] = ()
    folders: tuple[tuple[str, ...], ...] = ()


SOURCE_TYPES = (  # the first that matches
    SourceType("indexer.sources.tar:TarSource", ANYWHERE, TAR_EXTENSIONS),
    SourceType("indexer.sources.parquet:ParquetSource", ANYWHERE, (".parquet",)),
    SourceType("indexer.sources.parquet:ParquetSource", ("local",), (".arrow",), DATASET_FILES),
    SourceType("indexer.sources.url_list:UrlListSource", ("web",), LIST_EXTENSIONS),
    SourceType("indexer.sources.object_storage:ObjectStorageSource", ("filesystem",)),
    SourceType("indexer.sources.local:LocalSource", ("local",)),
)
