"""Near-duplicates: other sizes, formats and qualities of one image, gray versions, crops, borders.

Two images are copies if they have the same structure and the same colors. The structure is the
luma of their signatures: its correlation does not change with brightness and contrast, and where no
cell differs much, it is the same. Otherwise one may be a crop of the other: a part of the other,
stretched, is like it then. Only images that the model finds alike are compared so; how alike that
is depends on the model, so the limit is taken from the cosines of a sample of the collection.

Structure sees no color: the chroma of each cell must agree too, apart from a small shift of all of
them (white balance), unless one image is gray. And it means nothing in a flat image, whose copies
have the same color. A mirrored image is no copy: its faces and its text are not the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from indexer.search.image_signature import (
    CHROMA_SIDE,
    LUMA_SIDE,
    SIGNATURE,
    Signatures,
    parse_signatures,
)
from indexer.types import Payload

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

DUPLICATE_COSINE = 0.97  # of images without a signature
MIN_CONTRAST = 2.0  # standard deviation of the luma, in levels of 255; below, an image is flat
MAX_FLAT_DIFFERENCE = 6.0  # levels of luma and of chroma between flat copies
MIN_CORRELATION = 0.94
MAX_CELL_DIFFERENCE = 1.1  # standard deviations; pages of one layout differ by 1.26 and more
MOST_CELLS = round(0.95 * LUMA_SIDE**2)
MAX_LEVEL_DIFFERENCE = 48.0  # levels of luma in most cells
MAX_CHROMA_DIFFERENCE = 11.0, 0.4  # levels, and the share of the chroma that is added to them
MAX_CHROMA_SHIFT = 12.0  # levels, by which all cells may differ
MAX_GRAY_CHROMA = 6.5, 20.0  # levels between the cells, and of all of them: sepia is gray too
MAX_GRAY_LEVEL_DIFFERENCE = 23.0  # levels of luma between an image and its gray version

CUTS = (0.0, 0.05, 0.1)  # shares of a side that a crop lacks at one end
MIN_CROP_CORRELATION = 0.92
MAX_CROP_CELL_DIFFERENCE = 1.7
MAX_CROP_DISTANCE = 0.3  # (1 - cosine), of that of the median pair of images
CROP_SAMPLE = 100  # images of the sample whose pairs are looked at
CROP_NEIGHBORS = 2  # images that one is compared with as a crop
BLOCK_PAIRS = 32  # compared as crops at a time
BLOCK_ROWS = 256  # compared with all before them at a time
UNTHREADED_PRODUCTS = 1 << 18  # multiplications of one product that OpenBLAS does in one thread
MIN_STEP = 4  # rows; of larger products, threads are worth it


def group_duplicates(payloads: Sequence[Payload], vectors: Floats, crop_cosine: float) -> list[int]:
    """Group images that are copies, and chunks of one text, behind the best ranked of them.

    A copy joins the best ranked group whose first member it is a copy of, unless it is a variant of
    another member: a gray version does not join a red and a green one.

    Args:
        payloads: Of n hits, best first.
        vectors: Their (n, dim) unit vectors.
        crop_cosine: See `estimate_crop_cosine`.

    Returns:
        For each hit the index of the one that it is hidden behind; its own where it is shown.
    """
    comparison = ImageComparison(payloads, vectors, crop_cosine)
    leaders: list[int] = []
    texts: dict[str, int] = {}
    groups: dict[int, list[int]] = {}
    for start in range(0, len(payloads), BLOCK_ROWS):
        block = payloads[start : start + BLOCK_ROWS]
        end = start + len(block)
        copies, variants = comparison.compare(slice(start, end), slice(0, end))
        with_copy = set(start + np.flatnonzero(copies.any(axis=1)))
        for row, payload in enumerate(block, start):
            if payload.get("kind") == "text":
                leaders.append(texts.setdefault(payload["content"], row))
                continue
            first = row
            if row in with_copy:
                like, unlike = copies[row - start], variants[row - start]
                fits = (i for i, group in groups.items() if like[i] and not unlike[group].any())
                first = next(fits, row)
            groups.setdefault(first, []).append(row)
            leaders.append(first)
    return leaders


class ImageComparison:
    """Compares n images with each other.

    Args:
        payloads: The payloads of their points; where one of two has no signature, the cosine alone
            tells whether they are copies.
        vectors: (n, dim) unit vectors.
        crop_cosine: From here on, one of two images may be a crop of the other.
    """

    def __init__(self, payloads: Sequence[Payload], vectors: Floats, crop_cosine: float) -> None:
        self._vectors, self._crop_cosine = vectors, crop_cosine
        self._signatures = parse_signatures([payload.get(SIGNATURE) for payload in payloads])
        standard, contrast = _standardize(self._signatures.luma)
        self._standard = standard.reshape(-1, LUMA_SIDE**2)
        self._is_flat = contrast < MIN_CONTRAST

    def compare(self, rows: slice, columns: slice) -> tuple[Bools, Bools]:
        """Compare the images of `rows` with those of `columns` that come before them.

        Returns:
            Two (rows, columns) arrays: whether an image is a copy of another, and whether it is a
            variant: of the same structure, and no copy.
        """
        signatures = self._signatures
        row_ids, column_ids = (np.arange(len(self._vectors))[part] for part in (rows, columns))
        is_earlier = column_ids < row_ids[:, None]
        cosines = _multiply(self._vectors[rows], self._vectors[columns])
        is_known = is_earlier & signatures.is_known[rows, None] & signatures.is_known[columns]
        is_near = cosines >= DUPLICATE_COSINE
        copies = is_earlier & ~is_known & is_near
        is_flat = self._is_flat[rows, None] & self._is_flat[columns]
        has_structure = is_known & ~self._is_flat[rows, None] & ~self._is_flat[columns]
        correlation = _multiply(self._standard[rows], self._standard[columns]) / LUMA_SIDE**2
        is_alike = has_structure & (correlation >= MIN_CORRELATION)
        y, x = np.nonzero(is_alike | (is_known & is_flat & is_near))
        copies[y, x] = are_copies(signatures, row_ids[y], column_ids[x])
        variants = is_alike & ~copies
        y, x = _find_nearest(np.where(has_structure & ~is_alike, cosines, -1.0), self._crop_cosine)
        copies[y, x] |= _are_crops(signatures, row_ids[y], column_ids[x])
        return copies, variants


def _multiply(one: Floats, two: Floats) -> Floats:
    """(n, dim) and (m, dim): (n, m) products, in steps that BLAS does in this thread.

    Its threads are no gain for a page of hits, and OpenBLAS lets them wait actively for some 25 ms
    afterwards: they would take a core from the store, and from the model of the next query.
    """
    step = UNTHREADED_PRODUCTS // max(two.size, 1)
    if step < MIN_STEP or not len(one):
        return one @ two.T
    return np.concatenate([one[i : i + step] @ two.T for i in range(0, len(one), step)])


def estimate_crop_cosine(sample: Floats) -> float:
    """Estimate from which cosine on an image may be a crop of another.

    The distance 1 - cosine of two images depends on the model: some have all images in a narrow
    cone. So the limit is a share of the distance of the median pair of a sample (n, dim).
    """
    if len(sample) < 3:
        return 1.0 - MAX_CROP_DISTANCE
    rows = sample[:CROP_SAMPLE]
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return float(1.0 - MAX_CROP_DISTANCE * (1.0 - np.median(cosines)))


def _standardize(luma: Floats) -> tuple[Floats, Floats]:
    """(n, side, side) with mean 0 and standard deviation 1, and the deviations before, (n,)."""
    contrast = luma.std(axis=(1, 2))
    centered = luma - luma.mean(axis=(1, 2), keepdims=True)
    return centered / np.maximum(contrast, 1e-3)[:, None, None], contrast


def are_copies(signatures: Signatures, rows: Indices, columns: Indices) -> Bools:
    """Whether the images of each pair (rows, columns) are copies, and no crops: (n,) bool."""
    if not len(rows):
        return np.zeros(0, np.bool_)
    luma, chroma = signatures.luma, signatures.chroma
    is_flat = luma.std(axis=(1, 2)) < MIN_CONTRAST
    differences = (
        np.abs(luma[rows] - luma[columns]).max(axis=(1, 2)),
        np.abs(chroma[rows] - chroma[columns]).max(axis=(1, 2)),
    )
    has_same_color = np.maximum(*differences) <= MAX_FLAT_DIFFERENCE
    has_same_look = _have_same_look(
        luma[rows],
        chroma[rows],
        luma[columns],
        chroma[columns],
        MAX_CELL_DIFFERENCE,
        MAX_LEVEL_DIFFERENCE,
    )
    one_is_flat = is_flat[rows] | is_flat[columns]
    both_are_flat = is_flat[rows] & is_flat[columns]
    return np.asarray((has_same_look & ~one_is_flat) | (has_same_color & both_are_flat))


def _have_same_look(
    luma: Floats,
    chroma: Floats,
    other_luma: Floats,
    other_chroma: Floats,
    max_cell: float,
    max_levels: float,
) -> Bools:
    """Whether each of n images agrees with its other in every cell of luma and of chroma."""
    cells = np.abs(_standardize(luma)[0] - _standardize(other_luma)[0]).max(axis=(1, 2))
    differences = np.abs(luma - other_luma).reshape(len(luma), LUMA_SIDE**2)
    levels = np.partition(differences, MOST_CELLS, axis=1)[:, MOST_CELLS]
    is_gray = _is_gray(chroma) | _is_gray(other_chroma)
    return np.asarray(
        (cells <= max_cell)
        & (levels <= max_levels)
        & (
            _have_same_chroma(chroma, other_chroma)
            | (is_gray & (levels <= MAX_GRAY_LEVEL_DIFFERENCE))
        )
    )


def _have_same_chroma(one: Floats, two: Floats) -> Bools:
    """Whether the chroma (n, cells, 2) of each cell agrees, apart from a shift of all."""
    difference = one - two
    shift = np.median(difference, axis=1, keepdims=True)
    difference -= shift.clip(-MAX_CHROMA_SHIFT, MAX_CHROMA_SHIFT)
    size = np.maximum(np.linalg.norm(one, axis=-1), np.linalg.norm(two, axis=-1))
    levels, share = MAX_CHROMA_DIFFERENCE
    allowed = levels + share * size
    return np.asarray((np.linalg.norm(difference, axis=-1) <= allowed).all(axis=1))


def _is_gray(chroma: Floats) -> Bools:
    median = np.median(chroma, axis=1, keepdims=True)
    between, common = MAX_GRAY_CHROMA
    is_even = np.linalg.norm(chroma - median, axis=-1).max(axis=1) <= between
    return np.asarray(is_even & (np.linalg.norm(median, axis=-1)[:, 0] <= common))


def _find_nearest(cosines: Floats, least: float) -> tuple[Indices, Indices]:
    """The pairs (row, column) of the `CROP_NEIGHBORS` highest values of each row, if `least` or
    more."""
    with_near = np.flatnonzero((cosines >= least).any(axis=1))
    nearest = np.argsort(-cosines[with_near], axis=1, kind="stable")[:, :CROP_NEIGHBORS]
    rows = np.repeat(with_near, nearest.shape[1])
    columns = nearest.reshape(-1)
    is_near = cosines[rows, columns] >= least
    return rows[is_near], columns[is_near]


def _are_crops(signatures: Signatures, rows: Indices, columns: Indices) -> Bools:
    """Whether one image of each pair is a crop of the other."""
    is_crop = np.zeros(len(rows), np.bool_)
    for start in range(0, len(rows), BLOCK_PAIRS):
        block = slice(start, start + BLOCK_PAIRS)
        one, two = rows[block], columns[block]
        is_part = _are_parts(signatures, np.append(one, two), np.append(two, one))
        is_crop[block] = is_part.reshape(2, -1).any(axis=0)
    return is_crop


def _are_parts(signatures: Signatures, parts: Indices, wholes: Indices) -> Bools:
    """Whether the images at `parts` are parts of those at `wholes`: (n,) bool.

    Each whole is cut in all ways that `CUTS` allow, and stretched to the size of the part.
    """
    luma, chroma = signatures.luma, signatures.chroma
    correlation = _correlate_cuts(luma[wholes], luma[parts])  # (n, ways, ways)
    ways = correlation.shape[1]
    best = correlation.reshape(-1, ways**2).argmax(axis=1)
    is_like: Bools = correlation.reshape(-1, ways**2).max(axis=1) >= MIN_CROP_CORRELATION
    if not is_like.any():
        return is_like
    y, x = np.divmod(best[is_like], ways)
    parts, wholes = parts[is_like], wholes[is_like]
    cut = _make_cuts(LUMA_SIDE)
    cut_luma = np.asarray(cut[y] @ luma[wholes] @ cut[x].swapaxes(1, 2), np.float32)
    cut = _make_cuts(CHROMA_SIDE)
    square_chroma = chroma[wholes].reshape(-1, CHROMA_SIDE, CHROMA_SIDE, 2)
    cut_chroma = np.einsum("nij,njkc,nlk->nilc", cut[y], square_chroma, cut[x])
    is_like[is_like] = _have_same_look(
        luma[parts],
        chroma[parts],
        cut_luma,
        cut_chroma.reshape(-1, CHROMA_SIDE**2, 2),
        MAX_CROP_CELL_DIFFERENCE,
        np.inf,
    )
    return is_like


def _correlate_cuts(wholes: Floats, parts: Floats) -> Floats:
    """Correlate each part with its whole W, cut in every way: (n, ways of y, ways of x).

    A cut is Y @ W @ X.T. Its products with the part P, and with itself, are those of Y @ W with
    P @ X, and of Y.T @ Y @ W with W @ X.T @ X: no cut is computed.
    """
    cuts = _make_cuts(LUMA_SIDE)  # (ways, side, side)
    grams = _make_grams(LUMA_SIDE)
    wholes = wholes - wholes.mean(axis=(1, 2), keepdims=True)
    product = _multiply_cuts(cuts, wholes, _standardize(parts)[0], cuts)
    square = _multiply_cuts(grams, wholes, wholes, grams)
    sums = cuts.sum(axis=1)  # (ways, side)
    mean = sums @ wholes @ sums.T / LUMA_SIDE**2
    return np.asarray(product / np.sqrt(np.maximum(square - mean**2, MIN_CONTRAST**2)))


def _multiply_cuts(left: Floats, one: Floats, two: Floats, right: Floats) -> Floats:
    """The mean product of each left way's L @ one with each right way's two @ R: (n, ways, ways).

    All are matrices (side, side): a few large products are much faster than many small ones.
    """
    ways, side = left.shape[:2]
    lefts = (left.reshape(-1, side) @ one).reshape(-1, ways, side**2)
    rights = two @ right.swapaxes(0, 1).reshape(side, -1)  # (n, side, ways * side)
    rights = rights.reshape(-1, side, ways, side).swapaxes(1, 2).reshape(-1, ways, side**2)
    return np.asarray(lefts @ rights.swapaxes(1, 2) / side**2, np.float32)


@cache
def _make_cuts(side: int) -> Floats:
    """Matrices (ways, side, side) that cut a share off both ends of a side, and stretch the rest
    to `side` cells again."""
    cuts = []
    for low in CUTS:
        for high in CUTS:
            edges = side * np.linspace(low, 1 - high, side + 1)
            cells = np.arange(side)
            overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
            weights = np.maximum(overlap, 0)
            cuts.append(weights / weights.sum(axis=1, keepdims=True))
    return np.array(cuts, np.float32)


@cache
def _make_grams(side: int) -> Floats:
    """The product of each cut's transpose with the cut: (ways, side, side)."""
    cuts = _make_cuts(side)
    return np.asarray(cuts.swapaxes(1, 2) @ cuts)
