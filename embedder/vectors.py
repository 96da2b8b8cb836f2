"""Normalization and quantization of vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def normalize(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale (..., dim) rows to unit L2 norm; a row of zeros stays as it is."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)


def quantize_int8(rows: NDArray[np.float32]) -> NDArray[np.int8]:
    """Quantize (n, dim) unit rows to -127..127, each row by its own largest component.

    Cosines differ from those of the floats by about 1 / (127 sqrt(dim)).
    """
    scale = 127 / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.rint(rows * scale), dtype=np.int8)
