"""An empty store of each registered kind, for the tests that run over all of them.

A new kind of store needs a fixture here, `SCHEME_store`: the settings that name an empty one, under
the first of its schemes in `indexer.collections.BACKENDS`.
"""

from __future__ import annotations

import pytest

from tests import in_process_store


@pytest.fixture
def folder_store(tmp_path) -> dict[str, object]:
    return {"store": str(tmp_path / "store"), "collection": "family"}


@pytest.fixture
def http_store(qdrant) -> dict[str, object]:
    return {
        "store": qdrant.url,
        "qdrant_api_key": qdrant.api_key,
        "qdrant_retry_seconds": 5.0,
        "collection": qdrant.name("family"),
    }


@pytest.fixture
def grpc_store(http_store, qdrant) -> dict[str, object]:
    """A server over gRPC, which a setting chooses."""
    if qdrant.grpc_port is None:
        pytest.skip("the server's gRPC port is not known: POLYLENS_QDRANT_GRPC_PORT")
    return {**http_store, "qdrant_grpc_port": qdrant.grpc_port}


@pytest.fixture
def in_process(request, monkeypatch) -> None:
    """Open stores in folders without a server process each, but for tests marked `store_server`:
    those in which several open one, or what that process does is what is tested."""
    if not request.node.get_closest_marker("store_server"):
        in_process_store.install(monkeypatch)
