"""Makes photographs of a camera's weight: `python -m bench.make_jpegs FOLDER [--count 2000]`.

1600 x 1200 JPEGs of about 550 KB with EXIF, each different: blurred noise for forms, sharp noise
for grain. What they show means nothing; they cost a decoder what photographs cost.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (1600, 1200)
GRAIN = 7.5  # standard deviation; with quality 88 this gives about 550 KB


def write_photograph(folder: Path, seed: int) -> int:
    """Write picture number `seed`; its size in bytes."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    forms = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    grain = random.standard_normal((SIZE[1], SIZE[0], 1), dtype=np.float32) * GRAIN
    image = Image.fromarray(np.clip(forms + grain, 0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0110] = "Bench 1"  # the camera
    exif[0x0132] = f"2024:01:{seed % 28 + 1:02d} 12:00:00"
    path = folder / f"{seed // 500:02d}" / f"photo-{seed:05d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=88, exif=exif)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    options = parser.parse_args()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        sizes = list(
            pool.map(partial(write_photograph, options.folder), range(options.count), chunksize=8)
        )
    print(f"{len(sizes)} pictures of {np.median(sizes) / 1e3:.0f} kB in {options.folder}")


if __name__ == "__main__":
    main()
