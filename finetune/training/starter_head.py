"""The starter's head as a trainable model, on a CPU in minutes.

The towers are not trained, and run once for each text and image. Trained are the MLP that projects
images and, at a tenth of the learning rate, the projections of texts. docs/finetuning.md says what
that is worth.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from PIL.Image import Image
from safetensors.numpy import save_file
from torch import Tensor

import embedder
from embedder.checkpoint import METADATA_FILE
from embedder.engine import Batch, Bucket
from embedder.families.starter import HEAD_FILE
from embedder.families.starter.model import ProjectionHead, Starter
from embedder.types import Input, Role, Settings
from finetune.training.starter_module import StarterModule
from finetune.training.trainable import Trainable

Array = NDArray[np.float32]
TEXT_BATCH = 64  # texts that go through the tower together
KEY_SIZE = 16  # bytes


def load_starter_head(name: str, settings: Settings, cache: Path | None = None) -> StarterHead:
    """Load the starter, or a starter adapted before, for training on the CPU; `cache` is a folder
    that keeps the features of texts and images."""
    starter = cast(Starter, embedder.load(name, replace(settings, device="cpu")))
    return StarterHead(starter, cache)


@dataclass(frozen=True, slots=True)
class Features:
    """What the towers compute from one input."""

    text: Array | None  # (3, 384), the parts of `TextFeatures`
    images: tuple[Array, ...]  # (1152,): 768 whitened features, 384 of the class names' embedding


class StarterHead(Trainable):
    """The starter with a head that is trained; also its own `embedder.engine.Backbone`.

    All the work is in `prepare`, which does it once for each text and image.
    """

    cacheable = True

    def __init__(self, starter: Starter, cache: Path | None = None) -> None:
        self._starter, self.card = starter, starter.card
        self.device = torch.device("cpu")
        self.module: StarterModule = StarterModule(starter.head)
        self.backbone = self
        version = starter.card.fingerprint[-12:]
        self._texts = FeatureCache((3, 384), cache / f"texts-{version}.bin" if cache else None)
        self._images = FeatureCache((1152,), cache / f"pictures-{version}.bin" if cache else None)

    def precompute(self, texts: Sequence[str]) -> None:
        """Takes half the time of one text after the other."""
        new = [text for text in texts if text_key(text) not in self._texts]
        for start in range(0, len(new), TEXT_BATCH):
            chunk = new[start : start + TEXT_BATCH]
            rows = np.stack(self._starter.extract_text_features(chunk), axis=1)  # (n, 3, 384)
            for text, row in zip(chunk, rows, strict=True):
                self._texts.put(text_key(text), row)

    def penalty(self) -> Tensor:
        return self.module.forgetting_penalty()

    def save(self, folder: Path) -> None:
        """Write `starter_head.safetensors` and `polylens.json`. Trained weights are in float32, the
        others in float16, as the starter has them."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {n: w.astype(np.float16) for n, w in self._starter.head.weights.items()}
        save_file({**weights, **self.module.trained_weights()}, folder / HEAD_FILE.name)
        card = self.card
        metadata = {"family": card.family, "base": card.name, "languages": card.languages}
        (folder / METADATA_FILE).write_text(json.dumps(metadata, indent=2) + "\n", "utf-8")

    def restore(self, folder: Path) -> None:
        self.module.restore(ProjectionHead.read(folder / HEAD_FILE.name))

    def prepare(self, item: Input, role: Role, instruction: str | None) -> Features:
        """The same for both roles and any instruction; raises `EmbedderError` for an empty one."""
        item.validate()
        text = item.text if item.text and item.has_text else None
        return Features(
            None if text is None else self._encode_text(text),
            tuple(map(self._encode_image, item.images)),
        )

    def bucket(self, ready: Features) -> Bucket:
        return Bucket("", 1)

    def count_tokens(self, ready: Features) -> int:
        return 0  # nobody asks while it is trained

    def process(self, ready: Features) -> None:
        """`prepare` has done it all."""

    def collate(self, items: Sequence[Features], processed: Sequence[Any]) -> Batch:
        """What `StarterModule.forward` takes."""
        texts = [(row, item.text) for row, item in enumerate(items) if item.text is not None]
        images = [(row, one) for row, item in enumerate(items) for one in item.images]
        shares = [1 / len(items[row].images) for row, _ in images]
        return {
            "count": len(items),
            "text_rows": torch.tensor([row for row, _ in texts], dtype=torch.int64),
            "texts": _stack([one for _, one in texts], (3, 384)),
            "image_rows": torch.tensor([row for row, _ in images], dtype=torch.int64),
            "images": _stack([one for _, one in images], (1152,)),
            "shares": torch.tensor(shares, dtype=torch.float32),
        }

    def forward(self, batch: Batch) -> Tensor:
        """(n, 384), not normalized."""
        rows: Tensor = self.module(batch)
        return rows

    def _encode_text(self, text: str) -> Array:
        def compute() -> Array:
            return np.concatenate(self._starter.extract_text_features([text])).astype(np.float32)

        return self._texts.get_or_compute(text_key(text), compute)

    def _encode_image(self, image: Image) -> Array:
        def compute() -> Array:
            towers, head = self._starter.extract_image_features([image]), self._starter.head
            whitened = head.whiten([features for features, _ in towers])
            names = head.embed_class_names([logits for _, logits in towers])
            return np.concatenate([whitened[0], names[0]]).astype(np.float32)

        return self._images.get_or_compute(image_key(image), compute)


class FeatureCache:
    """Rows of `shape` by key, in memory and in a file. Thread-safe.

    The file has records of one size, each a key of 16 bytes and a row in float32. They are
    appended, so that a crash cuts off only the last.
    """

    def __init__(self, shape: tuple[int, ...], file: Path | None = None) -> None:
        self._shape, self._file = shape, file
        self._rows: dict[bytes, Array] = {}
        self._lock = threading.Lock()
        if file and file.exists():
            records = np.fromfile(file, [("key", f"V{KEY_SIZE}"), ("row", "<f4", shape)])
            if file.stat().st_size % records.itemsize:  # or records that follow would be shifted
                os.truncate(file, records.nbytes)
            self._rows = {record["key"].tobytes(): record["row"] for record in records}

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def get_or_compute(self, key: bytes, compute: Callable[[], Array]) -> Array:
        row = self._rows.get(key)
        if row is None:
            row = compute().reshape(self._shape)
            self.put(key, row)
        return row

    def put(self, key: bytes, row: Array) -> None:
        with self._lock:
            self._rows[key] = row
            if self._file:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("ab") as stream:
                    stream.write(key + row.astype("<f4").tobytes())


def text_key(text: str) -> bytes:
    return blake3(text.encode("utf-8", "surrogatepass")).digest(KEY_SIZE)


def image_key(image: Image) -> bytes:
    """A key of the pixels in their shape."""
    header = f"{image.mode} {image.size} ".encode()
    return blake3(header + image.tobytes()).digest(KEY_SIZE)


def _stack(rows: Sequence[Array], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, *shape), np.float32))
