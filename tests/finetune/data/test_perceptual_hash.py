"""Near-duplicate images, and images that are only similar."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from finetune.data import perceptual_hash
from finetune.data.perceptual_hash import (
    compute_hash,
    compute_hashes,
    find_close_hashes,
    find_near_duplicates,
)

SAMPLES = sorted((Path(__file__).parents[3] / "samples").rglob("*.jpg"))


def test_banding_finds_every_close_pair():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 64, 300, dtype=np.uint64)
    for i in range(0, 300, 3):  # copies with 0 to 9 bits turned over
        flips = rng.choice(64, i % 10, replace=False)
        hashes[i + 1] = hashes[i] ^ np.uint64(sum(1 << int(b) for b in flips))
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
    every = np.argwhere(np.triu(apart < 8, 1)).tolist()
    found = [
        [i, j]
        for left, right in find_close_hashes(hashes)
        for i, j in zip(left, right, strict=True)
    ]
    assert sorted(found) == every
    assert len(every) >= 80


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> list[tuple[str, str]]:
    """Sample images, each with a resized or recompressed copy."""
    folder = tmp_path_factory.mktemp("copies")
    made = []
    for i, path in enumerate(SAMPLES[:12]):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        copy = folder / f"{i}.{('png', 'jpg', 'webp')[i % 3]}"
        image.resize((image.width // 3, image.height // 3)).save(copy, quality=60)
        made.append((str(path), str(copy)))
    return made


def test_only_resized_copies_are_near_duplicates(copies):
    seen = [compute_hash(path) for pair in copies for path in pair]
    assert sorted(find_near_duplicates(seen)) == [(i, i + 1) for i in range(0, len(seen), 2)]


def test_plain_colors_are_distinguished(tmp_path, photo):
    paths = [photo(tmp_path / f"{c}.png", c) for c in ("red", "green", "white", "black")]
    paths.append(photo(tmp_path / "red.jpg", "red", (300, 200)))
    assert list(find_near_duplicates([compute_hash(str(path)) for path in paths])) == [(0, 4)]


def test_an_undecodable_file_gives_its_error(tmp_path, photo):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    good = photo(tmp_path / "good.png")
    calls = []
    paths = [str(bad), str(good)]
    hashes, errors = compute_hashes(paths, lambda done, total: calls.append((done, total)))
    assert (list(hashes), list(errors)) == ([str(good)], [str(bad)])
    assert calls == [(1, 2), (2, 2)]


def test_an_interruption_cancels_the_remaining_images(monkeypatch):
    started = []

    def hash_slowly(path):
        started.append(path)
        time.sleep(0.02)

    def interrupt(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(perceptual_hash, "compute_hash", hash_slowly)
    with pytest.raises(KeyboardInterrupt):
        compute_hashes([str(number) for number in range(1000)], interrupt)
    assert len(started) < 1000
