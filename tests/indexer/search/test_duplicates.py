"""Near-duplicates: which images are copies, and which only look alike to a model."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from embedder.images.decode import decode_image, read_file
from indexer.search.duplicates import estimate_crop_cosine, group_duplicates
from indexer.search.image_signature import SIGNATURE, compute_signature, parse_signatures

SAMPLES = Path(__file__).parents[3] / "samples"
PHOTOS = ("animals/chelsea.jpg", "places/tower-bridge.jpg", "animals/horses.jpg")
SHIRTS = {
    "red": (200, 30, 40),
    "blue": (40, 60, 190),
    "green": (40, 150, 60),
    "black": (35, 35, 38),
    "white": (250, 250, 250),
    "yellow": (240, 205, 50),
}
LAMPS = {"red": (240, 30, 20), "yellow": (250, 210, 20), "green": (30, 220, 70)}
WORDS = ["the", "of", "name", "street", "paid", "sum", "date", "received", "order", "item", "mail"]


def group(*images: Image.Image, alike: float = 1.0, has_signature: bool = True) -> list[int]:
    """Group images whose cosines with each other are all `alike`."""
    vectors = np.eye(len(images), len(images) + 1, dtype=np.float32) * np.sqrt(1 - alike)
    vectors[:, -1] = np.sqrt(alike)
    payloads = [
        {"kind": "image", **({SIGNATURE: compute_signature(image)} if has_signature else {})}
        for image in images
    ]
    return group_duplicates(payloads, vectors, crop_cosine=0.7)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [decode_image(read_file(str(SAMPLES / name)), side=260).image for name in PHOTOS]


def save_as(image: Image.Image, format: str, **options) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return decode_image(buffer.getvalue(), side=260).image


def shrink(image: Image.Image, share: float) -> Image.Image:
    return image.resize((round(image.width * share), round(image.height * share)))


def balance(image: Image.Image, red: float, blue: float) -> Image.Image:
    gains = np.array([red, 1.0, blue])
    return Image.fromarray((np.asarray(image) * gains).clip(0, 255).astype(np.uint8))


def turn_hue(image: Image.Image, degrees: int) -> Image.Image:
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += np.uint8(degrees * 256 // 360)
    return Image.fromarray(hsv, "HSV").convert("RGB")


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (
            round(left * width),
            round(top * height),
            round((1 - right) * width),
            round((1 - bottom) * height),
        )
    )


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 40": lambda image: save_as(image, "JPEG", quality=40),
    "WebP": lambda image: save_as(image, "WEBP", quality=60),
    "AVIF": lambda image: save_as(image, "AVIF", quality=50),
    "half the size": lambda image: save_as(shrink(image, 0.5), "JPEG"),
    "a quarter": lambda image: save_as(shrink(image, 0.25), "JPEG"),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "sepia": lambda image: ImageOps.colorize(image.convert("L"), "#1a0f00", "#fff0d8"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.12),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.15),
    "warmer": lambda image: balance(image, 1.06, 0.93),
    "sharpened": lambda image: image.filter(ImageFilter.UnsharpMask(2, 120, 2)),
    "cropped": lambda image: crop(image, 0.05, 0.05, 0.05, 0.05),
    "cut at one side": lambda image: crop(image, 0.1, 0, 0, 0),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_grouped_with_its_original_alone(photos, change):
    for photo, other in zip(photos, photos[1:] + photos[:1], strict=True):
        copy = COPIES[change](photo)
        assert group(photo, copy, alike=0.8) == [0, 0]
        assert group(copy, other, photo, alike=0.8) == [0, 1, 0]


@pytest.mark.parametrize(
    "change", [ImageOps.mirror, lambda i: turn_hue(i, 120), lambda i: i.rotate(180)]
)
def test_a_changed_image_is_no_copy(photos, change):
    assert group(*photos, *map(change, photos), alike=0.99) == [0, 1, 2, 3, 4, 5]


def draw_shirt(color: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (400, 400), (215, 215, 215))
    outline = [(120, 80), (60, 130), (90, 190), (120, 170), (120, 340), (280, 340), (280, 170)]
    outline += [(310, 190), (340, 130), (280, 80), (230, 100), (170, 100)]
    ImageDraw.Draw(image).polygon(outline, fill=color)
    return image


def test_one_shirt_in_six_colors_is_six_pictures():
    shirts = [draw_shirt(color) for color in SHIRTS.values()]
    assert group(*shirts, alike=0.99) == [0, 1, 2, 3, 4, 5]
    again = [save_as(shirt, "JPEG", quality=50) for shirt in shirts]
    assert group(*shirts, *again, alike=0.99) == [*range(6), *range(6)]


def draw_traffic_light(lit: str, lamp: int = 60) -> Image.Image:
    image = Image.new("RGB", (300, 400), (120, 170, 220))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((95, 40, 205, 310), 20, fill=(30, 30, 30))
    for place, (name, color) in enumerate(LAMPS.items()):
        fill = color if name == lit else tuple(value // 5 for value in color)
        middle = 95 + 85 * place
        draw.ellipse((150 - lamp, middle - lamp, 150 + lamp, middle + lamp), fill=fill)
    return image


@pytest.mark.parametrize("lamp", [24, 40, 60])
def test_three_traffic_lights_are_three_pictures(lamp):
    lights = [draw_traffic_light(lit, lamp) for lit in LAMPS]
    assert group(*lights, alike=0.99) == [0, 1, 2]


def draw_page(seed: int, *, is_form: bool) -> Image.Image:
    """A page of print, or a form with other entries in the same fields."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (620, 877), (252, 252, 250))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    draw.text((60, 30), "APPLICATION 27-B", "black", font)
    for y in range(80, 800, 52 if is_form else 18):
        if is_form:
            draw.rectangle((160, y, 560, y + 28), outline="gray")
        if is_form or random.random() > 0.15:
            count = random.integers(1, 7) if is_form else random.integers(3, 16)
            line = " ".join(random.choice(WORDS, count))[:60]
            draw.text((168 if is_form else 60, y + 4), line, (20, 20, 90), font)
    return image


