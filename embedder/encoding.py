"""The public face of a loaded model: `encode_query` and `encode_document`."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from embedder.errors import EmbedderError
from embedder.types import Input, MatchHead, ModelCard, Role, Translation, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Item: TypeAlias = "str | Path | Image | Mapping[str, Any] | Input"
"""What one vector is made from.

A str is a text; a Path is an image file; a dict has "text", "image" (a PIL image or a path) or
"images" (several), or both a text and images.
"""

KEYS = {"text", "image", "images"}


class EmbeddingModel(ABC):
    """A loaded model. `embed` and what builds on it may be called from several threads."""

    card: ModelCard

    @abstractmethod
    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs`, in their order; see `embedder.Embedder`."""

    def embed_and_count(
        self, inputs: Sequence[Input], role: Role, instruction: str | None = None
    ) -> tuple[Vectors, list[int]]:
        """Embed `inputs`, and count the tokens that the model reads of each.

        A token is one of the model's: of the text with its prompt, and what an image takes in the
        sequence. 0 where the model has no tokens, or does not tell.
        """
        return self.embed(inputs, role, instruction), [0] * len(inputs)

    def describe_computation(self) -> str:
        """Describe how the vectors are computed, such as "cuda:0, bfloat16, sdpa"; "" for a model
        that does not tell."""
        return ""

    def knows_words(self, text: str) -> bool:
        """Whether the model knows some word of a short text.

        The vector of another text says little, as with a word that the starter's lexicon lacks.
        Most models cannot tell, and know all.
        """
        return True

    def find_translation(self, text: str) -> Translation | None:
        """How the model reads a short text in English, if it looks words up."""
        return None

    @property
    def match_head(self) -> MatchHead | None:
        """What the model has learned about the cosine of a text and an image, if anything."""
        return None

    @property
    def max_concurrency(self) -> int:
        """How many calls of `embed` at once make the model faster."""
        return 1

    def close(self) -> None:  # noqa: B027  most models have nothing to release
        """Release processes and connections; the model cannot be used afterwards."""

    def encode_query(
        self, items: Item | Iterable[Item], instruction: str | None = None
    ) -> NDArray[np.float32]:
        """Embed what is searched for.

        Args:
            items: One item, or several; see `Item`.
            instruction: What to look for, for models that follow instructions.

        Returns:
            Float32 vectors of unit norm: (dim,) for one item, (n, dim) for several.

        Raises:
            EmbedderError: An item has a wrong type, is empty, or the model cannot take it.
            UnusableFileError: An image file cannot be read.
        """
        return self._encode(items, "query", instruction)

    def encode_document(
        self, items: Item | Iterable[Item], instruction: str | None = None
    ) -> NDArray[np.float32]:
        """Embed what is searched in; arguments and results as in `encode_query`."""
        return self._encode(items, "document", instruction)

    def _encode(self, items: Any, role: Role, instruction: str | None) -> NDArray[np.float32]:
        import numpy as np

        side = self.card.image_side
        single = isinstance(items, str | Path | Mapping | Input) or _is_image(items)
        inputs = [to_input(item, side) for item in ([items] if single else items)]
        vectors = self.embed(inputs, role, instruction)
        return np.asarray(vectors[0]) if single else vectors


def to_input(item: Item, side: int) -> Input:
    """Convert an `Item`, with images reduced to a shorter side of `side` pixels or more."""
    if isinstance(item, Input):
        return item
    if isinstance(item, str):
        return Input(item)
    if isinstance(item, Path) or _is_image(item):
        return Input(images=(read_image(item, side),))
    if isinstance(item, Mapping):
        if not item or item.keys() - KEYS:
            raise EmbedderError(f"an item has the keys {sorted(KEYS)}, not {sorted(item)}")
        text = item.get("text")
        if not isinstance(text, str | None):
            raise EmbedderError(f"the text of an item is {type(text).__name__}, not str")
        images = [item["image"]] if item.get("image") is not None else []
        images += item.get("images") or []
        return Input(text, tuple(read_image(image, side) for image in images))
    raise EmbedderError(
        "an item is a str, a Path of an image, a PIL image, a dict or an embedder.Input, "
        f"not {type(item).__name__}"
    )


def read_image(source: Any, side: int) -> Image:
    """Return a PIL image or the image file at a path as upright RGB; errors name the file."""
    is_path = isinstance(source, str | Path)
    if not is_path and not _is_image(source):
        raise EmbedderError(f"an image is a PIL image or a path, not {type(source).__name__}")
    try:
        return open_image(source, side)
    except EmbedderError as error:
        error.args = (f"{source if is_path else 'the image'}: {error}",)
        raise


def open_image(source: str | Path | Image, side: int) -> Image:
    """Return a PIL image or the image file at a path as upright RGB; raises `EmbedderError`."""
    from embedder.images.decode import decode_image, read_file, to_upright_srgb

    try:
        if isinstance(source, str | Path):
            return decode_image(read_file(os.path.expanduser(source)), side=side).image
        if 0 in source.size:
            raise ValueError("it has no pixels")
        return to_upright_srgb(source, side)
    except EmbedderError:
        raise
    except Exception as error:  # Pillow has no common error for closed and broken images
        raise EmbedderError(str(error)) from error


def _is_image(value: object) -> bool:
    pillow = sys.modules.get("PIL.Image")  # not imported: then nothing is an image
    return pillow is not None and isinstance(value, pillow.Image)
