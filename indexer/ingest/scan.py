"""What a run has to do: every path that is new or not as it was, source by source."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import PendingFile
from indexer.paths import display_path
from indexer.sources import Source, SourcePart, SourceSet, is_within
from indexer.types import SkippedFile


@dataclass(slots=True)
class Scan:
    """Compares the sources with the catalogue; what cannot be read is added to `skipped`."""

    sources: SourceSet
    catalogue: Catalog
    skipped: list[SkippedFile]
    on_path: Callable[[str], None]
    _listed: list[SourcePart] = field(default_factory=list)

    def __call__(self, stop: threading.Event) -> None:
        """Note what is to be done, in the catalogue."""
        for source in self.sources:
            whole = True
            for part in source.list_parts():
                if not self._is_complete(part):
                    whole &= self._list(source, part, stop)
                if stop.is_set():
                    break
            if whole and not stop.is_set() and not source.is_folder:
                self.catalogue.mark_fully_listed(source.root)
        for source in self.sources:
            self.catalogue.add_root(source.root)

    def record_complete_parts(self) -> None:
        """Once all is written: parts of which nothing was left out, and that lack nothing which is
        known of them, need not be listed again while they are the same."""
        left_out = {skip.path for skip in self.skipped}
        for part in self._listed:
            if part.stamp is not None:
                within = (is_within(path, display_path(part.name)) for path in left_out)
                clean = not any(within) and not self.catalogue.list_unseen(part.name)
                self.catalogue.put_part_stamp(part.name, part.stamp if clean else "")

    def _is_complete(self, part: SourcePart) -> bool:
        """Whether a run has done all of the part as it is now; its files count as seen."""
        if part.stamp is None or self.catalogue.get_part_stamp(part.name) != part.stamp:
            return False
        self.catalogue.mark_seen_under(part.name)
        return True

    def _list(self, source: Source, part: SourcePart, stop: threading.Event) -> bool:
        """Note what is new in the part; False where its end could not be read."""
        before = len(self.skipped)
        for found in source.discover(part, self.skipped.append):
            if stop.is_set():
                return False
            stamp = source.compute_stamp(found.path)
            if not self.catalogue.is_unchanged(found.path, found.size, found.mtime_ns, stamp):
                self.catalogue.add_pending(
                    PendingFile(found.path, found.size, found.mtime_ns, found.kind)
                )
            self.on_path(found.path)
        self._listed.append(part)
        return not any(skip.path == display_path(part.name) for skip in self.skipped[before:])
