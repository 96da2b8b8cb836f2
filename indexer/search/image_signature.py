"""Image signatures: what tells copies of an image from other images, in about 200 bytes.

A signature is a thumbnail of 16 x 16 cells of luma and 8 x 8 cells of chroma, in 4 bits a value:
of the range between the darkest and the lightest cell, and of the square root of the chroma, up to
the strongest. It is made when an image is decoded, and stored in the payload of its point. Copies
of other sizes, formats and qualities have nearly the same one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, Resampling

SIGNATURE = "signature"  # payload key
LUMA_SIDE, CHROMA_SIDE = 16, 8  # cells
SIDE = 64  # pixels of the reduced image that both are made from
LEVELS = 15  # above the darkest
CHROMA_LEVELS = 7  # on either side of gray
HEAD_BYTES = 3  # the darkest and the lightest luma, the strongest chroma
LUMA_BYTES = LUMA_SIDE**2 // 2
NUM_BYTES = HEAD_BYTES + LUMA_BYTES + CHROMA_SIDE**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """The signatures of n images.

    Attributes:
        is_known: (n,) bool; False where an image has none, and its other values mean nothing.
        luma: (n, 16, 16) float32 of 0 to 255.
        chroma: (n, 64, 2) float32: Cb and Cr of -128 to 127.
    """

    is_known: NDArray[np.bool_]
    luma: NDArray[np.float32]
    chroma: NDArray[np.float32]


def compute_signature(image: Image) -> str:
    """Compute the signature of an upright RGB image, as base64 text for a payload."""
    small = image.resize((SIDE, SIDE), Resampling.BOX).convert("YCbCr")
    pixels = np.asarray(small, np.float32)  # (64, 64, 3)
    luma = _average(pixels[..., :1], LUMA_SIDE)  # (16, 16, 1)
    chroma = _average(pixels[..., 1:], CHROMA_SIDE) - 128  # (8, 8, 2)
    low, high = np.floor(luma.min()), np.ceil(luma.max())
    strongest = np.ceil(np.abs(chroma).max())
    luma = (luma - low) * (LEVELS / max(high - low, 1.0))
    root = np.sign(chroma) * np.sqrt(np.abs(chroma) / max(strongest, 1.0))
    chroma = CHROMA_LEVELS * (1 + root)
    head = np.array([low, high, strongest], np.uint8)
    return base64.b64encode(head.tobytes() + _pack(luma) + _pack(chroma)).decode()


def parse_signatures(texts: Sequence[object]) -> Signatures:
    """Parse what `compute_signature` returned; anything else is an unknown signature."""
    decoded = [_decode(text) for text in texts]
    is_known = np.array([bool(data) for data in decoded], dtype=np.bool_)
    joined = b"".join(data or bytes(NUM_BYTES) for data in decoded)
    rows = np.frombuffer(joined, np.uint8).reshape(-1, NUM_BYTES)
    low, high, strongest = rows[:, :HEAD_BYTES].astype(np.float32).T[:, :, None]
    values = np.stack([rows[:, HEAD_BYTES:] >> 4, rows[:, HEAD_BYTES:] & LEVELS], axis=-1)
    values = values.reshape(len(rows), 2 * (NUM_BYTES - HEAD_BYTES)).astype(np.float32)
    luma, root = values[:, : LUMA_SIDE**2], values[:, LUMA_SIDE**2 :] / CHROMA_LEVELS - 1
    return Signatures(
        is_known=is_known,
        luma=(low + luma * (high - low) / LEVELS).reshape(-1, LUMA_SIDE, LUMA_SIDE),
        chroma=(strongest * root * np.abs(root)).reshape(-1, CHROMA_SIDE**2, 2),
    )


def _pack(values: NDArray[np.float32]) -> bytes:
    """Two values of 0 to 15 a byte."""
    levels = np.rint(values).astype(np.uint8).reshape(-1, 2)
    return bytes(levels[:, 0] << 4 | levels[:, 1])


def _average(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """(64, 64, channels) -> (side, side, channels)."""
    factor = SIDE // side
    cells = pixels.reshape(side, factor, side, factor, pixels.shape[-1])
    return np.asarray(cells.mean(axis=(1, 3)), np.float32)


def _decode(text: object) -> bytes:
    """The bytes of a signature; none of anything else."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else b""
    except ValueError:
        return b""
    return data if len(data) == NUM_BYTES else b""
