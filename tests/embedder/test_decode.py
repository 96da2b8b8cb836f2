"""Every image format, and files that only look like images."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pi_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import AvifImagePlugin, Image, ImageCms, ImageFile, PngImagePlugin

from embedder.errors import UnusableFileError
from embedder.images import png_text
from embedder.images.decode import (
    DecodedImage,
    DecodeLimits,
    decode_frames,
    decode_image,
    read_file,
)
from embedder.images.formats import sniff_format
from embedder.images.openers import open_image
from indexer.errors import SKIP_REASONS
from tests.noise import make_noise

# 64 x 48 by x265: stored upright with irot 3, and EXIF that says orientation 6 (as phones write)
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAcZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAA"
    "AAAAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB6gABAAAAAAAAAFcAAgAAAAACQQABAAAAAAAAAEwAAAA4aWluZgAA"
    "AAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABBWlwcn"
    "AAAADkaXBjbwAAAHZodmNDAQNwAAAAAAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroC"
    "QGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm"
    "5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAQAAAAAH////wAAAAAgAAAAAA"
    "AAACAAAADnBpeGkAAAAAAQgAAAAJaXJvdAMAAAAZaXBtYQAAAAAAAAABAAEGgQIDBYSGAAAAGmlyZWYAAAAAAAAADm"
    "Nkc2MAAgABAAEAAACrbWRhdAAAAFMoAa8J4OODnFTHr9/++c//z2wlMn3Hxam+5OVv0ZBb80OMYDmgS5wb7mxWDl+6"
    "Z0Pv/rtWYwOVb1lyg/UXgrT+BeL/4ul/P7vudWH8v0KyB96HwAAAAAZFeGlmAABNTQAqAAAACAADAQ8AAgAAAAYAAA"
    "AyARAAAgAAAAoAAAA4ARIAAwAAAAEABgAAAAAAAEFwcGxlAGlQaG9uZSAxNQA="
)

pytestmark = pytest.mark.filterwarnings(r"ignore:.*:Warning:PIL\..*")  # as decode.py does

DEFAULTS = DecodeLimits()

UPRIGHT = np.zeros((48, 64, 3), np.uint8)
UPRIGHT[:24, :32], UPRIGHT[:24, 32:] = (220, 30, 30), (30, 200, 30)
UPRIGHT[24:, :32], UPRIGHT[24:, 32:] = (30, 30, 220), (240, 240, 240)

T = Image.Transpose
STORED = {  # orientation -> how an upright picture is stored with it
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}


def picture() -> Image.Image:
    return Image.fromarray(UPRIGHT)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def difference(image: Image.Image, expected: np.ndarray = UPRIGHT) -> float:
    """Mean absolute difference in steps of 255."""
    return float(np.abs(np.asarray(image, np.int16) - expected).mean())


def refused(data: bytes, limits: DecodeLimits = DEFAULTS) -> UnusableFileError:
    with pytest.raises(UnusableFileError) as caught:
        decode_image(data, side=48, limits=limits)
    assert caught.value.reason in SKIP_REASONS
    assert caught.value.detail
    return caught.value


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A gray PNG of the given size whose pixels are missing."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IEND", b"")


FORMATS = {
    "jpeg": encoded(picture(), "JPEG", quality=95),
    "png": encoded(picture(), "PNG"),
    "webp": encoded(picture(), "WEBP", lossless=True),
    "gif": encoded(picture(), "GIF"),
    "tiff": encoded(picture(), "TIFF"),
    "avif": encoded(picture(), "AVIF", quality=90),
    "bmp": encoded(picture(), "BMP"),
    "jpeg2000": encoded(picture(), "JPEG2000"),
    "ico": encoded(picture().convert("RGBA"), "ICO", sizes=[(64, 48)]),
    "ppm": encoded(picture(), "PPM"),
    "tga": encoded(picture(), "TGA"),
    "qoi": encoded(picture(), "QOI"),
    "heic": HEIC,
}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_upright_rgb_image(format):
    decoded = decode_image(FORMATS[format], side=48)
    assert (decoded.format, decoded.width, decoded.height, decoded.frame_count) == (
        format,
        64,
        48,
        1,
    )
    assert decoded.image.mode == "RGB"
    assert type(decoded.image) is Image.Image, "the decoder and the file's bytes are released"
    assert difference(decoded.image) < 4


def test_a_general_container_may_hold_avif():
    data = FORMATS["avif"]
    assert data[8:12] == b"avif"
    assert decode_image(data[:8] + b"mif1" + data[12:], side=48).format == "avif"


def test_a_jpeg_followed_by_a_second_image_is_one_image():
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture().rotate(180)])
    decoded = decode_image(data, side=48)
    assert (decoded.format, decoded.frame_count) == ("jpeg", 1)
    assert difference(decoded.image) < 6


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "LZW"])
def test_all_eight_orientations_give_the_same_image(format, orientation):
    stored = picture() if orientation == 1 else picture().transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"compression": "tiff_lzw"} if format == "LZW" else {}
    data = encoded(stored, "TIFF" if format == "LZW" else format, exif=exif, **options)
    decoded = decode_image(data, side=48)
    assert (decoded.width, decoded.height) == decoded.image.size == (64, 48)
    assert difference(decoded.image) < 4


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_unknown_orientation_is_ignored(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert difference(decode_image(encoded(picture(), "PNG", exif=exif), side=48).image) == 0


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((1600, 1200), 256, (400, 300)),
        ((1600, 1200), 300, (400, 300)),
        ((1600, 1200), 301, (800, 600)),
        ((1200, 1600), 150, (150, 200)),
        ((1200, 1600), 64, (75, 100)),  # 1/8 by the decoder, the rest afterwards
        ((300, 200), 256, (300, 200)),
    ],
)
def test_a_jpeg_is_shrunk_while_decoding_to_no_less_than_the_side(size, side, expected):
    decoded = decode_image(encoded(Image.new("RGB", size), "JPEG"), side=side)
    assert decoded.image.size == expected
    assert (decoded.width, decoded.height) == size


@pytest.mark.parametrize(
    ("side", "expected"), [(100, (150, 100)), (60, (100, 67)), (101, (300, 200))]
)
def test_other_formats_are_reduced_by_whole_factors(side, expected):
    decoded = decode_image(encoded(Image.new("RGB", (300, 200)), "PNG"), side=side)
    assert decoded.image.size == expected


@pytest.mark.parametrize(
    ("image", "format"),
    [
        (Image.new("RGBA", (64, 48), (255, 0, 0, 0)), "PNG"),
        (Image.new("LA", (64, 48), (0, 0)), "PNG"),
        (Image.new("RGBA", (64, 48), (0, 0, 255, 0)), "WEBP"),
        (Image.new("RGBA", (64, 48), (0, 0, 255, 0)), "TIFF"),
        (Image.new("RGBA", (64, 48), (0, 0, 255, 0)), "AVIF"),
        (Image.new("RGBA", (64, 48), (0, 0, 255, 0)), "GIF"),
    ],
)
def test_transparent_pixels_become_white(image, format):
    options = {"lossless": True} if format == "WEBP" else {}
    decoded = decode_image(encoded(image, format, **options), side=48)
    assert difference(decoded.image, np.full((48, 64, 3), 255)) < 2


def test_half_transparent_black_becomes_gray():
    decoded = decode_image(encoded(Image.new("RGBA", (64, 48), (0, 0, 0, 128)), "PNG"), side=48)
    assert decoded.image.getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_png_color_becomes_white(mode):
    transparent = (0, 0, 0) if mode == "RGB" else 0
    image = Image.new(mode, (64, 48), transparent)
    decoded = decode_image(encoded(image, "PNG", transparency=transparent), side=48)
    assert decoded.image.getpixel((5, 5)) == (255, 255, 255)


def test_premultiplied_and_rare_modes():
    from embedder.images.decode import to_upright_srgb

    for mode in ("La", "RGBa", "RGBX", "YCbCr", "HSV", "LAB", "CMYK", "PA", "I;16", "I", "F", "1"):
        assert to_upright_srgb(Image.new(mode, (40, 30)), 30).mode == "RGB", mode
    clear = Image.new("RGBA", (4, 4), (9, 9, 9, 0)).convert("RGBa")
    assert to_upright_srgb(clear, 4).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(format):
    ramp = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    decoded = decode_image(encoded(Image.fromarray(ramp), format), side=48)
    grey = np.asarray(decoded.image)[..., 0]
    assert difference(decoded.image, np.repeat((ramp >> 8)[..., None], 3, axis=2)) <= 1
    assert len(np.unique(grey)) > 200


@pytest.mark.parametrize("top", [0.8, 1.0, 255.0, 65535.0, 1e6])
def test_floats_of_any_range_are_scaled(top):
    ramp = np.linspace(0, top, 64 * 48, dtype=np.float32).reshape(48, 64)
    ramp[0, 0] = np.nan
    grey = np.asarray(decode_image(encoded(Image.fromarray(ramp), "TIFF"), side=48).image)[..., 0]
    assert grey.min() == 0
    assert grey.max() == round(255 * min(top, 1.0))
    assert np.all(np.diff(np.sort(grey.reshape(-1)).astype(int)) <= 1), "no gap, nothing clipped"


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_fewer_bits_than_the_file_has_room_for(bits, dtype):
    """As cameras and scanners write them: not black."""
    values = np.linspace(0, 2**bits - 1, 64 * 64).reshape(64, 64).astype(dtype)
    gray = np.asarray(decode_image(encoded(Image.fromarray(values), "TIFF"), side=64).image)[..., 0]
    assert (gray.min(), gray.max()) == (0, 255)
    assert abs(gray.mean() - 127.5) < 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_beyond_255_of_no_usual_range(dtype):
    values = np.linspace(0, 300, 64 * 64).reshape(64, 64)
    values[0, 0] = 1e6  # one hot pixel does not make the others black
    data = encoded(Image.fromarray(values.astype(dtype)), "TIFF")
    gray = np.asarray(decode_image(data, side=64).image)
    assert abs(gray.mean() - 128) < 2


def test_a_tiff_that_xmp_alone_turns_has_the_sides_of_the_image():
    packet = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
     xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
     xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""
    data = encoded(Image.new("RGB", (64, 48)), "TIFF", tiffinfo={700: packet})
    found = decode_image(data, side=48)
    assert (found.width, found.height) == found.image.size == (48, 64)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_marker_is_decoded_with_a_note(progressive):
    for seed in range(20):  # the bits left at the end differ
        noise = make_noise((300, 200), 80, seed).convert("L" if seed % 4 == 3 else "RGB")
        options = {"subsampling": seed % 3, "quality": 60 + seed, "progressive": progressive}
        data = encoded(noise, "JPEG", **options)
        for side in (200, 50):
            whole, cut = (decode_image(one, side=side) for one in (data, data[:-2]))
            assert whole.note == ""
            assert "end marker is missing" in cut.note
            assert np.array_equal(np.asarray(whole.image), np.asarray(cut.image))
    for size in (len(data) // 2, len(data) - 700):
        with pytest.raises(UnusableFileError) as caught:
            decode_image(data[:-size], side=200)
        assert caught.value.reason == "truncated"
    film = np.random.default_rng(1).bytes(9_000) + b"\xff\xda" + bytes(100)
    assert decode_image(data + film, side=200).note == "", "of a motion photo"


def test_one_bit_and_palette_images():
    checks = Image.fromarray((np.indices((48, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("1")
    for format in ("PNG", "TIFF", "BMP", "GIF", "PPM"):
        assert set(np.unique(np.asarray(decode_image(encoded(checks, format), side=48).image))) == {
            0,
            255,
        }
    palette = picture().quantize(8)
    for format in ("PNG", "GIF", "BMP", "TIFF", "TGA"):
        assert difference(decode_image(encoded(palette, format), side=48).image) < 4, format


def test_cmyk_jpeg_and_tiff_are_not_inverted():
    cmyk = picture().convert("CMYK")
    for format in ("JPEG", "TIFF"):
        assert difference(decode_image(encoded(cmyk, format), side=48).image) < 6, format


def profile(swap: bool) -> bytes:
    """An ICC profile of a matrix and gamma: sRGB itself, or one whose red and green are swapped."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if swap:
        count = struct.unpack_from(">I", data, 128)[0]
        at = {bytes(data[p : p + 4]): p for p in range(132, 132 + 12 * count, 12)}
        data[at[b"rXYZ"] : at[b"rXYZ"] + 4], data[at[b"gXYZ"] : at[b"gXYZ"] + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_is_applied(format):
    swapped = UPRIGHT[..., [1, 0, 2]]
    data = encoded(Image.fromarray(swapped), format, icc_profile=profile(swap=True), quality=95)
    decoded = decode_image(data, side=48)
    assert difference(decoded.image) < 5
    assert "icc_profile" not in decoded.image.info


D50 = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of the ICC specification, version 2: a header, a table of tags, the tags."""
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += padded
    pcs = b"Lab " if space == b"CMYK" else b"XYZ "
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, kind, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + D50
    return head + bytes(128 - len(head)) + table + body


def cmyk_profile() -> bytes:
    """A CMYK lookup table: no ink is white, any black is black, cyan is red (!)."""
    lab = {"white": (255, 128, 128), "black": (0, 128, 128), "red": (136, 208, 195)}
    grid = bytearray()
    for cyan, magenta, yellow, key in np.ndindex(2, 2, 2, 2):
        name = "black" if key or magenta or yellow else "red" if cyan else "white"
        grid += bytes(lab[name])
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(grid) + ramp * 3
    return icc(b"CMYK", {b"A2B0": lut})


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_cmyk_profile_is_applied(format):
    for inks, expected in {
        (0, 0, 0, 0): (255, 255, 255),
        (0, 0, 0, 255): (0, 0, 0),
        (255, 0, 0, 0): (254, 0, 0),
    }.items():
        data = encoded(Image.new("CMYK", (64, 48), inks), format, icc_profile=cmyk_profile())
        decoded = decode_image(data, side=48).image.getpixel((9, 9))
        assert decoded == pytest.approx(expected, abs=8), inks


@pytest.mark.parametrize(
    ("format", "mode"), [("JPEG", "L"), ("PNG", "L"), ("TIFF", "L"), ("PNG", "LA")]
)
def test_a_gray_profile_is_applied(format, mode):
    linear = icc(b"GRAY", {b"kTRC": b"curv" + bytes(8), b"wtpt": b"XYZ " + bytes(4) + D50})
    image = Image.new(mode, (64, 48), 55 if mode == "L" else (55, 255))
    decoded = decode_image(encoded(image, format, icc_profile=linear), side=48).image
    assert decoded.getpixel((9, 9)) == pytest.approx((128, 128, 128), abs=2)  # 55 is linear light


def test_an_srgb_profile_costs_no_conversion():
    from embedder.images.decode import _build_transform

    assert _build_transform(profile(swap=False), "RGB") is None
    assert _build_transform(profile(swap=True), "RGB") is not None


@pytest.mark.parametrize("broken", [b"", b"no profile", profile(swap=True)[:200], bytes(5 << 20)])
def test_a_broken_profile_is_ignored(broken):
    assert (
        difference(decode_image(encoded(picture(), "TIFF", icc_profile=broken), side=48).image) == 0
    )


def test_an_rgb_profile_on_a_gray_image_is_ignored():
    grey = picture().convert("L")
    decoded = decode_image(encoded(grey, "PNG", icc_profile=profile(swap=True)), side=48)
    assert difference(decoded.image, np.asarray(grey.convert("RGB"))) == 0


def animation(format: str, count: int = 6) -> bytes:
    shades = [Image.new("RGB", (64, 48), (40 * i, 0, 0)) for i in range(count)]
    return encoded(
        shades[0], format, save_all=True, append_images=shades[1:], lossless=True, duration=50
    )


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_an_animation_gives_its_first_frame_and_a_frame_count(format):
    data = animation(format)
    decoded = decode_image(data, side=48)
    assert decoded.frame_count == 6
    assert decoded.image.getpixel((3, 3))[0] < 8
    later = [
        image.getpixel((3, 3))[0]
        for image in decode_frames(data, 2, side=48, limits=DecodeLimits())
    ]
    assert later == pytest.approx([80, 160], abs=8)


def test_a_still_image_has_no_later_frames():
    assert decode_frames(FORMATS["jpeg"], 3, side=48, limits=DecodeLimits()) == []


def test_gif_frames_are_counted_up_to_a_limit():
    data = FORMATS["gif"][:-1]
    empty_frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x00"
    assert decode_image(data + empty_frame * 1_000_000 + b";", side=48).frame_count == 1000


@pytest.mark.parametrize("format", [f for f in FORMATS if f not in {"ico", "qoi", "tga"}])
def test_a_truncated_file_is_reported_as_truncated(format):
    big = make_noise((200, 150), 80).convert("RGB")
    data = HEIC if format == "heic" else encoded(big, format.upper())
    assert refused(data[: len(data) * 2 // 3]).reason in {"truncated", "corrupt"}
    if format in {"jpeg", "png", "gif", "bmp", "webp", "ppm"}:
        assert refused(data[: len(data) * 2 // 3]).reason == "truncated"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just a text, whatever it is called", "corrupt"),
        (b"\xff\xd8\xff", "corrupt"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n<svg/>", "unsupported"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "unsupported"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(40), "unsupported"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "unsupported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "corrupt"),
        (b"8BPS\0\1" + bytes(40), "corrupt"),
        (bytes(1000), "corrupt"),
    ],
)
def test_files_that_are_not_images_are_refused_with_a_reason(data, reason):
    assert refused(data).reason == reason


@pytest.mark.parametrize("length", range(2, 18))
def test_a_bmp_cut_in_the_size_of_its_header_is_in_no_known_format(length):
    data = b"BM" + bytes(12) + b"(\0\0\0"
    assert sniff_format(data[:length]) is None and sniff_format(data) == "bmp"
    assert refused(data[:length]).detail == "its content is not in a known image format"


def test_a_dng_is_refused_although_it_is_a_tiff():
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50706] = b"\x01\x04\0\0"
    tags.tagtype[50706] = 1
    assert refused(encoded(picture(), "TIFF", tiffinfo=tags)).reason == "unsupported"


def test_too_many_pixels_are_refused_from_the_header():
    error = refused(png(20_000, 15_000, png_chunk(b"IDAT", zlib.compress(b"\0"))))
    assert error.reason == "too-many-pixels"
    assert "20000 x 15000" in error.detail
    assert "--max-pixels" in error.detail


def test_the_limit_on_pixels_can_be_raised_and_lowered():
    assert refused(FORMATS["png"], DecodeLimits(max_pixels=64 * 48 - 1)).reason == "too-many-pixels"
    assert (
        decode_image(FORMATS["png"], side=48, limits=DecodeLimits(max_pixels=64 * 48)).width == 64
    )


def icon(inner: bytes, side: int = 16) -> bytes:
    entry = struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


NO_PIXELS = png_chunk(b"IDAT", zlib.compress(b"\0"))
HUGE_HEADER = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
SMALL_GIF = b"GIF89a\x10\0\x10\0\0\0\0"
HUGE_FRAME = b",\0\0\0\0" + struct.pack("<HH", 60_000, 60_000) + b"\0\2\1\0\0"
DISPOSE = b"!\xf9\x04\x08\0\0\0\0"  # Pillow fills the frame when it seeks
BOMBS = {  # what each declares in its header is small
    "PNG in an icon": icon(png(20_000, 20_000, NO_PIXELS)),
    "second header of a PNG in an icon": icon(png(16, 16, HUGE_HEADER, NO_PIXELS)),
    "bitmap in an icon": icon(struct.pack("<IiiHHIIiiII", 40, 20_000, 40_000, 1, 32, *[0] * 6)),
    "second header of a PNG": png(16, 16, HUGE_HEADER, NO_PIXELS),
    "frame of a GIF": SMALL_GIF + DISPOSE + HUGE_FRAME + b";",
    "frame of a GIF after garbage": SMALL_GIF + b"?" + DISPOSE + HUGE_FRAME + b";",
    "canvas of a WebP": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\x3f\0" * 2,
}  # fmt: skip


@pytest.mark.parametrize("limit", [None, 10**12, Image.MAX_IMAGE_PIXELS])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_huge_image_inside_a_small_one_is_refused(bomb, limit, monkeypatch):
    """Whatever the program that calls allows Pillow."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    error = refused(BOMBS[bomb])
    assert error.reason == "too-many-pixels"
    assert "the limit is 150,000,000: raise it with --max-pixels" in error.detail


def test_an_icon_of_the_declared_size_is_decoded_in_threads():
    data = icon(encoded(picture(), "PNG"), 48)
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda _: decode_image(data, side=48), range(8)))
    assert {(one.width, one.height) for one in decoded} == {(64, 48)}


