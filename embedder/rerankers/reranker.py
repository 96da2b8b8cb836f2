"""What all rerankers have in common: a score for each candidate of a query, computed in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from embedder.engine import BatchModel, BatchRunner
from embedder.errors import EmbedderError
from embedder.types import Input, Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerCard:
    """What is known of a reranker.

    Attributes:
        modalities: What it reads: ("text",), or ("text", "image").
        image_side: The shorter side in pixels to which a decoder may reduce an image.
        parameters: How many; 0 where that is not known.
        memory: Bytes for the weights and a batch in bf16; 0 where that is not known.
        fingerprint: Covers everything that changes a score: weights, prompt, pixel budget.
    """

    name: str
    family: str
    modalities: tuple[str, ...]
    fingerprint: str = ""
    license: str = "see its page"
    image_side: int = 512
    parameters: int = 0
    memory: int = 0

    @property
    def reads_images(self) -> bool:
        return "image" in self.modalities


class PairModel(BatchModel[T], Protocol[T]):
    """A loaded reranker. Its `forward` computes (n, 1): a score of each pair, higher is better."""

    @property
    def card(self) -> RerankerCard: ...

    def can_read(self, image: Image) -> bool:
        """Whether an image has a form that the model takes."""
        ...

    def prepare(self, query: Input, candidate: Input, instruction: str | None) -> T:
        """Tokenize a query and a candidate, both with a text, images, or both."""
        ...


class Reranker:
    """A loaded reranker. Thread-safe: one call prepares while another computes."""

    def __init__(self, model: PairModel[Any], settings: Settings) -> None:
        self.model, self.card = model, model.card
        self._runner = BatchRunner(self.card.name, model, settings)

    def score(
        self, query: Input, candidates: Sequence[Input], instruction: str | None = None
    ) -> NDArray[np.float32]:
        """Score how well each candidate fits the query.

        Args:
            query: A text, images, or both.
            candidates: Texts, images, or both together. A model that reads texts alone reads the
                text of a candidate.
            instruction: What makes a candidate fit, for models that follow instructions.

        Returns:
            (n,) float32, higher is better; scores of two queries cannot be compared. NaN for a
            candidate of which the model can read nothing: for one that reads texts alone, an image
            without a text; else, an image that is 200 times as long as wide.

        Raises:
            EmbedderError: The model cannot read the query, or has too little memory.
        """
        self.check_query(query)
        readable = [self._keep_readable(candidate) for candidate in candidates]
        rows = [row for row, one in enumerate(readable) if one.has_text or one.images]
        scores = np.full(len(candidates), np.nan, dtype=np.float32)
        if rows:
            ready = [self.model.prepare(query, readable[row], instruction) for row in rows]
            computed = self._runner.run(ready)[:, 0]
            if not np.isfinite(computed).all():
                raise EmbedderError(
                    f"{self.card.name} computed a score that is not finite; try --dtype float32"
                )
            scores[rows] = computed
        return scores

    def check_query(self, query: Input) -> None:
        """Raise `EmbedderError` for a query that the model cannot read."""
        query.validate()
        if query.images and not self.card.reads_images:
            raise EmbedderError(
                f"{self.card.name} reads only texts, and the query has an image; choose a reranker "
                "that reads images, such as qwen3-vl-reranker-2b"
            )
        if not all(map(self.model.can_read, query.images)):
            raise EmbedderError(
                f"{self.card.name} cannot read the image of the query: one side is over 200 times "
                "the other; crop it"
            )

    def _keep_readable(self, candidate: Input) -> Input:
        images = candidate.images if self.card.reads_images else ()
        return Input(candidate.text, tuple(filter(self.model.can_read, images)))
