"""Paths that are typed: in other letter case or another form of Unicode they are found too."""

from __future__ import annotations

from pathlib import Path

from embedder.cli.console import print_note
from indexer.captions.find_file import find_file
from indexer.captions.matching import HOW_WORDS
from indexer.paths import display_path


def match_path(path: str) -> str:
    """Return the path of the one file or folder that fits `path`, with a note where that is not
    exact; `path` itself where there is none, or several."""
    match = find_file(path)
    if match.name is None or match.how == "exact":
        return path
    how = HOW_WORDS[match.how]
    print_note(f"{display_path(path)} is {how}; taken for {display_path(match.name)}")
    return match.name


def match_manifest(path: Path | None) -> Path | None:
    """Return what `match_path` does for the table of captions that is named."""
    return Path(match_path(str(path))) if path else None
