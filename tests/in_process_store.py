"""The embedded store with its shard in the test's process: opened and closed in a moment."""

from __future__ import annotations

import pytest

from indexer import integrity
from indexer.stores.edge import repair
from indexer.stores.edge import store as edge_store


class InProcessStore(edge_store.EdgeStore):
    """An `EdgeStore` without a server process."""

    shard = None

    def _call(self, method, *arguments):
        from indexer.stores.edge.shard import Shard

        if method != "ensure":
            return getattr(self.shard, method)(*arguments)
        schema, accept_older = arguments
        self.shard = self.shard or Shard(self._path, schema, accept_older=accept_older)
        return self.shard.loss

    def close(self):
        if self.shard:
            self.shard.close()
        self.shard = None


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use it wherever a store in a folder is opened."""
    for module in (edge_store, integrity, repair):
        monkeypatch.setattr(module, "EdgeStore", InProcessStore)
