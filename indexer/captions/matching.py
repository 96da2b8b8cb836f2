"""Matches names of files as people and programs write them with the names that there are.

One rule for tables, sidecars, pairs of training data and the command line: the exact name first,
then another form of Unicode or of its separators, then other letter case, then a name that is
given from a folder above. A name that fits more than one file equally well fits none.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

How = Literal["exact", "form", "case", "folder"]
"""By what a name was matched: as it is, in another form (Unicode, backslashes, blanks), in other
letter case, or with folders above in front of it."""

HOWS: tuple[How, ...] = ("exact", "form", "case", "folder")
"""The better one first."""

HOW_WORDS: dict[How, str] = {
    "form": "in another form of Unicode, blanks or slashes",
    "case": "in other letter case",
    "folder": "given from a folder above",
}
BLANK_PATTERN = re.compile(r"[\u00a0\u2000-\u200a\u202f\u3000]")  # 10.15.30\u202fAM
MARK_PATTERN = re.compile(r"[\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Match:
    """The names that fit equally well, and how; several are ambiguous, and count for none."""

    names: tuple[str, ...]
    how: How

    @property
    def name(self) -> str | None:
        """The name that is meant; None if that is not clear."""
        return self.names[0] if len(self.names) == 1 else None


NO_MATCH = Match((), "exact")


class NameIndex:
    """Names that can be looked up as people write them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)

    def find(self, name: str) -> Match:
        """Return what fits `name`: exactly, in another form, or in other letter case."""
        if name in self._names:
            return Match((name,), "exact")
        candidates = self._by_key.get(fold_name(name), [])
        form = normalize_file_name(name)
        same = tuple(known for known in candidates if normalize_file_name(known) == form)
        return Match(same, "form") if same else Match(tuple(candidates), "case")

    def find_from_above(self, name: str, folder: str) -> Match:
        """Return the names that give the file `name` in `folder` from a folder above, or with the
        whole path that it had on another machine: `Photos/x.jpg` is `x.jpg` in `Photos`."""
        inner = fold_name(f"{posixpath.basename(folder.rstrip('/'))}/{name}")
        found = self._by_end.get(_get_end(inner), [])
        return Match(tuple(n for n in found if f"/{fold_name(n)}".endswith(f"/{inner}")), "folder")

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name in self._names:
            names.setdefault(fold_name(name), []).append(name)
        return names

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        """The names with folders, by their last two parts: many folders may have a `1.jpg`."""
        names: dict[str, list[str]] = {}
        for key, known in self._by_key.items():
            if "/" in key:
                names.setdefault(_get_end(key), []).extend(known)
        return names


def _get_end(key: str) -> str:
    return "/".join(key.split("/")[-2:])


def normalize_file_name(name: str) -> str:
    """Return a file's name as a key: forward slashes, no ./, composed Unicode, plain blanks."""
    plain = name.strip().replace("\\", "/")
    if not plain.isascii():
        plain = MARK_PATTERN.sub("", BLANK_PATTERN.sub(" ", unicodedata.normalize("NFC", plain)))
    return posixpath.normpath(plain) if "/" in plain else plain


def fold_name(name: str) -> str:
    """Return `normalize_file_name` without differences of letter case."""
    return normalize_file_name(name).casefold()


def describe_matches(matches: Iterable[tuple[str, str, How]]) -> Iterator[str]:
    """Say how many names were matched though they are not exact, each way with an example.

    Args:
        matches: The name as it is written, the name of the file, and how they were matched.
    """
    examples: dict[How, list[tuple[str, str]]] = {}
    for written, name, how in matches:
        examples.setdefault(how, []).append((written, name))
    for how, pairs in examples.items():
        written, name = pairs[0]
        verb = "is" if len(pairs) == 1 else "are"
        count = "1 name" if len(pairs) == 1 else f"{len(pairs):,} names"
        yield f"{count} {verb} {HOW_WORDS[how]}, such as {written!r} for {name!r}"
