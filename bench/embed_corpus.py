"""A corpus to embed, drawn from a seed: photographs of many shapes, captions in three scripts.

The words are those that the tests' small tokenizers were trained on, so that a word costs one token
or two, as with a real tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from embedder.types import Input

SHAPES = (  # width, height and how often: cameras, portraits, panoramas, screens, small ones
    ((1600, 1200), 4),
    ((1500, 1000), 3),
    ((1024, 768), 4),
    ((640, 480), 4),
    ((1200, 1600), 3),
    ((720, 1280), 2),
    ((1000, 1000), 2),
    ((1600, 500), 1),
    ((480, 1440), 1),
    ((1920, 1080), 2),
    ((160, 120), 1),
)
SCRIPTS = (  # words, what stands between them, and how often
    ("a the cat dog tiger snow grass image word sitting standing in of is with", " ", 6),
    ("犬 猫 草むら 雪 の中に 座っている 立つ", "", 2),
    ("كلب قطة يجلس تقف على في العشب الثلج", " ", 2),
)
WORDS, SPREAD = 11, 0.6  # of a caption: the median, and the deviation of its logarithm


@dataclass(frozen=True, slots=True)
class Corpus:
    """Inputs by kind: a text, a picture, or both."""

    texts: list[Input]
    images: list[Input]
    composed: list[Input]


def make_corpus(texts: int, images: int, seed: int = 0) -> Corpus:
    """So many texts and pictures, and half as many of both together."""
    random = np.random.default_rng(seed)
    captions = [Input(draw_caption(random)) for _ in range(texts)]
    pictures = [Input(images=(draw_photograph(random),)) for _ in range(images)]
    half = pictures[: -(-images // 2)]
    return Corpus(captions, pictures, [Input(draw_caption(random), item.images) for item in half])


def draw_caption(random: np.random.Generator) -> str:
    """3 to 60 words."""
    often = np.array([weight for _, _, weight in SCRIPTS], float)
    words, between, _ = SCRIPTS[random.choice(len(SCRIPTS), p=often / often.sum())]
    count = int(np.clip(np.exp(random.normal(np.log(WORDS), SPREAD)), 3, 60))
    return between.join(random.choice(words.split(), count))


def make_mixture(texts: int, images: int, seed: int = 1) -> list[Input]:
    """Captions and photographs of which only the sizes are there: enough to plan batches."""
    random = np.random.default_rng(seed)
    shapes: list[Any] = [SimpleNamespace(size=draw_size(random)) for _ in range(images)]
    captions = [Input(draw_caption(random)) for _ in range(texts)]
    half = [Input(draw_caption(random), (shape,)) for shape in shapes[: images // 2]]
    return [*captions, *half, *(Input(images=(shape,)) for shape in shapes[images // 2 :])]


def draw_size(random: np.random.Generator) -> tuple[int, int]:
    """Within a fifth of one of `SHAPES`."""
    often = np.array([weight for _, weight in SHAPES], float)
    (width, height), _ = SHAPES[random.choice(len(SHAPES), p=often / often.sum())]
    return int(width * random.uniform(0.8, 1.2)), int(height * random.uniform(0.8, 1.2))


def draw_photograph(random: np.random.Generator) -> Image.Image:
    """Forms and grain."""
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    forms = np.asarray(coarse.resize(draw_size(random), Image.Resampling.BICUBIC), np.int16)
    grain = random.integers(-8, 9, (*forms.shape[:2], 1), dtype=np.int16)
    return Image.fromarray(np.clip(forms + grain, 0, 255).astype(np.uint8))
