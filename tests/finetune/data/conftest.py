"""A collection with captions, and an embedder of sides."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions

COLORS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


def drawn(root: Path, photo) -> Path:
    """An image of each color, two with captions, some noise, and two documents."""
    for name, color in COLORS.items():
        photo(root / f"{name}.png", color)
    for i in range(6):
        photo(root / "noise" / f"n{i}.png", i)
    (root / "red.txt").write_text("en: red paint\nde: rote Farbe\n")
    (root / "blue.json").write_text('{"caption": "blue paint"}')
    (root / "guide.md").write_text("# How to mix paint\n\nTake two colors and stir.\n")
    (root / "notes.txt").write_text("Remember to buy umbrellas.")
    return root


@pytest.fixture
def folder(tmp_path, photo):
    return drawn(tmp_path / "pictures", photo)


@pytest.fixture
def collection(config, colors, folder):
    """A collection that a test may change."""
    with OpenCollection.open_or_create(config, colors.card) as opened:
        ingest([folder], opened, colors, IngestOptions())
        yield opened


@pytest.fixture(scope="session")
def kept():
    """Resources opened once per session."""
    with ExitStack() as stack:
        yield stack, {}


@pytest.fixture
def shared(kept, tmp_path_factory, colors, photo):
    """(collection, folder), shared by tests that only read it; votes are removed after each."""
    stack, made = kept
    if not made:
        place = tmp_path_factory.mktemp("shared")
        config = load_config({"store": str(place / "store")})
        opened = stack.enter_context(OpenCollection.open_or_create(config, colors.card))
        made["shared"] = opened, drawn(place / "pictures", photo)
        ingest([made["shared"][1]], opened, colors, IngestOptions())
    yield made["shared"]
    (made["shared"][0].path / "feedback.jsonl").unlink(missing_ok=True)


@pytest.fixture
def embed(colors):
    """Embeds sides, as `mine` does."""
    return lambda sides, role: colors.embed([side.to_input() for side in sides], role)
