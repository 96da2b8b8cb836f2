"""Hard negatives: hard, but neither positives nor their near-duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.data.hard_negatives import (
    ALL_ABOVE_MAX_SCORE,
    TOO_FEW_DOCUMENTS,
    CollectionIndex,
    DocumentIndex,
    NegativeSelection,
    mine_hard_negatives,
)
from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.errors import DataError

# words on a circle: the cosine of two is that of the degrees between them
DEGREES = {"query": 0, "right": 20, "close": 22, "harder": -30, "hard": -40, "easy": -80}


def embed(sides, role):
    turn = np.radians([DEGREES[side.text.lower()] for side in sides])
    return np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)


def mined(pairs, documents, window=None, **other):
    known = ContentKeys()
    pool = DocumentIndex([Side(text) for text in documents], embed, known)
    return mine_hard_negatives(pairs, embed, [pool], window or NegativeSelection(), known, **other)


def found(done) -> list[list[str | None]]:
    return [[side.text for side in pair.negatives] for pair in done.pairs]


PAIR = Pair(Side("query"), Side("right", instruction="Describe it:"))
# cosines with the query: right 0.940, harder 0.866, hard 0.766, easy 0.174; 0.95 * 0.940 = 0.893


def test_the_hardest_below_the_maximum_score_are_taken():
    done = mined([PAIR], ["easy", "hard", "right", "harder"], NegativeSelection(per_pair=2))
    assert found(done) == [["harder", "hard"]]
    assert (done.found, done.without_negatives) == (2, {})
    assert {side.instruction for side in done.pairs[0].negatives} == {"Describe it:"}


def test_documents_that_score_too_high_are_skipped():
    documents = ["hard", "harder"]
    assert found(mined([PAIR], documents, NegativeSelection(max_positive_ratio=0.9))) == [
        ["hard"]
    ]  # 0.846 < 0.866
    assert found(mined([PAIR], documents, NegativeSelection(max_positive_ratio=0.95))) == [
        ["harder"]
    ]
    done = mined([PAIR], documents, NegativeSelection(max_positive_ratio=0.5))
    assert (found(done), done.without_negatives) == ([[]], {ALL_ABOVE_MAX_SCORE: 1})


def test_near_duplicates_of_positives_are_skipped():
    """Cosine 0.9994 with the positive, as that of a copy, though below the maximum of 1."""
    assert found(mined([PAIR], ["close", "hard"], NegativeSelection(max_positive_ratio=1.0))) == [
        ["hard"]
    ]


def test_copies_of_images_are_told_by_their_look(tmp_path, photo):
    """Not by their cosines: a variant in other colors is a good negative."""
    right = Image.open(photo(tmp_path / "right.png", 3)).convert("RGB")
    right.resize((40, 30)).save(tmp_path / "copy.png")
    red, green, blue = right.split()
    Image.merge("RGB", (blue, red, green)).save(tmp_path / "variant.png")
    degrees = {"right": 20, "copy": -30, "variant": 28}

    def embed_images(sides, role):
        turn = np.radians([degrees[Path(s.image).stem] if s.image else 0 for s in sides])
        return np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)

    known = ContentKeys()
    sides = {name: Side(image=str(tmp_path / f"{name}.png")) for name in degrees}
    index = DocumentIndex([*sides.values()], embed_images, known)
    selection = NegativeSelection(max_positive_ratio=1.0, per_pair=2)
    pairs = [Pair(Side("query"), sides["right"])]
    done = mine_hard_negatives(pairs, embed_images, [index], selection, known)
    assert done.pairs[0].negatives == (sides["variant"],)


def test_known_positives_are_skipped():
    also = Pair(Side("Query"), Side("harder"))
    assert found(mined([PAIR, also], ["harder", "easy"])) == [["easy"], ["easy"]]


def test_documents_of_the_same_item_are_skipped():
    pairs = [
        Pair(Side("query"), Side("right"), item="1"),
        Pair(Side("easy"), Side("harder"), item="1"),
    ]
    assert found(mined(pairs, ["harder", "hard"]))[0] == ["hard"]


def test_one_negative_per_item():
    about = [Pair(Side("easy"), Side(text), item="2") for text in ("harder", "hard")]
    done = mined([PAIR, *about], ["harder", "hard", "easy"], NegativeSelection(per_pair=2))
    assert found(done)[0] == ["harder", "easy"]


def test_existing_negatives_stay_and_are_not_repeated():
    pair = Pair(Side("query"), Side("right"), (Side("harder"),))
    assert found(mined([pair], ["harder", "hard"])) == [["harder", "hard"]]


def test_excluded_documents_are_skipped():
    assert found(mined([PAIR], ["harder", "hard"], excluded=[Side("HARDER")])) == [["hard"]]


def test_ranks_count_possible_negatives():
    documents = ["right", "close", "harder", "hard", "easy"]
    window = NegativeSelection(first_rank=2, last_rank=3, per_pair=5)
    assert found(mined([PAIR], documents, window)) == [["hard", "easy"]]
    assert found(mined([PAIR], documents, NegativeSelection(last_rank=1, per_pair=5))) == [
        ["harder"]
    ]


def test_pairs_without_negatives_are_counted_by_reason():
    done = mined([PAIR], ["right"])
    assert (found(done), done.found, done.without_negatives) == ([[]], 0, {TOO_FEW_DOCUMENTS: 1})


def test_a_positive_below_zero_has_a_maximum_below_it():
    """Right at 120 degrees: cosine -0.5, maximum -0.525; near it is at -0.515, beyond at -0.707."""
    DEGREES.update({"far": 120, "near it": -121, "beyond": -135})
    pair = Pair(Side("query"), Side("far"))
    assert found(mined([pair], ["near it", "beyond"])) == [["beyond"]]


def test_progress():
    calls = []
    pairs = [Pair(Side("query"), Side("right"))] * 70
    mined(pairs, ["hard"], on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(64, 70), (70, 70)]


@pytest.fixture
def points(shared):
    return CollectionIndex(shared[0].store, ContentKeys())


@pytest.fixture
def folder(shared):
    return shared[1]


def test_negatives_from_a_collection(folder, points, embed):
    red = Side(image=str(folder / "red.png"))
    done = mine_hard_negatives(
        [Pair(Side("red"), red)],
        embed,
        [points],
        NegativeSelection(per_pair=20, max_positive_ratio=1.0),
    )
    names = [side.image.rsplit("/", 1)[-1] for side in done.pairs[0].negatives]
    assert len(names) == 8
    assert set(names) == {"green.png", "blue.png", *(f"n{i}.png" for i in range(6))}
    query = embed([Side("red")], "query")[0]
    scores = [float(query @ embed([s], "document")[0]) for s in done.pairs[0].negatives]
    assert scores == sorted(scores, reverse=True)


def test_vectors_come_from_the_store(folder, points, embed):
    sides = [Side(image=str(folder / "red.png")), Side("words"), Side("w", str(folder / "red.png"))]
    stored = points.lookup_vectors(sides)
    assert list(stored) == [0]
    assert np.allclose(stored[0], embed(sides[:1], "document")[0], atol=1e-5)


def test_texts_are_found_among_passages(points, embed):
    done = mine_hard_negatives(
        [Pair(Side("q"), Side("a"))],
        embed,
        [points],
        NegativeSelection(per_pair=9, max_positive_ratio=1.0),
    )
    texts = {side.text for side in done.pairs[0].negatives}
    assert texts <= {
        "Remember to buy umbrellas.",
        "# How to mix paint\n\nTake two colors and stir.",
    }


def test_a_picture_that_is_gone_is_an_error(tmp_path, embed, points):
    pair = Pair(Side("red"), Side(image=str(tmp_path / "gone.png")))
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        mine_hard_negatives([pair], embed, [points])
