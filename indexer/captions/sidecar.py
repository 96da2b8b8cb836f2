"""Caption files beside a picture: which belong to which, and what stands in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from embedder.images.formats import IMAGE_EXTENSIONS, get_extension
from indexer.captions.encoding import decode_text
from indexer.captions.language import parse_language_tag
from indexer.captions.normalize import (
    MAX_METADATA_ITEMS,
    make_caption,
    merge_captions,
    normalize_tags,
    normalize_text,
    split_tags,
    to_payload_value,
)
from indexer.captions.xmp import parse_xmp
from indexer.types import Caption

MAX_BYTES = 4 << 20
SIDECAR_EXTENSIONS = frozenset({"txt", "json", "xmp"})
TAKEOUT_SUFFIX = ".supplemental-metadata"  # Google Takeout: photo.jpg.supplemental-metadata.json
CAPTION_SOURCE = "sidecar"

CAPTION_KEYS = ("caption", "captions", "description", "title", "alt", "alt_text", "text")
TAG_KEYS = ("tags", "keywords")
LANGUAGE_LINE_PATTERN = re.compile(r"\s*([A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)\s*[:：]\s*(.*)")


@dataclass(frozen=True, slots=True)
class CaptionData:
    """What was written about a picture in one place."""

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


def match_sidecars(names: Iterable[str]) -> dict[str, list[str]]:
    """Picture -> its sidecars, sorted, from the names in one folder.

    `x.jpg.txt` and `x.txt` belong to `x.jpg`, `x.en.txt` and `x.jpg.en.txt` as well (in English);
    so do `.json` and `.xmp`.
    """
    images: dict[str, list[str]] = {}  # full name or stem -> pictures
    sidecars: list[str] = []
    for name in names:
        suffix = get_extension(name)
        if suffix in SIDECAR_EXTENSIONS:
            sidecars.append(name)
        elif suffix in IMAGE_EXTENSIONS:
            images.setdefault(name, []).append(name)
            images.setdefault(name[: -len(suffix) - 1], []).append(name)
    matches: dict[str, list[str]] = {}
    for sidecar in sorted(sidecars):
        for image in _find_described_images(sidecar, images):
            matches.setdefault(image, []).append(sidecar)
    return matches


def find_sidecars(names: Iterable[str]) -> set[str]:
    """Those of `names` that describe a picture among them, and so are no documents."""
    return {sidecar for sidecars in match_sidecars(names).values() for sidecar in sidecars}


def parse_name_language(name: str) -> str | None:
    """The language in a sidecar's name: `x.ja.txt` -> "ja"."""
    parts = name.split(".")
    return parse_language_tag(parts[-2]) if len(parts) > 2 else None


