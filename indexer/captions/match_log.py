"""What the files of captions of a run were matched with, in words for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from indexer.captions.manifest import Manifest
from indexer.captions.matching import How, describe_matches
from indexer.types import Note

MAX_EXAMPLES = 3
MAX_NOTES = 20  # about one table or folder


class MatchLog:
    """Remembers what was matched; adding the same twice changes nothing. Thread-safe."""

    def __init__(self) -> None:
        self._tables: set[str] = set()
        self._used: dict[str, set[str]] = {}  # table -> its names that fit a file
        self._inexact: dict[str, dict[str, tuple[str, How]]] = {}  # place -> name -> file, how
        self._ambiguous: dict[str, dict[str, tuple[str, ...]]] = {}  # place -> name -> candidates

    def add_table(self, table: str) -> None:
        """Note that a table applies to files of this run."""
        self._tables.add(table)

    def add_used(self, table: str, name: str) -> None:
        """Note that a row of a table fits a file."""
        self._used.setdefault(table, set()).add(name)

    def add_inexact(self, place: str, written: str, file: str, how: How) -> None:
        """Note that a name in a table, or of a sidecar in a folder, is not quite that of a file."""
        self._inexact.setdefault(place, {})[written] = (file, how)

    def add_ambiguous(self, place: str, written: str, candidates: Sequence[str]) -> None:
        """Note that a name fits several files, or a file several names: it counts for none."""
        self._ambiguous.setdefault(place, {})[written] = tuple(candidates)

    def iterate_notes(
        self, read: Callable[[str], Manifest], exists: Callable[[str, str], bool]
    ) -> Iterator[Note]:
        """Yield what people should know, by place.

        Args:
            read: Returns a table.
            exists: Whether there is a file, also one that is not indexed, under a name in a table.
        """
        for place in sorted({*self._tables, *self._inexact, *self._ambiguous}):
            texts: list[str] = []
            if place in self._tables:
                table = read(place)
                texts += _shorten(table.notes)
                known = self._used.get(place, set())
                known = known | self._ambiguous.get(place, {}).keys()
                names = (table.written.get(name, name) for name in table.rows if name not in known)
                unused = [name for name in names if "://" not in name and not exists(place, name)]
                if unused:
                    count = "1 name fits" if len(unused) == 1 else f"{len(unused):,} names fit"
                    texts.append(f"{count} no file, such as {_list_examples(unused)}")
            inexact = self._inexact.get(place, {})
            texts += describe_matches((name, *found) for name, found in inexact.items())
            texts += _shorten(
                [
                    f"{name!r} fits {_list_examples(candidates)} equally well, and counts for none"
                    for name, candidates in self._ambiguous.get(place, {}).items()
                ]
            )
            yield from (Note(place, text) for text in texts)


def _shorten(texts: Sequence[str]) -> list[str]:
    rest = len(texts) - MAX_NOTES
    return [*texts[:MAX_NOTES], *([f"and {rest:,} more of this kind"] if rest > 0 else [])]


def _list_examples(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:80]) for name in names[:MAX_EXAMPLES])
