"""Caption files beside a picture: which belong to which, and what stands in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from indexer.encodings import decode_text
from indexer.kinds import IMAGES, extension
from indexer.languages import language_tag
from indexer.types import Caption
from indexer.wording import MAX_META, caption, clean, merge, scalar, split_tags, tags
from indexer.xmp import parse_xmp

MAX_BYTES = 4 << 20
KINDS = frozenset({"txt", "json", "xmp"})
TAKEOUT = ".supplemental-metadata"  # Google Takeout: photo.jpg.supplemental-metadata.json
SOURCE = "sidecar"

CAPTION_KEYS = ("caption", "captions", "description", "title", "alt", "alt_text", "text")
TAG_KEYS = ("tags", "keywords")
LANGUAGE_LINE = re.compile(r"\s*([A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)\s*[:：]\s*(.*)")


@dataclass(frozen=True, slots=True)
class Notes:
    """What was written about a picture in one place."""

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


def owners(names: Iterable[str]) -> dict[str, list[str]]:
    """Picture -> its sidecars, sorted, from the names in one folder.

    `x.jpg.txt` and `x.txt` belong to `x.jpg`, `x.en.txt` and `x.jpg.en.txt` as well (in English);
    so do `.json` and `.xmp`.
    """
    pictures: dict[str, list[str]] = {}  # full name or stem -> pictures
    notes: list[str] = []
    for name in names:
        tail = extension(name)
        if tail in KINDS:
            notes.append(name)
        elif tail in IMAGES:
            pictures.setdefault(name, []).append(name)
            pictures.setdefault(name[: -len(tail) - 1], []).append(name)
    found: dict[str, list[str]] = {}
    for note in sorted(notes):
        for picture in _described_by(note, pictures):
            found.setdefault(picture, []).append(note)
    return found


def sidecar_names(names: Iterable[str]) -> set[str]:
    """Those of `names` that describe a picture among them, and so are no documents."""
    return {note for notes in owners(names).values() for note in notes}


def language_of(name: str) -> str | None:
    """The language in a sidecar's name: `x.ja.txt` -> "ja"."""
    parts = name.split(".")
    return language_tag(parts[-2]) if len(parts) > 2 else None


def parse_sidecar(name: str, data: bytes, picture: str) -> Notes:
    """Read the sidecar called `name` of `picture`; raises `ValueError` in words for the user."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"a caption file of more than {MAX_BYTES >> 20} MB")
    kind, language = extension(name), language_of(name)
    if kind == "xmp":
        xmp = parse_xmp(data, SOURCE)
        return Notes(xmp.captions, xmp.tags)
    text = decode_text(data)
    if kind == "txt":
        return Notes(merge(_lines(text, language)))
    return parse_fields(_json(text), language, SOURCE, picture)


def parse_fields(value: object, language: str | None, source: str, picture: str) -> Notes:
    """What JSON says: a text, several, {language: text}, or {"caption": ..., "tags": ...}."""
    if not isinstance(value, dict):
        return Notes(_captions(value, language, source))
    if value and all(language_tag(str(key)) for key in value):
        return Notes(_captions(value, language, source))
    captions: list[Caption] = []
    words: list[str] = []
    meta: dict[str, str | int | float] = {}
    for key, item in value.items():
        name, tongue = caption_key(str(key))
        if name in CAPTION_KEYS:
            captions.extend(_captions(item, tongue or language, source))
        elif name in TAG_KEYS:
            words.extend(_tag_list(item))
        else:
            _note(meta, str(key), item)
    own_name = clean(picture).casefold()  # Google Takeout's "title" is the file's name
    kept = (c for c in captions if c.text.casefold() != own_name)
    return Notes(merge(kept), tags(words), meta)


def caption_key(key: str) -> tuple[str, str | None]:
    """A column's or key's name and its language: "caption_zh-Hans" -> ("caption", "zh-hans")."""
    plain = key.strip().lower()
    if plain in CAPTION_KEYS:
        return plain, None
    for name in CAPTION_KEYS:
        if plain.startswith(name) and plain[len(name) : len(name) + 1] in {"_", ":", "-", "."}:
            tag = language_tag(plain[len(name) + 1 :])
            if tag:
                return name, tag
    return plain, None


def _described_by(note: str, pictures: Mapping[str, list[str]]) -> list[str]:
    stem = note[: -len(extension(note)) - 1].removesuffix(TAKEOUT)
    if stem in pictures:
        return pictures[stem]
    head, dot, tail = stem.rpartition(".")
    return pictures.get(head, []) if dot and language_tag(tail) else []


def _lines(text: str, language: str | None) -> list[Caption | None]:
    """Lines that open with a language (`en: ...`) each give one; else paragraphs do."""
    first = LANGUAGE_LINE.match(text.lstrip())
    if language or not first or not language_tag(first[1]):
        return [caption(part, language, SOURCE) for part in re.split(r"\n\s*\n", text)]
    found: list[tuple[str | None, list[str]]] = []
    for line in text.splitlines():
        match = LANGUAGE_LINE.match(line)
        tag = language_tag(match[1]) if match else None
        if match and tag:
            found.append((tag, [match[2]]))
        elif found:
            found[-1][1].append(line)
    return [caption("\n".join(lines), tag, SOURCE) for tag, lines in found]


def _json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"broken JSON: {error}") from None
    return value


def _captions(value: object, language: str | None, source: str) -> tuple[Caption, ...]:
    """A text, a list of texts, {language: text or texts}, or lists of such."""
    if isinstance(value, str):
        return merge([caption(value, language, source)])
    if isinstance(value, list):
        return merge(c for item in value[:100] for c in _one_of_many(item, language, source))
    if isinstance(value, dict):
        return merge(
            c
            for key, item in value.items()
            for c in _one_of_many(item, language_tag(str(key)) or language, source)
        )
    return ()


def _one_of_many(item: object, language: str | None, source: str) -> tuple[Caption, ...]:
    """An element of a list: {"text": ..., "language": ...} too; deeper nesting is passed over."""
    if isinstance(item, dict):
        text = item.get("text", item.get("caption"))
        tongue = language_tag(str(item.get("language", item.get("lang", ""))))
        return _captions(text, tongue or language, source) if isinstance(text, str) else ()
    if isinstance(item, list):
        return merge(caption(t, language, source) for t in item if isinstance(t, str))
    return _captions(item, language, source)


def _tag_list(value: object) -> list[str]:
    if isinstance(value, str):
        return split_tags(value)
    return [str(v) for v in value if isinstance(v, str | int)] if isinstance(value, list) else []


def _note(meta: dict[str, str | int | float], key: str, value: object) -> None:
    plain, name = scalar(value), clean(key, 64)
    if plain is not None and name and len(meta) < MAX_META:
        meta[name] = plain