def parse_sidecar(name: str, data: bytes, image_name: str) -> CaptionData:
    """Read the sidecar called `name` of `picture`; raises `ValueError` in words for the user."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"a caption file of more than {MAX_BYTES >> 20} MB")
    kind, language = get_extension(name), parse_name_language(name)
    if kind == "xmp":
        xmp = parse_xmp(data, CAPTION_SOURCE)
        return CaptionData(xmp.captions, xmp.tags)
    text = decode_text(data)
    if kind == "txt":
        return CaptionData(merge_captions(_parse_text_captions(text, language)))
    return parse_fields(_parse_json(text), language, CAPTION_SOURCE, image_name)


def parse_fields(value: object, language: str | None, source: str, image_name: str) -> CaptionData:
    """What JSON says: a text, several, {language: text}, or {"caption": ..., "tags": ...}."""
    if not isinstance(value, dict):
        return CaptionData(_parse_captions(value, language, source))
    if value and all(parse_language_tag(str(key)) for key in value):
        return CaptionData(_parse_captions(value, language, source))
    captions: list[Caption] = []
    tag_values: list[str] = []
    meta: dict[str, str | int | float] = {}
    for key, item in value.items():
        name, key_language = parse_caption_key(str(key))
        if name in CAPTION_KEYS:
            captions.extend(_parse_captions(item, key_language or language, source))
        elif name in TAG_KEYS:
            tag_values.extend(_parse_tags(item))
        else:
            _add_metadata(meta, str(key), item)
    image_text = normalize_text(
        image_name
    ).casefold()  # Google Takeout's "title" is the file's name
    kept = (c for c in captions if c.text.casefold() != image_text)
    return CaptionData(merge_captions(kept), normalize_tags(tag_values), meta)


def parse_caption_key(key: str) -> tuple[str, str | None]:
    """A column's or key's name and its language: "caption_zh-Hans" -> ("caption", "zh-hans")."""
    plain = key.strip().lower()
    if plain in CAPTION_KEYS:
        return plain, None
    for name in CAPTION_KEYS:
        if plain.startswith(name) and plain[len(name) : len(name) + 1] in {"_", ":", "-", "."}:
            tag = parse_language_tag(plain[len(name) + 1 :])
            if tag:
                return name, tag
    return plain, None


def _find_described_images(sidecar: str, images: Mapping[str, list[str]]) -> list[str]:
    stem = sidecar[: -len(get_extension(sidecar)) - 1].removesuffix(TAKEOUT_SUFFIX)
    if stem in images:
        return images[stem]
    head, dot, tail = stem.rpartition(".")
    return images.get(head, []) if dot and parse_language_tag(tail) else []


def _parse_text_captions(text: str, language: str | None) -> list[Caption | None]:
    """Lines that open with a language (`en: ...`) each give one; else paragraphs do."""
    first = LANGUAGE_LINE_PATTERN.match(text.lstrip())
    if language or not first or not parse_language_tag(first[1]):
        return [make_caption(part, language, CAPTION_SOURCE) for part in re.split(r"\n\s*\n", text)]
    found: list[tuple[str | None, list[str]]] = []
    for line in text.splitlines():
        match = LANGUAGE_LINE_PATTERN.match(line)
        tag = parse_language_tag(match[1]) if match else None
        if match and tag:
            found.append((tag, [match[2]]))
        elif found:
            found[-1][1].append(line)
    return [make_caption("\n".join(lines), tag, CAPTION_SOURCE) for tag, lines in found]


def _parse_json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"broken JSON: {error}") from None
    return value


def _parse_captions(value: object, language: str | None, source: str) -> tuple[Caption, ...]:
    """A text, a list of texts, {language: text or texts}, or lists of such."""
    if isinstance(value, str):
        return merge_captions([make_caption(value, language, source)])
    if isinstance(value, list):
        return merge_captions(
            c for item in value[:100] for c in _parse_list_item(item, language, source)
        )
    if isinstance(value, dict):
        return merge_captions(
            c
            for key, item in value.items()
            for c in _parse_list_item(item, parse_language_tag(str(key)) or language, source)
        )
    return ()


def _parse_list_item(item: object, language: str | None, source: str) -> tuple[Caption, ...]:
    """An element of a list: {"text": ..., "language": ...} too; deeper nesting is passed over."""
    if isinstance(item, dict):
        text = item.get("text", item.get("caption"))
        item_language = parse_language_tag(str(item.get("language", item.get("lang", ""))))
        return (
            _parse_captions(text, item_language or language, source)
            if isinstance(text, str)
            else ()
        )
    if isinstance(item, list):
        return merge_captions(make_caption(t, language, source) for t in item if isinstance(t, str))
    return _parse_captions(item, language, source)


def _parse_tags(value: object) -> list[str]:
    if isinstance(value, str):
        return split_tags(value)
    return [str(v) for v in value if isinstance(v, str | int)] if isinstance(value, list) else []


def _add_metadata(meta: dict[str, str | int | float], key: str, value: object) -> None:
    plain, name = to_payload_value(value), normalize_text(key, 64)
    if plain is not None and name and len(meta) < MAX_METADATA_ITEMS:
        meta[name] = plain
