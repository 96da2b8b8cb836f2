"""The sample pictures: small, credited, and as docs/samples.md tells."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
PICTURES = sorted(
    p for p in SAMPLES.rglob("*") if p.suffix in {".jpg", ".webp", ".png", ".avif", ".heic"}
)


def credits() -> dict[str, list[str]]:
    rows = (line.strip().strip("|").split("|") for line in (ROOT / "docs/samples.md").open())
    cells = ([cell.strip() for cell in row] for row in rows)
    return {row[0]: row[1:] for row in cells if len(row) == 5 and "/" in row[0]}


def captioned() -> set[str]:
    with (SAMPLES / "captions.csv").open(encoding="utf-8") as table:
        return {row["file"] for row in csv.DictReader(table)}


def test_every_picture_is_credited_and_no_credit_is_left_over():
    assert set(credits()) == {p.relative_to(SAMPLES).as_posix() for p in PICTURES}
    assert all(all(cells) for cells in credits().values())


def test_the_folder_stays_small():
    assert 60 <= len(PICTURES) <= 100
    assert sum(p.stat().st_size for p in SAMPLES.rglob("*") if p.is_file()) < 4 << 20


@pytest.mark.parametrize("path", PICTURES, ids=lambda p: p.stem)
def test_a_picture_opens_and_is_small(path):
    with Image.open(path) as image:
        image.load()
        assert max(image.size) <= 640


def test_most_pictures_have_no_caption_so_that_sight_is_shown():
    assert len(captioned()) < len(PICTURES) / 2


def test_captions_belong_to_pictures_and_speak_many_languages():
    with (SAMPLES / "captions.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert all((SAMPLES / row["file"]).is_file() and row["caption"].strip() for row in rows)
    assert {"en", "de", "fr", "es", "ja", "zh", "ar", "hi"} <= {row["language"] for row in rows}


def test_living_proof_of_orientation_and_formats():
    turned = [p for p in PICTURES if Image.open(p).getexif().get(0x0112, 1) != 1]
    assert len(turned) >= 2
    assert {p.suffix for p in PICTURES} >= {".jpg", ".webp", ".png", ".avif"}