def test_the_libraries_of_the_host_program_stay_as_they_are():
    for data in FORMATS.values():
        decode_image(data, side=48)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20
    assert AvifImagePlugin.DEFAULT_MAX_THREADS == 0
    assert (pi_heif.options.DECODE_THREADS, pi_heif.options.THUMBNAILS) == (4, True)
    assert "HEIF" not in Image.OPEN


def test_a_progressive_jpeg_with_too_many_scans_is_refused():
    data = encoded(Image.new("L", (64, 48)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    assert "scans" in refused(data[:start] + scan * 1000 + b"\xff\xd9").detail


def test_compression_bombs_in_png_metadata_are_not_unpacked():
    bomb = zlib.compress(bytes(200 << 20), 9)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(65 * 48)))
    for chunk in (
        png_chunk(b"zTXt", b"Comment\0\0" + bomb),
        png_chunk(b"iTXt", b"Description\0\1\0\0\0" + bomb),
        png_chunk(b"iCCP", b"icc\0\0" + bomb),
    ):
        assert refused(png(64, 48, chunk, pixels)).reason == "corrupt"


def test_little_is_unpacked_of_a_png_with_many_long_texts(monkeypatch):
    unpacked = []
    inflate = png_text._inflate
    monkeypatch.setattr(
        png_text, "_inflate", lambda *a: unpacked.append(len(rest := inflate(*a))) or rest
    )
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(65 * 48)))
    whole, longer, short = (zlib.compress(bytes(n)) for n in (16 << 20, 17 << 20, 900_000))
    for packed in (whole, whole[:-4], longer, short):
        unpacked.clear()
        texts = [png_chunk(b"zTXt", b"Comment\0\0" + packed)] * 90
        assert refused(png(64, 48, *texts, pixels)).reason == "corrupt"
        assert sum(unpacked) <= (64 << 20) + 1
    unpacked.clear()
    png_text.unpack_long_chunks(png(64, 48, pixels) + png_chunk(b"zTXt", b"Comment\0\0" + whole))
    assert not unpacked, "nothing counts after the end"


