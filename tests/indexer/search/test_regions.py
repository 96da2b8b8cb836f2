"""Where an image shows what a text asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embedder
from indexer.search.regions import CELLS, locate_texts

SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.mark.parametrize("side", ["left", "right"])
def test_it_is_found_on_the_side_where_it_is(side):
    sky, both = Image.new("RGB", (420, 420), "skyblue"), Image.new("RGB", (840, 420))
    cow = Image.open(SAMPLES / "animals" / "cow.jpg").convert("RGB").resize((420, 420))
    both.paste(cow if side == "left" else sky, (0, 0))
    both.paste(sky if side == "left" else cow, (420, 0))
    regions = locate_texts(embedder.load("starter"), ["cow"], both)
    assert regions.shape == (CELLS, CELLS)
    assert regions.max() == 1
    left, right = regions[:, : CELLS // 2].mean(), regions[:, CELLS // 2 :].mean()
    assert (side == "left") == (left > right)


@pytest.mark.parametrize("size", [(1, 1), (3, 900)])
def test_a_tiny_image_has_regions_too(size):
    regions = locate_texts(embedder.load("starter"), ["cow", "meadow"], Image.new("RGB", size))
    assert np.isfinite(regions).all() and regions.shape == (CELLS, CELLS)
