"""A folder of this machine, or a file in one: what an ingest reads from most often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexer.captions import CaptionSource
from indexer.decode import Limits
from indexer.decode import read as read_file
from indexer.sources.protocol import Part, Reading, Report
from indexer.walk import Found, distinct_roots, is_there, walk


class FolderSource:
    """`root` is a real path. `captions` and `visited` are shared by the folders of one run."""

    is_folder = True

    def __init__(
        self,
        root: str,
        reading: Reading | None = None,
        captions: CaptionSource | None = None,
        visited: set[tuple[int, int]] | None = None,
    ) -> None:
        self.root, self._reading = root, reading or Reading()
        self._visited = visited
        self._captions = captions or CaptionSource(
            [Path(root)], lambda _: None, self._reading.manifest
        )
        self.stamp, self.captions_for = self._captions.stamp, self._captions.captions_for

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderSource, (self.root, self._reading)

    def require(self) -> None:
        distinct_roots([Path(self.root)])

    def is_there(self) -> bool:
        return is_there(self.root)

    def parts(self) -> tuple[Part]:
        return (Part(self.root),)

    def found(self, part: Part, skip: Report) -> Iterator[Found]:
        follow = self._reading.follow_links
        return walk([Path(self.root)], skip, follow_links=follow, visited=self._visited)

    def read(self, path: str, limits: Limits) -> bytes:
        return read_file(path, limits)
