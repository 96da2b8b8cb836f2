"""Which documents are masked as false negatives, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.training.data_loading import hash_item
from finetune.training.losses import KnownPositives, drop_duplicates, mask_candidates

PAIRS = [
    Pair(Side("red"), Side("rot")),
    Pair(Side("crimson"), Side("rot")),
    Pair(Side("red"), Side("rouge")),
    Pair(Side("blue"), Side("blau")),
]
ROWS = {  # each query's candidates; "rot" once
    "red": "rot blau",
    "crimson": "rot rouge blau",
    "red again": "rouge blau",
    "blue": "rot rouge blau",
}


def undecided(candidates: list[int]) -> float:
    """The loss of zero embeddings."""
    return sum(map(math.log, candidates)) / len(candidates)


@pytest.fixture
def zero(contrast, step_of):
    """The loss of a batch of zero embeddings; `pairs` is all of the data."""

    def loss(batch, pairs=None, hard="all", **options) -> float:
        step = step_of(batch, hard, negatives=options.get("negatives", 0))
        count = int(max(step["queries"].max(), step["documents"].max())) + 1
        return (
            contrast(pairs or batch, hard_negatives=hard, **options)
            .loss_of_rows(torch.zeros(count, 4), step)
            .item()
        )

    return loss


def test_known_positives_and_repeated_documents(zero):
    keys = ContentKeys()
    queries, documents = (
        np.array([keys.hash_side(side) for side in sides])
        for sides in ([p.query for p in PAIRS], [p.positive for p in PAIRS])
    )
    known = KnownPositives(PAIRS, keys).matches(queries, documents)
    none = np.zeros(4, dtype=np.int64)
    mask = mask_candidates(np.ones((4, 4), bool), known, documents, none, none)
    assert mask.astype(int).tolist() == [[1, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1]]
    assert [len(row.split()) for row in ROWS.values()] == mask.sum(1).tolist()
    assert zero(PAIRS) == pytest.approx(undecided([2, 3, 2, 3]))


def test_positives_known_from_other_batches(zero):
    """By a pair outside this batch, "blau" is relevant to "red" too."""
    more = [*PAIRS, Pair(Side("RED "), Side("Blau"))]
    assert zero(PAIRS, more) == pytest.approx(undecided([1, 3, 1, 3]))


def test_a_document_equal_to_the_query_is_masked(zero):
    pairs = [Pair(Side("red"), Side("rot")), Pair(Side("rouge"), Side("red"))]
    assert zero(pairs) == pytest.approx(undecided([1, 2]))


def test_documents_of_the_same_item_are_masked(zero):
    """Two captions of one product, a third pair of another, and one of which nothing is known."""
    pairs = [
        Pair(Side("a cup"), Side("cup, white"), item="1"),
        Pair(Side("a mug"), Side("mug, white"), item="1"),
        Pair(Side("a pen"), Side("pen, black"), item="2"),
        Pair(Side("a hat"), Side("hat, grey")),
    ]
    assert zero(pairs) == pytest.approx(undecided([3, 3, 4, 4]))
    assert hash_item("") == 0
    assert hash_item("1") != hash_item("2")


def test_images_are_compared_by_content(zero, photo, tmp_path):
    one, copy = photo(tmp_path / "one.png", 1), tmp_path / "copy.png"
    copy.write_bytes(one.read_bytes())
    other = photo(tmp_path / "other.png", 2)
    pairs = [
        Pair(Side("a cat"), Side(image=str(one))),
        Pair(Side("a tiger"), Side(image=str(copy))),
        Pair(Side("a dog"), Side(image=str(other))),
    ]
    assert zero(pairs) == pytest.approx(undecided([2, 2, 2]))


HARD = [
    Pair(Side("red"), Side("rot"), (Side("grün"), Side("gelb"))),
    Pair(Side("blue"), Side("blau"), (Side("gelb"), Side("rot"))),
    Pair(Side("pink"), Side("rosa")),
]


@pytest.mark.parametrize(
    ("hard", "candidates"),
    [
        ("all", [5, 5, 5]),  # rot blau rosa grün gelb: what is there twice counts once
        ("own", [5, 4, 3]),  # "rot" is also a positive of the batch
        ("none", [3, 3, 3]),
    ],
)
def test_hard_negative_modes(zero, hard, candidates):
    assert zero(HARD, hard=hard) == pytest.approx(undecided(candidates))


def test_a_hard_negative_that_is_a_known_positive_is_masked(zero):
    pairs = [Pair(Side("red"), Side("rot"), (Side("rouge"), Side("blau")))]
    data = [*pairs, Pair(Side("red"), Side("rouge"))]
    assert zero(pairs, data) == pytest.approx(math.log(2))


def test_symmetric_loss_masks_by_the_same_rules(zero):
    """Both ways. "rot" has "red" and "blue", then "crimson" and "blue"; "rouge" has "crimson",
    "red" and "blue"; "blau" has "red" once, "crimson" and "blue"."""
    forward, backward = undecided([2, 3, 2, 3]), undecided([2, 2, 3, 3])
    assert zero(PAIRS, both_ways=True) == pytest.approx((forward + backward) / 2)


def test_only_the_first_of_equal_documents_counts():
    mask = np.array([[1, 1, 1, 1], [0, 1, 1, 0]], bool)
    kept = drop_duplicates(mask, np.array([7, 7, 8, 7]))
    assert kept.astype(int).tolist() == [[1, 0, 1, 0], [0, 1, 1, 0]]


def test_a_pair_has_as_many_hard_negatives_as_mme5s_authors_give_it(zero):
    """Of fewer the last counts again, more are cut; a pair without any keeps none."""
    wrong = [Side(word) for word in ("grün", "gelb", "grau", "braun")]
    batch = [
        Pair(Side("red"), Side("rot"), tuple(wrong)),
        Pair(Side("blue"), Side("blau"), tuple(wrong[:1])),
        Pair(Side("black"), Side("schwarz")),
    ]
    assert zero(batch, hard="own", negatives=3) == pytest.approx(undecided([6, 6, 3]))
    assert zero(batch, hard="own") == pytest.approx(undecided([7, 4, 3]))


def test_a_repeated_hard_negative_weighs_as_in_mme5s_authors_loss(contrast, step_of):
    """Their formula: the positives of the batch, and the query's own three, the last one twice."""
    batch = [
        Pair(Side("red"), Side("rot"), (Side("grün"), Side("gelb"))),
        Pair(Side("blue"), Side("blau"), (Side("grau"), Side("braun"))),
    ]
    step = step_of(batch, "own", negatives=3)
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
    queries, documents = rows[step["queries"]], rows[step["documents"]]
    own = documents[2:].view(2, 3, 4)
    assert torch.equal(own[:, 1], own[:, 2]) and not torch.equal(own[:, 0], own[:, 1])
    scores = torch.cat([queries @ documents[:2].T, (queries[:, None] * own).sum(-1)], 1) / 0.02
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(2))
    options = {"temperature": 0.02, "hard_negatives": "own", "negatives": 3}
    loss = contrast(batch, **options).loss_of_rows(rows, step)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