def test_a_png_with_a_long_text_is_decoded():
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"word " * 600_000))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(65 * 48)))
    assert decode_image(png(64, 48, text, pixels), side=48).width == 64
    xmp = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(b"<x/> " * 600_000))
    source = open_image(png(64, 48, pixels, xmp, text), "png", DEFAULTS)
    source.load()
    assert source.info["xmp"] == b"<x/> " * 600_000
    assert source.info["Comment"] == "word " * 600_000


def test_a_long_profile_of_a_png_is_read():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(2 << 20)
    chunk = png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(65 * 48)))
    assert open_image(png(64, 48, chunk, pixels), "png", DEFAULTS).info["icc_profile"] == profile


def test_nothing_is_printed_about_damaged_files(capfd):
    big = make_noise((200, 150), 80).convert("RGB")
    for format in ("JPEG", "PNG", "JPEG2000", "AVIF", "WEBP", "GIF"):
        data = encoded(big, format)
        for damaged in (data[:-500], data[:300] + bytes(50) + data[350:], data[8:]):
            with suppress(UnusableFileError):
                decode_image(damaged, side=48)
    assert capfd.readouterr() == ("", "")


def test_damaged_exif_is_ignored():
    for junk in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        decoded = decode_image(encoded(picture(), "JPEG", exif=junk, quality=95), side=48)
        assert difference(decoded.image) < 4


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60)
@given(data=st.data())
def test_flipped_bytes_give_an_image_or_a_reason(format, data):
    damaged = bytearray(FORMATS[format])
    places = st.integers(0, len(damaged) - 1)
    flips = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)
    for place, value in data.draw(flips):
        damaged[place] = value
    damaged = damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))]
    try:
        decoded = decode_image(bytes(damaged), side=32, limits=DecodeLimits(max_pixels=1_000_000))
    except UnusableFileError as error:
        assert error.reason in SKIP_REASONS
    else:
        assert isinstance(decoded, DecodedImage)
        assert decoded.image.mode == "RGB"


