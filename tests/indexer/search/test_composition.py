"""Several parts make one z, and unwanted ones are rules."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.search.composition import compose, drop_unwanted, is_shown


def test_the_order_of_parts_does_not_matter():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, 50)) * 2
    weights, images = np.array([1.0, 2.0, 0.5]), np.array([False, True, False])
    expected = compose(z, weights, images)
    for order in ([2, 1, 0], [1, 0, 2], [0, 2, 1]):
        assert compose(z[order], weights[order], images[order]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("z", "weights", "images", "expected"),
    [
        ([3.0], [1.0], [False], 3.0),
        ([3.0], [2.0], [False], 3.0),  # a weight says how much more than the others
        ([3.0, 2.0], [1.0, 1.0], [False, False], 4.4),
        ([3.0, -2.0], [1.0, 1.0], [False, False], 3.0),
        ([3.0, 2.0], [1.0, 1.0], [False, True], 3.2),  # the image counts in full
        ([3.0, 2.0], [2.0, 1.0], [False, False], 3.7),
        ([-1.0, -2.0], [1.0, 1.0], [False, False], -1.0),
        ([30.0, 5.0, 2.0], [1.0, 1.0, 1.0], [True, False, False], 32.8),
    ],
)
def test_other_parts_add_what_speaks_for_a_point(z, weights, images, expected):
    assert compose(np.array(z)[:, None], weights, images).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("z", "unwanted", "weight", "best", "with_image", "dropped", "left"),
    [
        (4.0, 5.0, 1.0, 6.0, False, True, 4.0),
        (4.0, 5.0, 1.0, 9.0, False, False, 4.0),  # others show it far better
        (4.0, 3.0, 1.0, 4.0, False, False, 4.0),
        (4.0, 3.5, 1.0, 4.0, False, True, 4.0),  # nearly as much as the wanted
        (1.0, 2.0, 1.0, 2.0, False, False, 1.0),  # it is hardly shown
        (4.0, 5.0, 0.5, 6.0, False, False, 4.0),  # softer
        (4.0, 3.0, 2.0, 4.0, False, True, 4.0),
        (4.0, np.inf, 1.0, 9.0, False, True, 4.0),  # the word is in its caption
        (9.0, 5.0, 1.0, 0.0, True, False, 6.5),
        (2.0, 5.0, 1.0, 0.0, True, True, -0.5),
        (-1.0, 2.0, 1.0, 0.0, True, False, -1.0),
    ],
)
def test_unwanted_parts_drop_or_lower(z, unwanted, weight, best, with_image, dropped, left):
    values, drop = drop_unwanted(
        np.array([z]), np.array([unwanted]), weight, best, with_image=with_image
    )
    assert drop.item() == dropped
    assert values.item() == pytest.approx(left)


def test_a_minus_alone_is_about_what_shows_it_best():
    z = np.array([8.0, 6.0, 3.0, 1.0, np.inf, -np.inf])
    assert is_shown(z, 1.0, 8.0).tolist() == [True, True, False, False, True, False]
    assert is_shown(z, 0.4, 8.0).tolist() == [True, False, False, False, True, False]
    assert is_shown(z, 1.0, 0.0).tolist() == [True, True, True, False, True, False]  # an image
