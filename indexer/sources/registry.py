"""What a user names -> the source that it is: by its scheme, its suffix, and what lies there."""

from __future__ import annotations

import glob
from pathlib import Path
from urllib.parse import unquote, urlsplit

from indexer.errors import IndexerError
from indexer.paths import display_path
from indexer.sources.base import SkipCallback, Source, SourceOptions
from indexer.sources.filesystem import describe_error, open_filesystem
from indexer.sources.local import LocalSource
from indexer.sources.object_storage import ObjectStorageSource
from indexer.sources.parquet import ParquetSource, is_dataset_folder, is_table_file
from indexer.sources.paths import expand_braces, redact_url, url_scheme
from indexer.sources.tar import TarSource, is_tar
from indexer.sources.url_list import LIST_EXTENSIONS, UrlListSource, is_url_list
from indexer.sources.walk import resolve_root


def open_source(
    argument: str | Path, options: SourceOptions | None = None, on_skip: SkipCallback | None = None
) -> Source:
    """The one source that `argument` names, such as a root that the catalogue knows.

    `skip` is told of caption files that cannot be read. Nothing remote is asked yet. Raises
    `IndexerError` for a path that does not exist, and for what cannot be read from.
    """
    address = str(argument)
    protocol = url_scheme(address)
    if protocol in {"file", "local"}:
        address, protocol = unquote(urlsplit(address).path), ""
    if protocol:
        return _open_remote_source(address, protocol, options, on_skip)
    if "::" in address and "://" in address:
        open_filesystem(address)  # says why not
    path = resolve_root(Path(address))
    if is_dataset_folder(Path(path)) or (is_table_file(path) and not Path(path).is_dir()):
        return ParquetSource(path, options)
    if is_tar(path) and not Path(path).is_dir():
        return TarSource(path, options, on_skip)
    return LocalSource(path, options)


def expand_argument(argument: str | Path) -> list[str]:
    """What braces and wildcards stand for; a path that exists as it is written stays that."""
    address = str(argument)
    if isinstance(argument, Path) or (
        not url_scheme(address) and Path(address).expanduser().exists()
    ):
        return [address]
    matches = [match for name in expand_braces(address) for match in _expand_wildcards(name)]
    if not matches:
        raise IndexerError(f"{display_path(redact_url(address))}: nothing is called so")
    return matches


def _open_remote_source(
    address: str, protocol: str, options: SourceOptions | None, on_skip: SkipCallback | None
) -> Source:
    if is_tar(address):
        return TarSource(address, options, on_skip)
    if is_table_file(address):
        return ParquetSource(address, options)
    if protocol not in {"http", "https"}:
        return ObjectStorageSource(address, options, on_skip)
    if is_url_list(address):
        return UrlListSource(address, options)
    raise IndexerError(
        f"{redact_url(address)}: the web has no folders that could be listed; name a list of pictures "
        f"({', '.join(LIST_EXTENSIONS)}), a .tar or a .parquet"
    )


def _expand_wildcards(name: str) -> list[str]:
    protocol = url_scheme(name)
    if not glob.has_magic(name) or protocol in {"http", "https"}:
        return [name]
    if not protocol:
        return sorted(glob.glob(str(Path(name).expanduser())))  # noqa: PTH207
    fs, path = open_filesystem(name)
    try:
        return sorted(str(fs.unstrip_protocol(match)) for match in fs.glob(path))
    except Exception as error:
        raise IndexerError(f"{redact_url(name)}: {describe_error(error, name)}") from None
