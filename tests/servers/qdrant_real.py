"""A real Qdrant server, as the tests see it."""

from __future__ import annotations

import uuid

import pytest
from qdrant_client import QdrantClient

WRONG = {  # what Qdrant 1.19 does wrong by itself: tests of it are expected to fail there
    "contradiction": "`must` and `must_not` of one and the same condition on an indexed key, and "
    "nothing else: all that meet the condition are found, not none",
    "idf": "after a delete the words of deleted points count until the optimizer has run",
}


class Real:
    """What the stand-in offers, but for faults. Refuses a server that holds collections."""

    faults = None

    def __init__(self, url: str, api_key: str | None, grpc_port: int | None) -> None:
        self.url, self.api_key, self.grpc_port = url, api_key, grpc_port
        self._client = QdrantClient(url=url, api_key=api_key, timeout=60)
        if self._held():
            told = (
                f"{url} holds collections, and the tests delete all: set QDRANT_URL to an empty one"
            )
            pytest.exit(told, returncode=2)

    def name(self, stem: str = "c") -> str:
        """A collection's name that no other test uses."""
        return f"{stem}-{uuid.uuid4().hex[:8]}"

    def reset(self) -> None:
        """Delete every collection, and the aliases with them."""
        for name in self._held():
            self._client.delete_collection(name, timeout=60)

    def _held(self) -> list[str]:
        return [found.name for found in self._client.get_collections().collections]
