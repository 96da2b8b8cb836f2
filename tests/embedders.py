"""A small, exact embedder, and the model family of it that command line tests use."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from PIL import Image

from embedder.encoding import EmbeddingModel
from embedder.types import Input, ModelCard, Role, Settings, Vectors

DIM = 48
CARD = ModelCard(
    name="colors",
    family="test",
    revision="1",
    dim=DIM,
    modalities=("text", "image"),
    composes=False,
    languages=("en", "de", "ja"),
    license="Apache-2.0",
    source="tests/embedders.py",
    fingerprint="colors-1",
    image_side=64,
)
SHADES = replace(CARD, name="shades", fingerprint="shades-1")  # another space of the same dim
CARDS = [CARD, SHADES]
PAUSE = "TEST_EMBEDDER_PAUSE"  # seconds that each call takes, for tests of interrupts


class ColorEmbedder(EmbeddingModel):
    """Embeds an image as a 4x4 grid of colors, a text as the color it names."""

    COLORS: ClassVar = {
        "red": (255, 0, 0),
        "rot": (255, 0, 0),
        "赤": (255, 0, 0),
        "green": (0, 255, 0),
        "blue": (0, 0, 255),
        "white": (255, 255, 255),
        "black": (0, 0, 0),
    }

    def __init__(self, card: ModelCard = CARD) -> None:
        self.card = card
        self.calls: list[int] = []  # images embedded in each call

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        time.sleep(float(os.environ.get(PAUSE, "0")))
        self.calls.append(sum(len(item.images) for item in inputs))
        rows = np.stack([self._embed(item) for item in inputs])
        return rows if self.card.name == CARD.name else np.roll(rows, -1, axis=1)

    def _embed(self, item: Input) -> np.ndarray:
        parts = [self._embed_image(image) for image in item.images]
        parts += [self._embed_text(item.text)] if item.text else []
        total = np.sum(parts, axis=0) + 1e-6
        return (total / np.linalg.norm(total)).astype(np.float32)

    def _embed_image(self, image: Image.Image) -> np.ndarray:
        grid = np.asarray(image.convert("RGB").resize((4, 4), Image.Resampling.BOX), np.float32)
        return _unit(grid.reshape(-1) / 127.5 - 1 + 1e-3)  # (48,)

    def _embed_text(self, text: str) -> np.ndarray:
        for name, color in self.COLORS.items():
            if name in text.lower():
                return _unit(np.tile(np.array(color, np.float32) / 127.5 - 1 + 1e-3, 16))
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
        return _unit(np.random.default_rng(seed).standard_normal(DIM))


def _unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def describe(name: str, settings: Settings) -> ModelCard:
    return SHADES if name == SHADES.name else CARD


def load(name: str, settings: Settings) -> ColorEmbedder:
    return ColorEmbedder(describe(name, settings))
