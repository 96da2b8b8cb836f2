"""An embedder that costs next to nothing, so that what is measured is everything around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedder import EmbeddingModel
from embedder.types import Input, ModelCard, Role, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

GRID = (16, 8)  # 128 cells of three colors are 384 dimensions


class NullEmbedder(EmbeddingModel):
    """Embeds an image as 16 x 8 of its pixels, a text as noise seeded by it; 384 dim, unit norm."""

    card = ModelCard(
        name="null",
        family="bench",
        revision="1",
        dim=GRID[0] * GRID[1] * 3,
        modalities=("text", "image"),
        composes=False,
        languages=(),
        license="Apache-2.0",
        source="bench/null_embedder.py",
        fingerprint="null-1",
        image_side=256,  # what the peer's model and the starter want, about
    )

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        rows = np.stack([self._row(item) for item in inputs]).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def _row(self, item: Input) -> np.ndarray:
        if item.images:
            return _cells(item.images[0])
        seed = abs(hash(item.text)) % (1 << 32)
        return np.random.default_rng(seed).standard_normal(self.card.dim)


def _cells(image: Image) -> np.ndarray:
    small = image.resize(GRID, resample=0)  # nearest: 128 pixels are read
    return np.asarray(small, np.float32).reshape(-1) / 127.5 - 1 + 1e-3
