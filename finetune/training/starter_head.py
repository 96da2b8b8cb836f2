"""The starter's head as a model that can be trained, on a CPU in minutes.

Its towers stay as they are, and run once for each text and picture. What is trained is the
perceptron that sees pictures and, at a tenth of its pace, the maps of texts. docs/finetuning.md
tells what that is worth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from safetensors.numpy import save_file
from torch import Tensor

import embedder
from embedder.checkpoint import METADATA_FILE
from embedder.engine.backbone import Batch, Bucket
from embedder.families.starter.card import HEAD_FILE
from embedder.families.starter.family import ProjectionHead, Starter
from embedder.types import Input, ModelCard, Role, Settings
from finetune.training.starter_cache import FeatureCache, image_key, text_key
from finetune.training.starter_module import StarterModule

Array = NDArray[np.float32]
CPU = torch.device("cpu")
TEXT_BATCH = 64  # texts that the tower hears together


def load_starter_head(name: str, settings: Settings, cache: Path | None = None) -> StarterHead:
    """The starter, or the starter adapted before, to be trained; `cache` is a folder that keeps
    what the towers made of texts and pictures. Raises `EmbedderError`, `UnknownModelError`."""
    starter = cast(Starter, embedder.load(name, replace(settings, device="cpu")))
    return StarterHead(starter, cache)


class StarterHead:
    """A `finetune.training.trainable.Trainable`."""

    cacheable = True  # what the towers made

    def __init__(self, starter: Starter, cache: Path | None = None) -> None:
        self._starter = starter
        self.module = StarterModule(starter.head)
        self.backbone = StarterHeadBackbone(starter, self.module, cache)

    def precompute(self, texts: Sequence[str]) -> None:
        """Half the time of one text after the other."""
        self.backbone.precompute_texts(texts)

    def penalty(self) -> Tensor:
        return self.module.forgetting_penalty()

    def finish(self) -> None:
        """Nothing follows: the penalty has kept what the head knew."""

    def save(self, folder: Path) -> None:
        """`starter_head.safetensors` and `polylens.json`. What was trained is kept in float32, the
        rest in float16, as the starter has it."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {n: w.astype(np.float16) for n, w in self._starter.head.weights.items()}
        save_file({**kept, **self.module.trained_weights()}, folder / HEAD_FILE.name)
        card = self._starter.card
        told = {"family": card.family, "base": card.name, "languages": card.languages}
        (folder / METADATA_FILE).write_text(json.dumps(told, indent=2) + "\n", "utf-8")

    def restore(self, folder: Path) -> None:
        self.module.restore(ProjectionHead.read(folder / HEAD_FILE.name))


@dataclass(frozen=True, slots=True)
class Features:
    """What the towers make of one input.

    `text` (3, 384): the parts of `TextFeatures`, or None without a text. `images`: a row (1152,)
    for each image, its 768 whitened features and the 384 numbers of `Head.named`.
    """

    text: Array | None
    images: tuple[Array, ...]


class StarterHeadBackbone:
    """An `embedder.engine.backbone.Backbone`; all the work is in `prepare`, which does it once."""

    def __init__(self, starter: Starter, module: StarterModule, cache: Path | None) -> None:
        self._starter, self._module = starter, module
        made_by = starter.card.fingerprint[-12:]
        self._texts = FeatureCache((3, 384), cache / f"texts-{made_by}.bin" if cache else None)
        self._images = FeatureCache((1152,), cache / f"pictures-{made_by}.bin" if cache else None)

    @property
    def card(self) -> ModelCard:
        return self._starter.card

    @property
    def device(self) -> torch.device:
        return CPU

    def precompute_texts(self, texts: Sequence[str]) -> None:
        """Keep what the tower makes of those that are new to it."""
        new = [text for text in texts if text_key(text) not in self._texts]
        for start in range(0, len(new), TEXT_BATCH):
            chunk = new[start : start + TEXT_BATCH]
            rows = np.stack(self._starter.extract_text_features(chunk), axis=1)  # (n, 3, 384)
            for text, row in zip(chunk, rows, strict=True):
                self._texts.put(text_key(text), row)

    def prepare(self, item: Input, role: Role, instruction: str | None) -> Features:
        """The same for both roles and any instruction; raises `EmbedderError` where it is empty."""
        item.validate()
        heard = self._encode_text(item.text) if item.text and item.has_text else None
        return Features(heard, tuple(map(self._encode_image, item.images)))

    def bucket(self, ready: Features) -> Bucket:
        return Bucket("", 1)

    def process(self, ready: Features) -> None:
        """Nothing is left to do."""

    def collate(self, items: Sequence[Features], processed: Sequence[Any]) -> Batch:
        """What `HeadModule.forward` takes."""
        texts = [(row, item.text) for row, item in enumerate(items) if item.text is not None]
        seen = [(row, one) for row, item in enumerate(items) for one in item.images]
        shares = [1 / len(items[row].images) for row, _ in seen]
        return {
            "count": len(items),
            "text_rows": torch.tensor([row for row, _ in texts], dtype=torch.int64),
            "heard": _stack([heard for _, heard in texts], (3, 384)),
            "picture_rows": torch.tensor([row for row, _ in seen], dtype=torch.int64),
            "seen": _stack([one for _, one in seen], (1152,)),
            "shares": torch.tensor(shares, dtype=torch.float32),
        }

    def forward(self, batch: Batch) -> Tensor:
        """(n, 384): the sums that `embedder.families.starter.family.Starter` brings to length 1."""
        names = ("count", "text_rows", "heard", "picture_rows", "seen", "shares")
        rows: Tensor = self._module(**{name: batch[name] for name in names})
        return rows

    def _encode_text(self, text: str) -> Array:
        return self._texts.get_or_compute(
            text_key(text),
            lambda: np.concatenate(self._starter.extract_text_features([text])).astype(np.float32),
        )

    def _encode_image(self, image: Image) -> Array:
        return self._images.get_or_compute(
            image_key(image), lambda: self._compute_image_features(image)
        )

    def _compute_image_features(self, image: Image) -> Array:
        seen, head = self._starter.extract_image_features([image]), self._starter.head
        whitened = head.whiten([features for features, _ in seen])
        named = head.embed_class_names([logits for _, logits in seen])
        return np.concatenate([whitened[0], named[0]]).astype(np.float32)


def _stack(rows: Sequence[Array], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, *shape), np.float32))
