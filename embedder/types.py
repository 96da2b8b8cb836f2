"""What goes into an embedder and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:  # numpy would double the time in which `indexer status` answers
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Vectors: TypeAlias = "NDArray[np.float32]"
"""(n, dim) float32, every row of unit length."""

Role = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class Input:
    """What one vector is made from: a text, pictures (upright RGB), or both."""

    text: str | None = None
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Who a model is. Two vectors may be compared only if their cards' fingerprints are equal.

    `fingerprint` covers everything that changes a vector: family, weights and revision, prompt
    version, image preprocessing version. `composes` says whether text and pictures go through the
    model together; otherwise they are combined by arithmetic. A decoder may shrink a picture until
    its shorter side is `image_side` pixels; the model has no use for more.
    """

    name: str
    family: str
    revision: str
    dim: int
    modalities: tuple[str, ...]
    composes: bool
    languages: tuple[str, ...]
    license: str
    source: str
    fingerprint: str
    image_side: int = 512


class Embedder(Protocol):
    """Turns texts, pictures and both together into one vector space."""

    @property
    def card(self) -> ModelCard: ...

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs` as (n, dim) unit rows in their order; raises `EmbedderError`."""
        ...
