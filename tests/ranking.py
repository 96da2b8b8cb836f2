"""One comparison of ranked points, for servers that order points of equal score at random."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import pytest

Ranking = Sequence[tuple[Hashable, float]]  # (id, score), best first


def assert_same_ranking(found: Ranking, wanted: Ranking, tolerance: float = 1e-5) -> None:
    """Compare the scores, and the ids only where the scores differ.

    `wanted` may go on after the end of `found`: which of several points of equal score are in the
    last places is then open too.
    """
    scores = [score for _, score in found]
    assert scores == pytest.approx([score for _, score in wanted[: len(found)]], abs=tolerance)
    assert len({point for point, _ in found}) == len(found), "a point is there twice"
    for point, score in found:
        assert point in [other for other, its in wanted if abs(its - score) <= 2 * tolerance]
