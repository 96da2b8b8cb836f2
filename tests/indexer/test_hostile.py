"""One folder with everything that has ever stopped an indexer: nothing hangs, nothing is lost."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.images.decode import DecodeLimits, decode_image, read_file
from indexer.errors import UnusableFileError
from indexer.paths import display_path
from indexer.sources.local import Walk
from indexer.types import SkippedFile

LIMITS = DecodeLimits(max_bytes=1 << 20)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Path:
    """A folder of pictures among traps."""
    root = tmp_path / "hostile"
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)
    photo.save(root / "good.jpg", quality=90)
    jpeg = (root / "good.jpg").read_bytes()

    exif = Image.Exif()
    turns = [2, 3, 4, 5, 6, 7, 8]
    T = Image.Transpose
    stored = [T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE]
    stored += [T.ROTATE_90, T.TRANSVERSE, T.ROTATE_270]
    for orientation, turn in zip(turns, stored, strict=True):
        exif[0x0112] = orientation
        photo.transpose(turn).save(root / f"turned-{orientation}.jpg", exif=exif, quality=90)

    photo.convert("CMYK").save(root / "cmyk.jpg")
    photo.save(root / "modern.avif")
    photo.save(root / "animated.gif", save_all=True, append_images=[photo.rotate(9)])
    Image.fromarray(np.linspace(0, 65535, 9000, dtype=np.uint16).reshape(90, 100)).save(
        root / "deep.png"
    )
    (root / "png-really.jpg").write_bytes(png_of(photo, tmp_path))
    (root / "x").joinpath(*["d"] * 300).mkdir(parents=True)
    photo.save((root / "x").joinpath(*["d"] * 300) / "deep.jpg")
    photo.save(root / ("n" * 251 + ".jpg"))
    photo.save(root / "line\nbreak.jpg")
    (root / "caf\udce9.jpg").write_bytes(jpeg)

    (root / "empty.jpg").touch()
    (root / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (root / "text.jpg").write_text("this is no picture")
    (root / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (root / "drawing.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 15_000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    (root / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    with (root / "sparse.jpg").open("wb") as file:
        file.write(jpeg)
        file.truncate(1 << 36)
    os.mkfifo(root / "pipe.jpg")
    (root / "device.jpg").symlink_to("/dev/zero")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "x/up").symlink_to(root)
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
    (root / "locked.jpg").write_bytes(jpeg)
    (root / "locked.jpg").chmod(0)
    return root


def png_of(image: Image.Image, folder: Path) -> bytes:
    image.save(folder / "outside.png")
    return (folder / "outside.png").read_bytes()


EXPECTED = {
    "empty.jpg": "empty",
    "truncated.jpg": "truncated",
    "text.jpg": "corrupt",
    "drawing.svg": "unsupported",
    "drawing.png": "unsupported",
    "bomb.png": "too-many-pixels",
    "sparse.jpg": "too-large",
    "pipe.jpg": "not-a-regular-file",
    "socket.jpg": "not-a-regular-file",
    "device.jpg": "not-a-regular-file",
    "loop.jpg": "link-cycle",
    "gone.jpg": "unreadable",
    "up": "link-cycle",
    "locked.jpg": "unreadable",
}
if os.geteuid() == 0:  # root reads it all the same
    del EXPECTED["locked.jpg"]


def test_everything_in_a_hostile_folder_is_a_picture_or_a_reason(hostile):
    skips: list[SkippedFile] = []
    pictures = {}
    for found in Walk(skips.append, follow_links=True).run([hostile]):
        try:
            picture = decode_image(read_file(found.path, LIMITS), side=120, limits=LIMITS)
        except UnusableFileError as error:
            skips.append(SkippedFile(display_path(found.path), error.reason, error.detail))
        else:
            pictures[Path(display_path(found.path)).name] = picture
    assert {Path(skip.path).name: skip.reason for skip in skips} == EXPECTED
    assert all(skip.detail for skip in skips)

    fine = {"good.jpg", "cmyk.jpg", "modern.avif", "animated.gif", "deep.png", "png-really.jpg"}
    fine |= {"deep.jpg", "n" * 251 + ".jpg", "line\nbreak.jpg", r"caf\xe9.jpg"}
    fine |= {f"turned-{n}.jpg" for n in range(2, 9)}
    assert set(pictures) - {"locked.jpg"} == fine
    upright = np.asarray(pictures["good.jpg"].image, np.int16)
    for name in fine - {"deep.png", "cmyk.jpg"}:
        image = pictures[name].image
        assert image.size == (160, 120), name
        assert np.abs(np.asarray(image, np.int16) - upright).mean() < 12, name
