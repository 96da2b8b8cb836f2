"""The pictures that the head is trained and measured on, with their words."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from embedder.starter_words import fold
from finetune.starter.annotations import Annotations, emoji_of
from finetune.starter.sources import run
from finetune.starter.wordlists import read_pictures, without_article

VENDORS = {
    "emoji-google": "package/img/google/64",
    "emoji-twitter": "package/img/twitter/64",
    "emoji-facebook": "package/img/facebook/64",
    "emoji-fluent": "package/assets",
}
HELD_VENDOR = "emoji-facebook"
HELD_SHARE = 10  # one emoji in so many is never trained on
KEYWORDS = 6  # an emoji's English keywords that count
CLIPART = "usr/share/openclipart/png"
SHAPES = ("/gradients/", "/patterns/", "/stars/star_", "/arrows/arrow")
VAGUE = {"unsorted", "special", "shapes", "computer", "signs and symbols", "icons"}
NOISE = {"clipart", "by", "png", "svg", "untitled", "the", "part", "of", "collection", "rg"}
STAMPS = "usr/share/tuxpaint/stamps"
STAMP_LOCALES = {"zh": "zh_CN", "no": "nb"}
SIDE = 400  # pixels of the longer side; the towers look at 260
MOST_PIXELS = 40_000_000
BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Picture:
    """A file, what it shows (`concept` is equal for pictures of one thing), and its words.

    `words` are (weight, language, text): how often a text is drawn in training.
    """

    path: Path
    concept: str
    words: tuple[tuple[float, str, str], ...]


def emoji_pictures(
    folder: Path, vendor: str, annotations: Mapping[str, Annotations]
) -> Iterator[Picture]:
    for path in sorted((folder / VENDORS[vendor]).iterdir()):
        emoji = emoji_of(path)
        if emoji and emoji in annotations["en"]:
            yield Picture(path, emoji, _emoji_words(emoji, annotations))


def held_emoji(annotations: Mapping[str, Annotations]) -> set[str]:
    """A tenth of the emoji, the same each time."""
    emoji = sorted(annotations["en"])
    return set(random.Random(1).sample(emoji, len(emoji) // HELD_SHARE))


def clipart_pictures(folder: Path) -> Iterator[Picture]:
    """Open Clip Art with the titles that its authors gave (public domain)."""
    root = folder / CLIPART
    for path in sorted(root.rglob("*.png")):
        if not any(shape in str(path) for shape in SHAPES):
            words = _clipart_words(path, root)
            if words:
                yield Picture(path, str(path), words)


def gcompris_pictures(
    folder: Path, work: Path, words: Mapping[str, Mapping[str, list[str]]]
) -> Iterator[Picture]:
    """GCompris' pictures of words; for measuring alone."""
    for key, data in sorted(read_pictures(folder).items()):
        path = work / "gcompris-pictures" / f"{key}.webp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        texts = [
            (1.0, language, known[key][0]) for language, known in words.items() if key in known
        ]
        yield Picture(path, key, (*texts, (1.0, "en", key.replace("_", " "))))


def stamp_pictures(folder: Path, work: Path, languages: tuple[str, ...]) -> Iterator[Picture]:
    """Tux Paint's stamps: photos, cut-outs and drawings of things; for measuring alone."""
    root = folder / STAMPS
    for described in sorted(root.rglob("*.txt")):
        path = described.with_suffix(".png")
        if not path.exists() and described.with_suffix(".svg").exists():
            path = work / "stamps-drawn" / described.relative_to(root).with_suffix(".png")
            _draw(described.with_suffix(".svg"), path)
        if path.exists():
            concept = str(described.relative_to(root))
            yield Picture(path, concept, _stamp_words(described, languages))


def _draw(drawing: Path, path: Path) -> None:
    """An SVG of the package as PNG; a few are damaged, and none comes of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = ("-w", str(SIDE), "-h", str(SIDE), "-a")
    if not path.exists():
        run(("rsvg-convert", *size, "-o", str(path), str(drawing)), path.parent)


def _stamp_words(described: Path, languages: tuple[str, ...]) -> tuple[tuple[float, str, str], ...]:
    lines = described.read_text("utf-8", "replace").splitlines()
    by_locale = dict(line.split(".utf8=", 1) for line in lines[1:] if ".utf8=" in line)
    by_locale["en"] = lines[0]
    told = {name: by_locale.get(STAMP_LOCALES.get(name, name), "") for name in languages}
    texts = [(1.0, name, without_article(fold(text), name)) for name, text in told.items()]
    return tuple(text for text in texts if text[2])


def open_picture(path: Path) -> Image.Image:
    """RGB on white, its longer side at most `SIDE`; raises `ValueError`, `OSError`."""
    image = Image.open(BytesIO(path.read_bytes()))
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{path} has more than {MOST_PIXELS:,} pixels")
    image.thumbnail((SIDE, SIDE))
    upright = image.convert("RGBA")
    page = Image.new("RGBA", upright.size, "white")
    page.alpha_composite(upright)
    return page.convert("RGB")


def _emoji_words(
    emoji: str, annotations: Mapping[str, Annotations]
) -> tuple[tuple[float, str, str], ...]:
    english = annotations["en"][emoji]
    words = [(2.0, "en", english.name)]
    words += [(1.0, "en", word) for word in english.keywords[:KEYWORDS]]
    for language, known in annotations.items():
        if language != "en" and emoji in known:
            words.append((0.15, language, known[emoji].name))
    return tuple(word for word in words if word[2])


def _clipart_words(path: Path, root: Path) -> tuple[tuple[float, str, str], ...]:
    try:
        with Image.open(path) as image:
            title, author = (str(image.info.get(key, "")) for key in ("Title", "Author"))
    except BOMBS:
        return ()
    names = set(re.findall(r"[a-z]+", author.lower()))
    told = dict.fromkeys(_title(text, names) for text in (path.stem.replace("_", " "), title))
    words = [(1.0, "en", text) for text in told if len(text) > 2]
    folder = path.parent.relative_to(root).name.replace("_", " ")
    if words and folder not in VAGUE:
        words.append((0.3, "en", folder))
    return tuple(words)


def _title(text: str, authors: set[str]) -> str:
    words = re.findall(r"[a-z]+", text.lower())
    return " ".join([word for word in words if word not in authors | NOISE][:5])
