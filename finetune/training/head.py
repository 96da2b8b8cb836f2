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
from embedder.checkpoint import OURS
from embedder.engine.backbone import Batch, Bucket
from embedder.starter import Head, Starter
from embedder.starter_card import HEAD
from embedder.types import Input, ModelCard, Role, Settings
from finetune.training.head_cache import Rows, of_image, of_text
from finetune.training.head_module import HeadModule

Array = NDArray[np.float32]
CPU = torch.device("cpu")
CHUNK = 64  # texts that the tower hears together


def head(name: str, settings: Settings, cache: Path | None = None) -> StarterHead:
    """The starter, or the starter adapted before, to be trained; `cache` is a folder that keeps
    what the towers made of texts and pictures. Raises `EmbedderError`, `UnknownModelError`."""
    starter = cast(Starter, embedder.load(name, replace(settings, device="cpu")))
    return StarterHead(starter, cache)


class StarterHead:
    """A `finetune.training.trainable.Trainable`."""

    keeps = True  # what the towers made

    def __init__(self, starter: Starter, cache: Path | None = None) -> None:
        self._starter = starter
        self.module = HeadModule(starter.head)
        self.backbone = HeadBackbone(starter, self.module, cache)

    def acquaint(self, texts: Sequence[str]) -> None:
        """Half the time of one text after the other."""
        self.backbone.hear(texts)

    def penalty(self) -> Tensor:
        return self.module.forgotten()

    def finish(self) -> None:
        """Nothing follows: the penalty has kept what the head knew."""

    def save(self, folder: Path) -> None:
        """`starter_head.safetensors` and `polylens.json`. What was trained is kept in float32, the
        rest in float16, as the starter has it."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {n: w.astype(np.float16) for n, w in self._starter.head.weights.items()}
        save_file({**kept, **self.module.trained()}, folder / HEAD.name)
        card = self._starter.card
        told = {"family": card.family, "base": card.name, "languages": card.languages}
        (folder / OURS).write_text(json.dumps(told, indent=2) + "\n", "utf-8")

    def restore(self, folder: Path) -> None:
        self.module.restore(Head.read(folder / HEAD.name))


@dataclass(frozen=True, slots=True)
class Noticed:
    """What the towers make of one input.

    `heard` (3, 384): the parts of `embedder.starter_text.Heard`, or None without a text. `seen`: a
    row (1152,) a picture, its 768 whitened features and the 384 numbers of `Head.named`.
    """

    heard: Array | None
    seen: tuple[Array, ...]


class HeadBackbone:
    """An `embedder.engine.backbone.Backbone`; all the work is in `prepare`, which does it once."""

    def __init__(self, starter: Starter, module: HeadModule, cache: Path | None) -> None:
        self._starter, self._module = starter, module
        made_by = starter.card.fingerprint[-12:]
        self._texts = Rows((3, 384), cache / f"texts-{made_by}.bin" if cache else None)
        self._pictures = Rows((1152,), cache / f"pictures-{made_by}.bin" if cache else None)

    @property
    def card(self) -> ModelCard:
        return self._starter.card

    @property
    def device(self) -> torch.device:
        return CPU

    def hear(self, texts: Sequence[str]) -> None:
        """Keep what the tower makes of those that are new to it."""
        new = [text for text in texts if of_text(text) not in self._texts]
        for start in range(0, len(new), CHUNK):
            chunk = new[start : start + CHUNK]
            rows = np.stack(self._starter.hear(chunk), axis=1)  # (n, 3, 384)
            for text, row in zip(chunk, rows, strict=True):
                self._texts.put(of_text(text), row)

    def prepare(self, item: Input, role: Role, instruction: str | None) -> Noticed:
        """The same for both roles and any instruction; raises `EmbedderError` where it is empty."""
        item.check()
        heard = self._hear(item.text) if item.text and item.says else None
        return Noticed(heard, tuple(map(self._see, item.images)))

    def bucket(self, ready: Noticed) -> Bucket:
        return Bucket("", 1)

    def process(self, ready: Noticed) -> None:
        """Nothing is left to do."""

    def collate(self, items: Sequence[Noticed], processed: Sequence[Any]) -> Batch:
        """What `HeadModule.forward` takes."""
        texts = [(row, item.heard) for row, item in enumerate(items) if item.heard is not None]
        seen = [(row, one) for row, item in enumerate(items) for one in item.seen]
        shares = [1 / len(items[row].seen) for row, _ in seen]
        return {
            "count": len(items),
            "text_rows": torch.tensor([row for row, _ in texts], dtype=torch.int64),
            "heard": _stack([heard for _, heard in texts], (3, 384)),
            "picture_rows": torch.tensor([row for row, _ in seen], dtype=torch.int64),
            "seen": _stack([one for _, one in seen], (1152,)),
            "shares": torch.tensor(shares, dtype=torch.float32),
        }

    def forward(self, batch: Batch) -> Tensor:
        """(n, 384): the sums that `embedder.starter.Starter` brings to length 1."""
        names = ("count", "text_rows", "heard", "picture_rows", "seen", "shares")
        rows: Tensor = self._module(**{name: batch[name] for name in names})
        return rows

    def _hear(self, text: str) -> Array:
        return self._texts.get(
            of_text(text), lambda: np.concatenate(self._starter.hear([text])).astype(np.float32)
        )

    def _see(self, image: Image) -> Array:
        return self._pictures.get(of_image(image), lambda: self._looked(image))

    def _looked(self, image: Image) -> Array:
        seen, head = self._starter.see([image]), self._starter.head
        whitened = head.whitened([features for features, _ in seen])
        named = head.named([logits for _, logits in seen])
        return np.concatenate([whitened[0], named[0]]).astype(np.float32)


def _stack(rows: Sequence[Array], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, *shape), np.float32))
