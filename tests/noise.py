"""Images of noise that are the same in every run; those of Pillow depend on earlier calls."""

from __future__ import annotations

import numpy as np
from PIL import Image


def make_noise(size: tuple[int, int], sigma: float, seed: int = 0) -> Image.Image:
    """A gray image of (width, height) with normally distributed values around 128."""
    values = np.random.default_rng(seed).normal(128, sigma, size[::-1])
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
