"""Text and JSON sidecars, and the caption fields that JSON and the columns of tables share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from embedder.images.formats import IMAGE_EXTENSIONS, get_extension
from indexer.captions.encoding import decode_text
from indexer.captions.language import LABELS, parse_known_language, parse_language_tag
from indexer.captions.normalize import (
    MAX_METADATA_ITEMS,
    FileCaptions,
    make_caption,
    merge_captions,
    normalize_key,
    normalize_tags,
    normalize_text,
    split_tags,
    to_payload_value,
)
from indexer.captions.takeout import is_takeout, parse_takeout
from indexer.captions.xmp import parse_xmp_sidecar
from indexer.types import Caption

CAPTION_SOURCE = "sidecar"
CAPTION_KEYS = ("caption", "captions", "description", "title", "alt", "alt_text", "text")
TAG_KEYS = ("tags", "keywords")
MAX_BYTES = 4 << 20
LANGUAGE_LINE_PATTERN = re.compile(  # not in title case: "No: 17" and "To: Ann" are labels
    r"\s*((?:[a-z]{2,3}|[A-Z]{2,3})(?:[-_][A-Za-z0-9]{2,8})*)\s*[:：]\s*(.*)"
)


def parse_text(data: bytes, language: str | None, image_name: str) -> FileCaptions:
    """Parse a text sidecar: a caption a paragraph, or a caption a language (`en: ...` lines)."""
    text = decode_text(data)
    blocks = [] if language else _split_by_language(text)
    if not blocks:
        blocks = [(language, paragraph) for paragraph in re.split(r"\n\s*\n", text)]
    return FileCaptions(
        merge_captions(make_caption(block, tag, CAPTION_SOURCE) for tag, block in blocks)
    )


def _split_by_language(text: str) -> list[tuple[str | None, str]]:
    """Return (language, caption); empty where the text is not one of lines that name languages."""
    blocks: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        match = LANGUAGE_LINE_PATTERN.fullmatch(line)
        tag = parse_known_language(match[1]) if match else None
        if match and tag and _has_letters(match[2]):
            blocks.append((tag, [match[2]]))
        elif blocks:
            blocks[-1][1].append(line)
        elif line.strip():
            return []
    if {tag for tag, _ in blocks} <= LABELS:
        return []
    return [(tag, "\n".join(lines)) for tag, lines in blocks]


def parse_json(data: bytes, language: str | None, image_name: str) -> FileCaptions:
    """Parse a JSON sidecar, as `parse_fields` reads its value."""
    try:
        value: object = json.loads(decode_text(data), strict=False)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error}") from None
    return parse_fields(value, language, CAPTION_SOURCE, image_name)


def parse_fields(value: object, language: str | None, source: str, image_name: str) -> FileCaptions:
    """Read captions, tags and metadata from a JSON value or the columns of a row.

    Args:
        value: A text, a list of texts, {language: text}, or {"caption": ..., "tags": ...}.
        language: The language of captions that do not name their own.
        source: `Caption.source` of the captions.
        image_name: The described image; some programs repeat it as "title".
    """
    if not isinstance(value, dict) or _is_by_language(value):
        return FileCaptions(_parse_captions(value, language, source))
    if is_takeout(value):
        return parse_takeout(value, source)
    captions: list[Caption] = []
    tag_values: list[str] = []
    meta: dict[str, str | int | float] = {}
    for key, item in value.items():
        name, key_language = parse_caption_key(str(key))
        if name == "title" and get_extension(str(item)) in IMAGE_EXTENSIONS:
            continue  # the name of a file
        if name in CAPTION_KEYS and not (key_language in LABELS and not _has_letters(item)):
            captions.extend(_parse_captions(item, key_language or language, source))
        elif name in TAG_KEYS:
            values = split_tags(item) if isinstance(item, str) else item
            if isinstance(values, list):
                tag_values.extend(str(v) for v in values if isinstance(v, str | int))
        else:
            plain, meta_key = to_payload_value(item), normalize_key(str(key))
            if plain is not None and meta_key and len(meta) < MAX_METADATA_ITEMS:
                meta[meta_key] = plain
    name_text = normalize_text(image_name).casefold()
    described = (c for c in captions if c.text.casefold() != name_text)
    return FileCaptions(merge_captions(described), normalize_tags(tag_values), meta)


def parse_caption_key(key: str) -> tuple[str, str | None]:
    """Split a column's or key's name: "caption_zh-Hans" -> ("caption", "zh-hans")."""
    plain = key.strip().lower()
    if plain in CAPTION_KEYS:
        return plain, None
    for name in CAPTION_KEYS:
        if plain.startswith(name) and plain[len(name) : len(name) + 1] in {"_", ":", "-", "."}:
            tag = parse_known_language(plain[len(name) + 1 :])
            if tag:
                return name, tag
    return plain, None


def _is_by_language(value: Mapping[str, object]) -> bool:
    """Whether an object is {language: text}, and not one whose keys only look like languages."""
    languages = {parse_known_language(str(key)) for key in value}
    if not value or None in languages:
        return False
    return not languages <= LABELS and all(map(_has_letters, value.values()))


def _has_letters(value: object) -> bool:
    """Whether a value is a text in words; a number or an id is none."""
    return not isinstance(value, int | float | str) or any(map(str.isalpha, str(value)))


def _parse_captions(value: object, language: str | None, source: str) -> tuple[Caption, ...]:
    """Parse a text, a list of texts, {language: text or texts}, or lists of such."""
    if isinstance(value, str):
        return merge_captions([make_caption(value, language, source)])
    if isinstance(value, list):
        items = [(item, language) for item in value[:100]]
    elif isinstance(value, dict):
        items = [(v, parse_language_tag(str(key)) or language) for key, v in value.items()]
    else:
        return ()
    return merge_captions(c for item, tag in items for c in _parse_list_item(item, tag, source))


def _parse_list_item(item: object, language: str | None, source: str) -> tuple[Caption, ...]:
    """Parse an element of a list, {"text": ..., "language": ...} too; deeper nesting is ignored."""
    if isinstance(item, dict):
        text = item.get("text", item.get("caption"))
        tag = parse_language_tag(str(item.get("language", item.get("lang", ""))))
        return _parse_captions(text, tag or language, source) if isinstance(text, str) else ()
    if isinstance(item, list):
        return merge_captions(make_caption(t, language, source) for t in item if isinstance(t, str))
    return _parse_captions(item, language, source)


SIDECAR_PARSERS: Mapping[str, Callable[[bytes, str | None, str], FileCaptions]] = {
    "txt": parse_text,
    "json": parse_json,
    "xmp": parse_xmp_sidecar,
}
"""Extension -> function of (data, language in the file's name, image's name) that raises
`ValueError`. A new format is one parser, and one line here."""


def parse_sidecar(name: str, data: bytes, image_name: str) -> FileCaptions:
    """Parse the sidecar called `name` of an image; raises `ValueError` with a message for users."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"a caption file of more than {MAX_BYTES >> 20} MB")
    parts = name.split(".")
    language = parse_known_language(parts[-2]) if len(parts) > 2 else None  # x.ja.txt -> "ja"
    return SIDECAR_PARSERS[get_extension(name)](data, language, image_name)
