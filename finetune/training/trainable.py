"""What the trainer asks of a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from embedder.engine.backbone import Backbone


class Trainable(Protocol):
    """A model that can be trained. Its prompts and pictures are the backbone's: the very code that
    embeds with it afterwards."""

    @property
    def module(self) -> nn.Module:
        """What holds the parameters; those that require gradients are trained."""
        ...

    @property
    def backbone(self) -> Backbone[Any]:
        """`forward` gives (n, dim) with gradients, not of unit length."""
        ...

    @property
    def cacheable(self) -> bool:
        """Whether what the backbone makes ready is small, and costly enough to be kept for the
        next epoch."""
        ...

    def precompute(self, texts: Sequence[str]) -> None:
        """Hear of all texts before training, where that saves time."""
        ...

    def penalty(self) -> Tensor | None:
        """A scalar that is added to the loss."""
        ...

    def finish(self) -> None:
        """What follows the last step, such as a mean with the weights from before."""
        ...

    def save(self, folder: Path) -> None:
        """Write the weights as they are, so that `--model FOLDER` loads them."""
        ...

    def restore(self, folder: Path) -> None:
        """Take the weights of a folder that `save` wrote for a checkpoint."""
        ...
