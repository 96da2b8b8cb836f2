"""What goes into an embedder and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from embedder.errors import EmbedderError

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

    @property
    def has_text(self) -> bool:
        """Whether there is a text with more than blanks in it."""
        return bool(self.text and self.text.strip())

    def validate(self) -> None:
        """Raise `EmbedderError` where there is nothing to embed."""
        if not (self.has_text or self.images):
            raise EmbedderError("an input holds neither a text nor a picture")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Who a model is. Two vectors may be compared only if their cards' fingerprints are equal.

    `fingerprint` covers everything that changes a vector: family, weights and revision, adapter,
    prompt version, image preprocessing version, pixel budget, length. `composes` says whether text
    and pictures go through the model together; otherwise they are combined by arithmetic. A decoder
    may shrink a picture until its shorter side is `image_side` pixels; the model has no use for
    more. `memory` is what the weights and a batch need at bf16, in bytes. `matryoshka` are shorter
    lengths that the model was trained to be cut to. Settings(dim=card.dim,
    pixel_budget=card.pixel_budget) loads the same model again.
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
    license_note: str = ""
    parameters: int = 0
    memory: int = 0
    matryoshka: tuple[int, ...] = ()
    pixel_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is loaded. `dim` and `pixel_budget` change its vectors, the rest does not.

    device: "cpu", "cuda:1", or several with commas, each with a copy of the model; None: the best
    that is there. dtype: "bfloat16", "float16" or "float32"; None: bfloat16 on a GPU, else float32.
    pixel_budget: pixels that a picture may cost; None: what the model was trained with. dim: the
    length vectors are cut to; None: whole. workers: threads that prepare pictures, or that the
    starter looks at them with; 0: the cores' number, at most 8. batch_tokens: tokens in a batch; 0:
    chosen by the device. api_key, timeout (seconds): for remote servers.
    """

    device: str | None = None
    dtype: str | None = None
    pixel_budget: int | None = None
    dim: int | None = None
    trust_remote_code: bool = False
    workers: int = 0
    batch_tokens: int = 0
    api_key: str | None = None
    timeout: float = 120.0


class Embedder(Protocol):
    """Turns texts, pictures and both together into one vector space."""

    @property
    def card(self) -> ModelCard: ...

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs` as (n, dim) unit rows in their order; raises `EmbedderError`."""
        ...
