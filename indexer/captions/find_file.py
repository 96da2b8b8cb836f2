"""Finds files on this machine by paths as people and tables have them."""

# Paths are strings here, as in sources/local.py.
# ruff: noqa: PTH110, PTH118, PTH116, PTH119, PTH208

from __future__ import annotations

import os
from functools import lru_cache

from indexer.captions.matching import HOWS, NO_MATCH, How, Match, NameIndex, fold_name


def find_file(path: str) -> Match:
    """Find what is at `path`: as it is written, or else part by part by the rules of `NameIndex`.

    A folder that is named twice counts once: a table in `Photos` may have `Photos/x.jpg`, or the
    path that the file had on another machine.

    Returns:
        The path of the file or folder; no name where there is none, several that fit equally well.
    """
    path = os.path.expanduser(path)
    if os.path.exists(path):
        return Match((path,), "exact")
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", "."}]
    found = "/" if path.startswith("/") else ""
    how: How = "exact"
    while parts:
        part = parts.pop(0)
        match = _index_names(found or ".").find(part)
        if match.name:
            found = os.path.join(found, match.name)
            how = max(how, match.how, key=HOWS.index)
        elif match.names:
            return Match(tuple(os.path.join(found, name) for name in match.names), match.how)
        else:
            rest = _skip_repeated(os.path.basename(found), [part, *parts])
            if not rest:
                return NO_MATCH
            parts, how = rest, "folder"
    return Match((found,), how) if found and os.path.exists(found) else NO_MATCH


def _skip_repeated(folder: str, parts: list[str]) -> list[str]:
    """Return what follows the last of `parts` that is called as `folder` is; empty without one."""
    same = [i for i, part in enumerate(parts) if fold_name(part) == fold_name(folder)]
    return parts[same[-1] + 1 :] if same and folder else []


def _index_names(folder: str) -> NameIndex:
    try:
        return _index_names_at(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return NameIndex(())


@lru_cache(maxsize=64)
def _index_names_at(folder: str, mtime_ns: int) -> NameIndex:
    """Index the names in a folder, which stay the same while its time does."""
    return NameIndex(os.listdir(folder))