@settings(max_examples=200)
@given(st.sampled_from([data[:12] for data in FORMATS.values()]), st.binary(max_size=300))
def test_garbage_after_a_valid_header_gives_an_image_or_a_reason(head, tail):
    try:
        decode_image(head + tail, side=32, limits=DecodeLimits(max_pixels=1_000_000))
    except UnusableFileError as error:
        assert error.reason in SKIP_REASONS


def test_a_heic_with_a_non_text_item_type_does_not_crash():
    damaged = HEIC.replace(b"Exif\0", b"\xff\xff\xff\x7f\0", 1)
    assert damaged != HEIC
    assert refused(damaged).reason == "corrupt"


def test_large_images_are_decoded_one_at_a_time():
    from embedder.images import decode as module

    big = encoded(Image.new("L", (8000, 6000)), "PNG")
    with module._large_image_lock, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(decode_image, big, side=48)
        assert decode_image(FORMATS["png"], side=48).width == 64
        assert not waiting.done()
        module._large_image_lock.release()
        assert waiting.result().width == 8000
        module._large_image_lock.acquire()


def test_read_file_returns_all_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(os.urandom(300_000))
    assert read_file(str(path)) == path.read_bytes()


def unreadable(path: Path, limits: DecodeLimits = DEFAULTS) -> str:
    with pytest.raises(UnusableFileError) as caught:
        read_file(str(path), limits)
    return caught.value.reason


