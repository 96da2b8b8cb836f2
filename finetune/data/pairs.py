"""A pair: a query, what it should find, and what it should not.

Training, mining, synthesis and evaluation all speak of these. Pictures are named by their paths and
opened when they are embedded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.errors import DataError

if TYPE_CHECKING:
    from embedder.types import Input

MAX_SHORTER_SIDE = 1344  # pixels: what is left of a larger picture; no family sees more


@dataclass(frozen=True, slots=True)
class Side:
    """A query or a document: words, the path of a picture, or both. `instruction` tells a model
    that follows instructions what to look for; None is the family's own."""

    text: str | None = None
    image: str | None = None
    instruction: str | None = None

    @property
    def kind(self) -> str:
        """`t`, `i`, or `it` for a picture with words."""
        return "i" * bool(self.image) + "t" * bool(self.text)

    def to_input(self, shorter_side: int = MAX_SHORTER_SIDE) -> Input:
        """What the embedder takes, the picture opened; raises `DataError`."""
        from embedder.images.decode import decode_image, read_file
        from embedder.types import Input
        from indexer.skip_reasons import UnusableFileError

        if not self.image:
            return Input(self.text)
        try:
            return Input(self.text, (decode_image(read_file(self.image), side=shorter_side).image,))
        except UnusableFileError as error:
            raise DataError(f"{self.image} cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class Pair:
    """One example. `item` is what it is about (a picture's content, a product): all pairs of an
    item stay on one side of a split, and none is a negative of another; "" where nothing is known.
    `language` is a BCP 47 tag in lower case; `dataset` names what a batch is drawn from together.
    """

    query: Side
    positive: Side
    negatives: tuple[Side, ...] = ()
    language: str | None = None
    item: str = ""
    dataset: str = ""

    @property
    def direction(self) -> str:
        """`t2i`, `i2t`, `i2i`, `it2i`, `t2t`...; `it` stands for words with a picture."""
        return f"{self.query.kind}2{self.positive.kind}"
