"""What a run has to do: every path that is new or not as it was, source by source."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from indexer.catalogue import Catalogue
from indexer.files import Todo
from indexer.sources import Part, Source, Sources, continues
from indexer.types import Skip
from indexer.walk import printable


@dataclass(slots=True)
class Scan:
    """Compares the sources with the catalogue; what cannot be read is added to `skipped`."""

    sources: Sources
    catalogue: Catalogue
    skipped: list[Skip]
    on_path: Callable[[str], None]
    _listed: list[Part] = field(default_factory=list)

    def __call__(self, stop: threading.Event) -> None:
        """Note what is to be done, in the catalogue."""
        for source in self.sources:
            whole = True
            for part in source.parts():
                if not self._is_done(part):
                    whole &= self._list(source, part, stop)
                if stop.is_set():
                    break
            if whole and not stop.is_set() and not source.is_folder:
                self.catalogue.add_listed(source.root)
        for source in self.sources:
            self.catalogue.add_root(source.root)

    def note_parts(self) -> None:
        """Once all is written: parts of which nothing was left out, and that lack nothing which is
        known of them, need not be listed again while they are the same."""
        left_out = {skip.path for skip in self.skipped}
        for part in self._listed:
            if part.stamp is not None:
                within = (continues(path, printable(part.name)) for path in left_out)
                clean = not any(within) and not self.catalogue.vanished(part.name)
                self.catalogue.put_part(part.name, part.stamp if clean else "")

    def _is_done(self, part: Part) -> bool:
        """Whether a run has done all of the part as it is now; its files count as seen."""
        if part.stamp is None or self.catalogue.part(part.name) != part.stamp:
            return False
        self.catalogue.see_under(part.name)
        return True

    def _list(self, source: Source, part: Part, stop: threading.Event) -> bool:
        """Note what is new in the part; False where its end could not be read."""
        before = len(self.skipped)
        for found in source.found(part, self.skipped.append):
            if stop.is_set():
                return False
            stamp = source.stamp(found.path)
            if not self.catalogue.unchanged(found.path, found.size, found.mtime_ns, stamp):
                self.catalogue.add_todo(Todo(found.path, found.size, found.mtime_ns, found.kind))
            self.on_path(found.path)
        self._listed.append(part)
        return not any(skip.path == printable(part.name) for skip in self.skipped[before:])
