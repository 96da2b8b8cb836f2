"""Near-duplicate images: other sizes, formats and qualities of the same image.

A difference hash of 64 bits (Krawetz 2013, "Kind of Like That") finds candidates among many images,
and their signatures decide, as in a search: see `indexer.search.duplicates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.data.pairs import ProgressCallback
from indexer.errors import UnusableFileError
from indexer.search.duplicates import are_copies
from indexer.search.image_signature import compute_signature, parse_signatures

BANDS = 8  # of 8 bits: hashes that differ in fewer bits than there are bands share a band
MIN_EDGE = 2  # gray levels between neighbors, so that flat areas add no noise
BLOCK_ROWS = 1024  # compared with a whole bucket at a time


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """The hash as a 64-bit integer `bits`, and the signature."""

    bits: int
    signature: str


def compute_hash(path: str) -> PerceptualHash:
    """Hash the image at `path`; raises `UnusableFileError` if it cannot be decoded."""
    from embedder.images.decode import decode_image, read_file

    image = decode_image(read_file(path), side=64).image
    small = image.convert("L").resize((9, 8), Image.Resampling.BOX)
    gray = np.asarray(small, np.int16)  # (8, 9)
    packed_edges = np.packbits(gray[:, 1:] - gray[:, :-1] > MIN_EDGE)  # (8,) bytes
    bits = int.from_bytes(packed_edges.tobytes(), "big")
    return PerceptualHash(bits, compute_signature(image))


def compute_hashes(
    paths: Sequence[str], on_progress: ProgressCallback = lambda done, total: None
) -> tuple[dict[str, PerceptualHash], dict[str, str]]:
    """Hash the images at `paths`; returns hashes and, where one cannot be decoded, errors."""
    hashes: dict[str, PerceptualHash] = {}
    errors: dict[str, str] = {}
    pool = ThreadPoolExecutor(thread_name_prefix="hash")
    try:
        futures = [pool.submit(compute_hash, path) for path in paths]
        for done, (path, future) in enumerate(zip(paths, futures, strict=True), 1):
            try:
                hashes[path] = future.result()
            except UnusableFileError as error:
                errors[path] = str(error)
            on_progress(done, len(paths))
    finally:  # after Ctrl-C, the remaining images are not hashed
        pool.shutdown(cancel_futures=True)
    return hashes, errors


def find_near_duplicates(hashes: Sequence[PerceptualHash]) -> Iterator[tuple[int, int]]:
    """Yield the index pairs (i, j), i < j, of near-duplicates, each once."""
    if len(hashes) < 2:
        return
    signatures = parse_signatures([one.signature for one in hashes])
    for left, right in find_close_hashes(np.array([one.bits for one in hashes], np.uint64)):
        is_duplicate = are_copies(signatures, left, right)
        yield from zip(left[is_duplicate].tolist(), right[is_duplicate].tolist(), strict=True)


def find_close_hashes(
    hashes: NDArray[np.uint64],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield arrays of indices (i, j), i < j, of hashes (n,) that differ in fewer than 8 bits.

    Such hashes share a band, so only hashes with the same byte in a band are compared. Each pair is
    yielded for the first band that it shares.
    """
    bands = hashes.view(np.uint8).reshape(-1, BANDS)  # (n, 8)
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        boundaries = np.flatnonzero(np.diff(bands[order, band])) + 1
        for bucket in np.split(order, boundaries):
            for start in range(0, len(bucket), BLOCK_ROWS):
                block = bucket[start : start + BLOCK_ROWS]
                distance = np.bitwise_count(hashes[block][:, None] ^ hashes[bucket][None])
                is_close = (distance < BANDS) & (block[:, None] < bucket[None])
                rows, columns = np.nonzero(is_close)
                left, right = block[rows], bucket[columns]
                new = (bands[left, :band] != bands[right, :band]).all(axis=1)
                yield left[new], right[new]