@pytest.mark.parametrize("is_form", [False, True])
def test_scanned_pages_of_one_layout_are_not_copies(is_form):
    pages = [draw_page(seed, is_form=is_form) for seed in range(8)]
    assert group(*pages, alike=0.99) == list(range(8))
    scanned = [save_as(page, "JPEG", quality=50) for page in pages]
    assert group(*pages, *scanned, alike=0.99) == [*range(8), *range(8)]


def test_flat_images_are_told_by_their_color():
    colors = ["white", "black", "gray", "red", "#f02020", "blue"]
    flat = [Image.new("RGB", (300, 200), color) for color in colors]
    copies = [save_as(shrink(image, 0.3), "JPEG", quality=60) for image in flat]
    assert group(*flat, *copies) == [*range(6), *range(6)]
    page = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(page).text((10, 10), "7", "black", ImageFont.load_default(30))
    assert group(flat[0], page) == [0, 1]


def test_a_gray_version_does_not_join_colors_that_differ():
    """A chain of copies: red, gray and green shirts, where the gray one is like both."""
    red, green = draw_shirt((220, 40, 60)), draw_shirt((40, 122, 60))
    gray = red.convert("L").convert("RGB")
    assert group(gray, red) == [0, 0]
    assert group(gray, green) == [0, 0]
    assert group(gray, red, green) == [0, 0, 2]
    assert group(red, gray, green) == [0, 0, 2]


def test_a_chain_of_crops_is_not_one_group(photos):
    chain = [photos[1]]
    for _ in range(7):
        chain.append(crop(chain[-1], 0.08, 0, 0, 0))
    leaders = group(*chain, alike=0.9)
    assert leaders[:2] == [0, 0]
    assert leaders[-1] != 0


def test_images_without_a_signature_are_told_by_their_cosine(photos):
    """As points of earlier versions are."""
    assert group(*photos, alike=0.975, has_signature=False) == [0, 0, 0]
    assert group(*photos, alike=0.96, has_signature=False) == [0, 1, 2]
    payloads = [{"kind": "image", SIGNATURE: compute_signature(photos[0])}, {"kind": "image"}]
    assert group_duplicates(payloads, np.ones((2, 1), np.float32), 0.7) == [0, 0]


def test_more_images_than_are_compared_at_a_time(photos):
    images = [
        photos[0],
        *[Image.new("RGB", (8, 8), (i // 16 * 16, i % 16 * 16, 90)) for i in range(256)],
    ]
    assert group(*images, photos[0])[-1] == 0


def test_groups_do_not_depend_on_the_number_of_dimensions():
    """The products of a page are computed a few rows at a time."""
    rows = np.random.default_rng(0).standard_normal((90, 384)).astype(np.float32)
    rows[45:] = rows[:45]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    leaders = group_duplicates([{"kind": "image"}] * 90, rows, 0.7)
    assert leaders == [*range(45), *range(45)]


def test_texts_are_grouped_by_their_content():
    payloads = [{"kind": "text", "content": content} for content in "abab"]
    assert group_duplicates(payloads, np.eye(4, dtype=np.float32), 0.7) == [0, 1, 0, 1]
    assert group_duplicates([], np.zeros((0, 4), np.float32), 0.7) == []


def test_how_alike_crops_are_depends_on_the_model():
    random = np.random.default_rng(0)
    spread = random.standard_normal((50, 64)).astype(np.float32)
    narrow = spread + 20 * np.ones(64, np.float32)  # all images in a narrow cone
    limits = [
        estimate_crop_cosine(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        for rows in (spread, narrow)
    ]
    assert 0.6 < limits[0] < 0.8
    assert limits[1] > 0.999
    assert estimate_crop_cosine(np.zeros((0, 4), np.float32)) < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (3000, 2), (64, 64), (390, 260)])
def test_a_signature_of_any_size(size):
    signature = compute_signature(Image.effect_mandelbrot(size, (-3, -2, 2, 2), 9).convert("RGB"))
    assert len(signature) == 260
    assert parse_signatures([signature]).is_known.all()


def test_a_signature_has_the_luma_and_the_chroma_of_its_cells(photos):
    parsed = parse_signatures([compute_signature(photos[2])])
    small = np.asarray(photos[2].resize((16, 16), Image.Resampling.BOX).convert("YCbCr"), float)
    assert np.abs(parsed.luma[0] - small[..., 0]).max() <= 10
    cells = small.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))[..., 1:].reshape(64, 2) - 128
    assert np.abs(parsed.chroma[0] - cells).max() <= 14
    assert np.corrcoef(parsed.chroma[0].ravel(), cells.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("value", [None, 7, "", "not base64!", "aGVsbG8=", ["x"], "é"])
def test_a_damaged_signature_counts_as_none(value):
    assert not parse_signatures([value]).is_known.any()
