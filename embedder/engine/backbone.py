"""What a family gives to the engine, which turns it into an embedder."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from embedder.types import Input, ModelCard, Role

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

Batch: TypeAlias = Mapping[str, Any]
"""Keyword arguments of a model. Tensors are moved to its device, all else stays as it is."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What an input costs. Only inputs of the same `key` share a batch; in it, each costs as many
    tokens as the longest, and what it costs `beside` that, such as tiles, in tokens as well."""

    key: Hashable
    tokens: int
    extra_tokens: int = 0


class Backbone(Protocol[T]):
    """A loaded model. `T` is an input made ready: token ids, and pictures not yet resized.

    All but `forward` runs on the CPU, `process` and `collate` in several threads at once.
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def device(self) -> torch.device: ...

    def prepare(self, item: Input, role: Role, instruction: str | None) -> T:
        """Token ids of an input; raises `EmbedderError` for one that the model cannot take."""
        ...

    def bucket(self, ready: T) -> Bucket: ...

    def process(self, ready: T) -> Any:
        """The costly part of one input, such as resizing its pictures."""
        ...

    def collate(self, items: Sequence[T], processed: Sequence[Any]) -> Batch:
        """Padded tensors of a batch, on the CPU."""
        ...

    def forward(self, batch: Batch) -> torch.Tensor:
        """(n, dim) on the device, before truncation and normalisation."""
        ...
