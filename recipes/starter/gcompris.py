"""GCompris' words for everyday things in many languages, and images of some (AGPL-3.0).

They are in a Qt resource file (.rcc): a tree of records, names in UTF-16, and data after its
length; https://doc.qt.io/qt-6/resources.html. Some of the data is compressed with zlib.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from embedder.families.starter import LANGUAGES
from embedder.families.starter.translation import normalize_word

RCC = "usr/share/gcompris-qt/rcc/lang.rcc"
FOLDER = "/gcompris/src/activities/lang/resource"
LOCALES = {"zh": "zh_CN", "no": "nn"}
ARTICLES = {
    "da": "en et", "de": "der die das ein eine", "el": "ο η το οι τα", "en": "a an the",
    "es": "el la los las un una", "fr": "le la les un une des l' l’", "hu": "a az egy",
    "it": "il lo la i gli le un una l' l’", "nl": "de het een", "no": "ein eit en et",
    "pt": "o a os as um uma", "sv": "en ett",
}  # fmt: skip


def read_word_lists(gcompris: Path) -> dict[str, dict[str, list[str]]]:
    """Language -> word's key -> its words, folded, without their articles."""
    files = dict(read_qt_resources((gcompris / RCC).read_bytes()))
    found = {}
    for language in LANGUAGES:
        name = f"{FOLDER}/content-{LOCALES.get(language, language)}.json"
        if name in files:
            found[language] = _read_words(json.loads(files[name]), language)
    return found


def read_images(gcompris: Path) -> dict[str, bytes]:
    """Word's key -> its image, as WebP."""
    files = read_qt_resources((gcompris / RCC).read_bytes())
    return {Path(name).stem: data for name, data in files if name.endswith(".webp")}


def strip_article(word: str, language: str) -> str:
    """`eine blume` -> `blume`; `word` is folded."""
    for article in ARTICLES.get(language, "").split():
        start = article if article[-1] in "'’" else f"{article} "
        if word.startswith(start) and len(word) > len(start):
            return word.removeprefix(start).strip()
    return word


def _read_words(plain: dict[str, str], language: str) -> dict[str, list[str]]:
    """`plain` is sound file -> text; letters and numbers are left out."""
    found = {
        Path(sound).stem: _split_meanings(text, language)
        for sound, text in plain.items()
        if not re.fullmatch(r"U[0-9A-F]{4}|\d+", Path(sound).stem)
    }
    return {key: words for key, words in found.items() if words}


def _split_meanings(text: str, language: str) -> list[str]:
    words = (strip_article(normalize_word(word), language) for word in re.split(r"[,;/(]", text))
    return [word for word in words if word]


def read_qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file in a Qt resource file."""
    version, tree, content, names = struct.unpack(">4I", data[4:20])
    size = 14 if version == 1 else 22

    def name_at(offset: int) -> str:
        start = names + offset
        length = struct.unpack(">H", data[start : start + 2])[0]
        return data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    def below(record: int, prefix: str) -> Iterator[tuple[str, bytes]]:
        start = tree + record * size
        offset, flags = struct.unpack(">IH", data[start : start + 6])
        path = f"{prefix}/{name_at(offset)}" if record else ""
        if flags & 2:  # a folder
            count, first = struct.unpack(">II", data[start + 6 : start + 14])
            for child in range(first, first + count):
                yield from below(child, path)
            return
        place = content + struct.unpack(">I", data[start + 10 : start + 14])[0]
        length = struct.unpack(">I", data[place : place + 4])[0]
        raw = data[place + 4 : place + 4 + length]
        yield path, zlib.decompress(raw[4:]) if flags & 1 else raw

    return below(0, "")
