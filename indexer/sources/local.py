"""A folder of this machine, or a file in one: what an ingest reads from most often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedder.images.decode import DecodeLimits, read_file
from indexer.captions.resolver import CaptionResolver
from indexer.sources.base import SkipCallback, SourceOptions, SourcePart
from indexer.sources.walk import DiscoveredFile, distinct_roots, is_path_available, walk


class LocalSource:
    """`root` is a real path. `captions` and `visited` are shared by the folders of one run."""

    is_folder = True

    def __init__(
        self,
        root: str,
        options: SourceOptions | None = None,
        captions: CaptionResolver | None = None,
        visited: set[tuple[int, int]] | None = None,
    ) -> None:
        self.root, self._options = root, options or SourceOptions()
        self._visited = visited
        self._captions = captions or CaptionResolver(
            [Path(root)], lambda _: None, self._options.manifest
        )
        self.compute_stamp, self.load_captions = (
            self._captions.compute_stamp,
            self._captions.load_captions,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalSource, (self.root, self._options)

    def check_readable(self) -> None:
        distinct_roots([Path(self.root)])

    def is_available(self) -> bool:
        return is_path_available(self.root)

    def list_parts(self) -> tuple[SourcePart]:
        return (SourcePart(self.root),)

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        follow = self._options.follow_links
        return walk([Path(self.root)], on_skip, follow_links=follow, visited=self._visited)

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        return read_file(path, limits)
