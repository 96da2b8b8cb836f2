"""The images that the head is trained and evaluated on, with their words."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from embedder.families.starter.translation import normalize_word
from recipes.starter.annotations import Annotations, emoji_from_path
from recipes.starter.gcompris import read_images, strip_article
from recipes.starter.packages import run_command

VENDORS = {
    "emoji-google": "package/img/google/64",
    "emoji-twitter": "package/img/twitter/64",
    "emoji-facebook": "package/img/facebook/64",
    "emoji-fluent": "package/assets",
}
HELD_OUT_VENDOR = "emoji-facebook"
HELD_OUT_DIVISOR = 10  # one emoji in this many is not trained on
MAX_KEYWORDS = 6  # an emoji's English keywords that count
CLIPART = "usr/share/openclipart/png"
ABSTRACT_FOLDERS = ("/gradients/", "/patterns/", "/stars/star_", "/arrows/arrow")
VAGUE_FOLDERS = {"unsorted", "special", "shapes", "computer", "signs and symbols", "icons"}
NOISE_WORDS = {"clipart", "by", "png", "svg", "untitled", "the", "part", "of", "collection", "rg"}
STAMPS = "usr/share/tuxpaint/stamps"
STAMP_LOCALES = {"zh": "zh_CN", "no": "nb"}
MAX_SIDE = 400  # pixels of the longer side; the towers look at 260
MAX_PIXELS = 40_000_000
BOMB_ERRORS = (Image.DecompressionBombWarning, Image.DecompressionBombError)
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """A file, what it shows (`concept` is equal for images of one thing), and its words.

    `words` are (weight, language, text): how often a text is drawn in training.
    """

    path: Path
    concept: str
    texts: tuple[tuple[float, str, str], ...]


def emoji_images(
    folder: Path, vendor: str, annotations: Mapping[str, Annotations]
) -> Iterator[LabeledImage]:
    for path in sorted((folder / VENDORS[vendor]).iterdir()):
        emoji = emoji_from_path(path)
        if emoji and emoji in annotations["en"]:
            yield LabeledImage(path, emoji, _emoji_words(emoji, annotations))


def held_out_emoji(annotations: Mapping[str, Annotations]) -> set[str]:
    """A tenth of the emoji, the same each time."""
    emoji = sorted(annotations["en"])
    return set(random.Random(1).sample(emoji, len(emoji) // HELD_OUT_DIVISOR))


def clipart_images(folder: Path) -> Iterator[LabeledImage]:
    """Open Clip Art with the titles that its authors gave (public domain)."""
    root = folder / CLIPART
    for path in sorted(root.rglob("*.png")):
        if not any(shape in str(path) for shape in ABSTRACT_FOLDERS):
            words = _clipart_words(path, root)
            if words:
                yield LabeledImage(path, str(path), words)


def gcompris_images(
    folder: Path, work: Path, words: Mapping[str, Mapping[str, list[str]]]
) -> Iterator[LabeledImage]:
    """GCompris' images of words; only for evaluation."""
    for key, data in sorted(read_images(folder).items()):
        path = work / "gcompris-pictures" / f"{key}.webp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        texts = [
            (1.0, language, known[key][0]) for language, known in words.items() if key in known
        ]
        yield LabeledImage(path, key, (*texts, (1.0, "en", key.replace("_", " "))))


def stamp_images(folder: Path, work: Path, languages: tuple[str, ...]) -> Iterator[LabeledImage]:
    """Tux Paint's stamps: photos, cut-outs and drawings of things; only for evaluation."""
    root = folder / STAMPS
    for described in sorted(root.rglob("*.txt")):
        path = described.with_suffix(".png")
        if not path.exists() and described.with_suffix(".svg").exists():
            path = work / "stamps-drawn" / described.relative_to(root).with_suffix(".png")
            _render_svg(described.with_suffix(".svg"), path)
        if path.exists():
            concept = str(described.relative_to(root))
            yield LabeledImage(path, concept, _stamp_words(described, languages))


def _render_svg(drawing: Path, path: Path) -> None:
    """An SVG of the package as PNG; a few are damaged and give no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = ("-w", str(MAX_SIDE), "-h", str(MAX_SIDE), "-a")
    if not path.exists():
        run_command(("rsvg-convert", *size, "-o", str(path), str(drawing)), path.parent)


def _stamp_words(described: Path, languages: tuple[str, ...]) -> tuple[tuple[float, str, str], ...]:
    lines = described.read_text("utf-8", "replace").splitlines()
    by_locale = dict(line.split(".utf8=", 1) for line in lines[1:] if ".utf8=" in line)
    by_locale["en"] = lines[0]
    names_by_language = {
        name: by_locale.get(STAMP_LOCALES.get(name, name), "") for name in languages
    }
    texts = [
        (1.0, name, strip_article(normalize_word(text), name))
        for name, text in names_by_language.items()
    ]
    return tuple(text for text in texts if text[2])


def open_image(path: Path) -> Image.Image:
    """RGB on white, its longer side at most `SIDE`; raises `ValueError`, `OSError`."""
    image = Image.open(BytesIO(path.read_bytes()))
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{path} has more than {MAX_PIXELS:,} pixels")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    upright = image.convert("RGBA")
    page = Image.new("RGBA", upright.size, "white")
    page.alpha_composite(upright)
    return page.convert("RGB")


def _emoji_words(
    emoji: str, annotations: Mapping[str, Annotations]
) -> tuple[tuple[float, str, str], ...]:
    english = annotations["en"][emoji]
    words = [(2.0, "en", english.name)]
    words += [(1.0, "en", word) for word in english.keywords[:MAX_KEYWORDS]]
    for language, known in annotations.items():
        if language != "en" and emoji in known:
            words.append((0.15, language, known[emoji].name))
    return tuple(word for word in words if word[2])


def _clipart_words(path: Path, root: Path) -> tuple[tuple[float, str, str], ...]:
    try:
        with Image.open(path) as image:
            title, author = (str(image.info.get(key, "")) for key in ("Title", "Author"))
    except BOMB_ERRORS:
        return ()
    names = set(re.findall(r"[a-z]+", author.lower()))
    titles = dict.fromkeys(
        _clean_title(text, names) for text in (path.stem.replace("_", " "), title)
    )
    words = [(1.0, "en", text) for text in titles if len(text) > 2]
    folder = path.parent.relative_to(root).name.replace("_", " ")
    if words and folder not in VAGUE_FOLDERS:
        words.append((0.3, "en", folder))
    return tuple(words)


def _clean_title(text: str, authors: set[str]) -> str:
    words = re.findall(r"[a-z]+", text.lower())
    return " ".join([word for word in words if word not in authors | NOISE_WORDS][:5])
