"""Scan stage: note in the catalog every path that is new or has changed, source by source."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

from indexer.ingest.catalog import Catalog
from indexer.paths import display_path, is_within
from indexer.sources import Source, SourcePart, SourceSet
from indexer.types import SkippedFile


class Scan:
    """Compares the sources with the catalog; what cannot be read is added to `skipped`. With
    `rehash` every file counts as changed."""

    def __init__(
        self,
        sources: SourceSet,
        catalog: Catalog,
        skipped: list[SkippedFile],
        *,
        rehash: bool = False,
    ) -> None:
        self._sources, self._catalog, self._skipped = sources, catalog, skipped
        self._rehash = rehash
        self._listed: list[SourcePart] = []

    def run(self, stop: threading.Event) -> Iterator[str]:
        """Fill the catalog's table of pending files; yields each path that is looked at."""
        for source in self._sources:
            complete = True
            for part in source.list_parts():
                if not self._is_complete(part):
                    complete &= yield from self._list(source, part, stop)
                if stop.is_set():
                    break
            if complete and not stop.is_set() and not source.is_folder:
                self._catalog.mark_fully_listed(source.root)
        for source in self._sources:
            self._catalog.add_root(source.root)

    def record_complete_parts(self) -> None:
        """After everything is written: a part of which no file was skipped, and none is missing
        that the catalog knows, need not be listed again while its stamp is the same."""
        skipped = {skip.path for skip in self._skipped}
        for part in self._listed:
            if part.stamp is not None:
                name = display_path(part.name)
                clean = not any(is_within(path, name) for path in skipped)
                clean = clean and not self._catalog.list_unseen(part.name)
                self._catalog.put_part_stamp(part.name, part.stamp if clean else "")

    def _is_complete(self, part: SourcePart) -> bool:
        """Whether an earlier run has done all of the part as it is now; its files are seen."""
        if (
            self._rehash
            or part.stamp is None
            or self._catalog.get_part_stamp(part.name) != part.stamp
        ):
            return False
        self._catalog.mark_seen_under(part.name)
        return True

    def _list(
        self, source: Source, part: SourcePart, stop: threading.Event
    ) -> Generator[str, None, bool]:
        """Note what has changed in the part; False where it could not be read to its end."""
        num_skipped = len(self._skipped)
        for file in source.discover(part, self._skipped.append):
            if stop.is_set():
                return False
            stamp = source.compute_stamp(file.path)
            self._catalog.mark_seen(file.path)
            if self._rehash or not self._catalog.is_unchanged(file, stamp):
                self._catalog.add_pending(file)
            yield file.path
        self._listed.append(part)
        name = display_path(part.name)
        return not any(skip.path == name for skip in self._skipped[num_skipped:])
