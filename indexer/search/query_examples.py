"""The points and images that a query is made of, where they are among its hits.

They come first, and are marked. That is so where a query has nothing but wanted points and images:
it asks for more of the same. With words or a minus beside them it asks for something else, in which
a point that it starts from is no hit, and an image has no privilege.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.search.duplicates import ImageComparison
from indexer.search.image_signature import SIGNATURE, compute_signature
from indexer.types import Part, Payload, QueryMatch, Record, Vector

SAME_COSINE = 0.9995  # of one image, where its point has no signature


class QueryExamples:
    """The points and images of a query that has nothing else; it is empty for other queries.

    Args:
        parts: All parts of the query.
        embedded: The wanted parts, with their vectors.
        crop_cosine: See `indexer.search.duplicates.estimate_crop_cosine`.
    """

    def __init__(
        self, parts: Sequence[Part], embedded: Sequence[tuple[Part, Vector]], crop_cosine: float
    ) -> None:
        embedded = embedded if is_made_of_examples(parts) else ()
        self._ids = {part.id for part, _ in embedded if part.id}
        self._crop_cosine = crop_cosine
        self._payloads: list[Payload] = []
        self._vectors: list[Vector] = []
        for part, vector in embedded:
            if part.image is not None:
                self._payloads.append({SIGNATURE: compute_signature(part.image)})
                self._vectors.append(vector)

    def __bool__(self) -> bool:
        return bool(self._ids or self._payloads)

    def match(
        self, records: Sequence[Record], vectors: Sequence[Vector]
    ) -> list[QueryMatch | None]:
        """Tell which of `records`, with their `vectors`, are the examples or copies of them."""
        matches: list[QueryMatch | None] = [
            "same" if record.id in self._ids else None for record in records
        ]
        images = [i for i, record in enumerate(records) if record.payload.get("kind") == "image"]
        if not self._payloads or not images:
            return matches
        examples = len(self._payloads)
        payloads = [*self._payloads, *(records[i].payload for i in images)]
        rows = np.stack([*self._vectors, *(vectors[i] for i in images)])
        comparison = ImageComparison(payloads, rows, self._crop_cosine)
        copies, _ = comparison.compare(slice(examples, len(rows)), slice(0, examples))
        cosines = rows[examples:] @ rows[:examples].T
        for row, i in enumerate(images):
            for example in np.flatnonzero(copies[row]):
                signature = payloads[examples + row].get(SIGNATURE)
                is_same = signature == payloads[example][SIGNATURE] or (
                    signature is None and cosines[row, example] >= SAME_COSINE
                )
                matches[i] = "same" if is_same else matches[i] or "copy"
        return matches


def is_made_of_examples(parts: Sequence[Part]) -> bool:
    """Whether a query asks for nothing but more like some points and images."""
    return all(part.weight > 0 and not part.text for part in parts)
