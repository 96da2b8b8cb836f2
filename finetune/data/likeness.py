"""Pictures that are one to the eye: other sizes, formats and qualities of the same.

A difference hash of 64 bits (Krawetz 2013, "Kind of Like That") finds candidates, and a thumbnail
of 16 x 16 decides. On the sample pictures, copies at a third of the size or at JPEG quality 50
differ in at most 6 bits and by 0.14 of their contrast; different ones by 0.49 at the least, and
different pages of print by 0.29.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.skips import Undecodable

BANDS = 8  # of 8 bits: two hashes that differ in fewer bits than there are bands agree in one
EDGE = 2  # levels of grey from which neighbours count as different: flat parts give no noise
CONTRAST, LEVELS = 0.25, 2.0  # the mean difference of two alike: of their contrast, or of 255
ROWS = 1024  # compared with a whole bucket at a time

Progress = Callable[[int, int], None]
"""Called with the number of pictures that have been looked at, and of all."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is compared: `bits` as a number of 64, and `pixels` (16, 16, 3) uint8."""

    bits: int
    pixels: NDArray[np.uint8]


def look(path: str) -> Look | Undecodable:
    """How the picture at `path` looks, or why it cannot be decoded."""
    from indexer.decode import decode, read

    try:
        image = decode(read(path), side=64).image
    except Undecodable as error:
        return error
    box = Image.Resampling.BOX
    grey = np.asarray(image.convert("L").resize((9, 8), box), np.int16)  # (8, 9)
    edges = np.packbits(grey[:, 1:] - grey[:, :-1] > EDGE)  # (8,) bytes
    pixels = np.asarray(image.convert("RGB").resize((16, 16), box), np.uint8)
    return Look(int.from_bytes(edges.tobytes(), "big"), pixels)


def looks(
    paths: Sequence[str], on_progress: Progress = lambda done, total: None
) -> dict[str, Look | Undecodable]:
    """How the pictures at `paths` look, each by its path."""
    found: dict[str, Look | Undecodable] = {}
    with ThreadPoolExecutor(thread_name_prefix="look") as pool:
        for path, one in zip(paths, pool.map(look, paths), strict=True):
            found[path] = one
            on_progress(len(found), len(paths))
    return found


def alike(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """The places of pictures that are one to the eye, (i, j) with i < j, each once."""
    if len(looks) < 2:
        return
    pixels = np.stack([one.pixels for one in looks]).reshape(len(looks), -1)  # (n, 768)
    contrast = pixels.reshape(len(looks), -1, 3).std(axis=1, dtype=np.float32).mean(axis=1)
    for left, right in close(np.array([one.bits for one in looks], np.uint64)):
        gap = np.abs(pixels[left].astype(np.int16) - pixels[right]).mean(axis=1)
        most = np.maximum(CONTRAST * np.minimum(contrast[left], contrast[right]), LEVELS)
        same = gap <= most
        yield from zip(left[same].tolist(), right[same].tolist(), strict=True)


def close(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(i, j), arrays of places with i < j whose hashes (n,) differ in fewer than `BANDS` bits.

    Such two agree in a band, so only those that share a band's byte are compared; each two are
    given with the first band that they share.
    """
    bands = hashes.view(np.uint8).reshape(-1, BANDS)  # (n, 8)
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        borders = np.flatnonzero(np.diff(bands[order, band])) + 1
        for bucket in np.split(order, borders):
            for start in range(0, len(bucket), ROWS):
                some = bucket[start : start + ROWS]
                apart = np.bitwise_count(hashes[some][:, None] ^ hashes[bucket][None])
                near = (apart < BANDS) & (some[:, None] < bucket[None])
                rows, columns = np.nonzero(near)
                left, right = some[rows], bucket[columns]
                new = (bands[left, :band] != bands[right, :band]).all(axis=1)
                yield left[new], right[new]
