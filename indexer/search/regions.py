"""Where an image shows what a text asks for: what it fits less without (Zeiler and Fergus 2014,
https://arxiv.org/abs/1311.2901, section 4.2).

It needs nothing but vectors, so that it works with every model, at the price of embedding
`NUM_COPIES` images. What is there several times is hard to find so: each copy of the image has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from embedder import Embedder, Input

CELLS = 6  # across the image, and down
HIDDEN_CELLS = 2  # across what is hidden of a copy
BLUR = 1 / 12  # radius of what hides it, as a share of the longer side
NUM_COPIES = (CELLS - HIDDEN_CELLS + 1) ** 2 + 1


def locate_texts(
    embedder: Embedder, texts: Sequence[str], image: Image.Image
) -> NDArray[np.float64]:
    """Say how much each cell of an image makes it fit the texts.

    Args:
        embedder: The model.
        texts: At least one.
        image: In its upright form.

    Returns:
        (CELLS, CELLS), the rows from the top: how much the cosine falls, in the mean of the copies
        that hide the cell, as a share of what it falls by most; 0 where it does not fall.

    Raises:
        EmbedderError: The model failed.
    """
    wanted = embedder.embed([Input(text) for text in texts], "query").sum(0)  # (dim,)
    blurred = image.filter(ImageFilter.GaussianBlur(max(image.size) * BLUR))
    starts = list(product(range(CELLS - HIDDEN_CELLS + 1), repeat=2))  # row and column of a cell
    copies = [image, *(_hide(image, blurred, row, column) for row, column in starts)]
    whole, *others = embedder.embed([Input(images=(copy,)) for copy in copies], "document") @ wanted
    falls, counts = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (row, column), score in zip(starts, others, strict=True):
        cells = np.s_[row : row + HIDDEN_CELLS, column : column + HIDDEN_CELLS]
        falls[cells] += whole - score
        counts[cells] += 1
    means = np.maximum(falls / counts, 0.0)
    return np.asarray(means / max(float(means.max()), 1e-9))


def _hide(image: Image.Image, blurred: Image.Image, row: int, column: int) -> Image.Image:
    """A copy of the image that is blurred from that cell on."""
    width, height = image.size
    top, bottom = height * row // CELLS, height * (row + HIDDEN_CELLS) // CELLS
    left, right = width * column // CELLS, width * (column + HIDDEN_CELLS) // CELLS
    copy = image.copy()
    copy.paste(blurred.crop((left, top, right, bottom)), (left, top))
    return copy
