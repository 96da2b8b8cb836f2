"""A trainable model as a module of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers.base.modules import InputModule
from torch import nn

from embedder.types import Input
from finetune.training.trainable import Trainable


class TrainableModule(InputModule):
    """The one module of the SentenceTransformer that is trained."""

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inner: nn.Module = trainable.module
        self._trainable = [trainable]  # in a list, so that it is no submodule

    @property
    def modalities(self) -> list[Any]:
        return ["text", "image"]

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """Texts, or {"text", "image"}, as queries."""
        backbone = self._trainable[0].backbone
        items = [_to_input(one) for one in inputs]
        ready = [backbone.prepare(item, "query", prompt) for item in items]
        return dict(backbone.collate(ready, [backbone.process(one) for one in ready]))

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds `sentence_embedding` (n, dim), not of unit length."""
        return {**features, "sentence_embedding": self._trainable[0].backbone.forward(features)}

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        self._trainable[0].save(Path(output_path))


def _to_input(one: Any) -> Input:
    if isinstance(one, str):
        return Input(one)
    image = one.get("image")
    return Input(one.get("text"), (image,) if image is not None else ())