def test_read_file_refuses_missing_empty_large_and_special_files(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "big.jpg").write_bytes(bytes(101))
    os.mkfifo(tmp_path / "pipe.jpg")
    assert unreadable(tmp_path / "gone.jpg") == "unreadable"
    assert unreadable(tmp_path / "empty.jpg") == "empty"
    assert unreadable(tmp_path / "big.jpg", DecodeLimits(max_bytes=100)) == "too-large"
    assert unreadable(tmp_path / "pipe.jpg") == "not-a-regular-file"
    assert unreadable(tmp_path) == "not-a-regular-file"
    assert unreadable(Path("/dev/zero")) == "not-a-regular-file"


def test_a_sparse_terabyte_file_is_refused_without_reading(tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert unreadable(tmp_path / "huge.jpg") == "too-large"


def test_a_file_that_changes_while_being_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "growing.jpg"
    path.write_bytes(bytes(1000))
    real = os.fstat

    def grown(file):
        status = real(file)
        with path.open("ab") as more:
            more.write(b"x")
        return status

    monkeypatch.setattr(os, "fstat", grown)
    assert unreadable(path) == "unreadable"


def test_decoding_is_thread_safe():
    data = encoded(picture(), "TIFF", icc_profile=profile(swap=True))
    expected = np.asarray(decode_image(data, side=48).image)
    with ThreadPoolExecutor(8) as pool:
        decoded = list(
            pool.map(lambda _: np.asarray(decode_image(data, side=48).image), range(200))
        )
    assert all(np.array_equal(one, expected) for one in decoded)
