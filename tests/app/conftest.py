"""A collection of the sample pictures, ingested once, and the app's settings pointed at it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    """A store with the samples in it, made by the real command line."""
    store = tmp_path_factory.mktemp("library")
    subprocess.run(
        [sys.executable, "-m", "indexer", "ingest", "samples", "--store", str(store), "--quiet"],
        cwd=ROOT,
        check=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return store


@pytest.fixture
def app_store(library, monkeypatch) -> Path:
    """The app reads this store, and forgets it after the test."""
    return _point_at(library, monkeypatch)


@pytest.fixture
def empty_store(tmp_path, monkeypatch) -> Path:
    return _point_at(tmp_path / "nothing", monkeypatch)


def _point_at(store: Path, monkeypatch) -> Path:
    from app import resources

    monkeypatch.setenv("POLYLENS_STORE", str(store))
    resources.settings.cache_clear()
    resources._opened.cache_clear()
    return store
