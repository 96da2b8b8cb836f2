"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet_environment(tmp_path, monkeypatch) -> Iterator[None]:
    """No test reads or writes the user's own collections or settings."""
    for name in ("POLYLENS_STORE", "POLYLENS_COLLECTION", "QDRANT_URL", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    yield
