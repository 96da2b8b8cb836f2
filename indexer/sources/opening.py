"""What a user names -> the source that it is: by its scheme, its suffix, and what lies there."""

from __future__ import annotations

import glob
from pathlib import Path
from urllib.parse import unquote, urlsplit

from indexer.errors import IndexerError
from indexer.sources.addresses import clean, expand, scheme
from indexer.sources.failures import connect, explained
from indexer.sources.folder import FolderSource
from indexer.sources.links import LISTS, LinkSource, is_list
from indexer.sources.protocol import Reading, Report, Source
from indexer.sources.remote import RemoteSource
from indexer.sources.table import TableSource, is_dataset, is_table
from indexer.sources.tar import TarSource, is_tar
from indexer.walk import existing, printable


def source_of(
    argument: str | Path, reading: Reading | None = None, skip: Report | None = None
) -> Source:
    """The one source that `argument` names, such as a root that the catalogue knows.

    `skip` is told of caption files that cannot be read. Nothing remote is asked yet. Raises
    `IndexerError` for a path that does not exist, and for what cannot be read from.
    """
    address = str(argument)
    kind = scheme(address)
    if kind in {"file", "local"}:
        address, kind = unquote(urlsplit(address).path), ""
    if kind:
        return _remote(address, kind, reading, skip)
    if "::" in address and "://" in address:
        connect(address)  # says why not
    path = existing(Path(address))
    if is_dataset(Path(path)) or (is_table(path) and not Path(path).is_dir()):
        return TableSource(path, reading)
    if is_tar(path) and not Path(path).is_dir():
        return TarSource(path, reading, skip)
    return FolderSource(path, reading)


def addresses(argument: str | Path) -> list[str]:
    """What braces and wildcards stand for; a path that exists as it is written stays that."""
    address = str(argument)
    if isinstance(argument, Path) or (not scheme(address) and Path(address).expanduser().exists()):
        return [address]
    found = [match for name in expand(address) for match in _matches(name)]
    if not found:
        raise IndexerError(f"{printable(clean(address))}: nothing is called so")
    return found


def _remote(address: str, kind: str, reading: Reading | None, skip: Report | None) -> Source:
    if is_tar(address):
        return TarSource(address, reading, skip)
    if is_table(address):
        return TableSource(address, reading)
    if kind not in {"http", "https"}:
        return RemoteSource(address, reading, skip)
    if is_list(address):
        return LinkSource(address, reading)
    raise IndexerError(
        f"{clean(address)}: the web has no folders that could be listed; name a list of pictures "
        f"({', '.join(LISTS)}), a .tar or a .parquet"
    )


def _matches(name: str) -> list[str]:
    kind = scheme(name)
    if not glob.has_magic(name) or kind in {"http", "https"}:
        return [name]
    if not kind:
        return sorted(glob.glob(str(Path(name).expanduser())))  # noqa: PTH207
    fs, path = connect(name)
    try:
        return sorted(str(fs.unstrip_protocol(match)) for match in fs.glob(path))
    except Exception as error:
        raise IndexerError(f"{clean(name)}: {explained(error, name)}") from None
