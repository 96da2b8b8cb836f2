"""The embedded store with its shard in the test's process: opened and closed in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from indexer import integrity
from indexer.stores.edge import repair
from indexer.stores.edge import store as edge_store


class InProcessStore(edge_store.EdgeStore):
    """An `EdgeStore` without a server process, which would let several open it."""

    shard = None
    open_paths: ClassVar[set[Path]] = set()

    def _call(self, method, *arguments):
        from indexer.stores.edge.shard import Shard

        if method != "ensure":
            return getattr(self.shard, method)(*arguments)
        schema, accept_older = arguments
        if self.shard is None:
            assert self._path not in self.open_paths, "mark the test with store_server"
            self.open_paths.add(self._path)
            try:
                self.shard = Shard(self._path, schema, accept_older=accept_older)
            except BaseException:
                self.open_paths.discard(self._path)
                raise
        return self.shard.loss

    def close(self):
        if self.shard:
            self.shard.close()
            self.open_paths.discard(self._path)
        self.shard = None


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use it wherever a store in a folder is opened."""
    for module in (edge_store, integrity, repair):
        monkeypatch.setattr(module, "EdgeStore", InProcessStore)
