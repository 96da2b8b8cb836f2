"""API keys: a full one, and one that may only read."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_strict import Refused


@dataclass(slots=True)
class Keys:
    """Without a full key the server is open to all, as Qdrant is."""

    full: str | None = None
    read: str | None = None

    def check(self, given: str | None, writes: bool) -> None:
        """Raises `Refused` with 401 for a wrong key, 403 for a write with the one that reads."""
        if self.full is None and self.read is None:
            return
        if given is None:
            raise Refused(401, "Must provide an API key or an Authorization bearer token")
        if given not in (self.full, self.read):
            raise Refused(401, "Invalid API key or JWT")
        if writes and given != self.full:
            raise Refused(403, "Forbidden: Global manage access is required")
