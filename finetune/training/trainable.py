"""What the trainer needs of a model, and its form as a sentence-transformers module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn

from embedder.engine import Backbone


class Trainable(ABC):
    """A model that can be trained, with the prompts of the backbone that embeds later."""

    module: nn.Module  # its parameters that require gradients are trained
    backbone: Backbone[Any]  # `forward` gives (n, dim) with gradients, not normalized
    cacheable = False  # prepared inputs are small and costly enough to keep for the next epoch

    def precompute(self, texts: Sequence[str]) -> None:  # noqa: B027
        """Prepare all texts before training, where that saves time."""

    def penalty(self) -> Tensor | None:
        """A scalar that is added to the loss."""
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the current weights, so that `--model FOLDER` loads them."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Load the weights from a folder that `save` wrote for a checkpoint."""


class TrainableModule(InputModule):
    """The one module of a SentenceTransformer in training; the collator prepares its inputs."""

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inner: nn.Module = trainable.module
        self._trainable = trainable

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add `sentence_embedding` (n, dim), not normalized."""
        return {**features, "sentence_embedding": self._trainable.backbone.forward(features)}

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        self._trainable.save(Path(output_path))
