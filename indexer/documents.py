"""A text file's bytes -> passages: pieces of about a thousand characters, cut where it reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from indexer.encodings import decode_text
from indexer.skips import Undecodable

MAX_CHARACTERS = 1000  # of a passage
MAX_PASSAGES = 200

# cut after these, best first: paragraphs, lines, sentences (also without spaces), words
BORDERS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"(?<=[.!?…।॥؟۔።։])[\"'”’»)\]]*\s+|(?<=[。！？．｡])[」』）”’]*\s*"),
    re.compile(r"\s+|(?<=[、，；：,;:])"),
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")


def passages(data: bytes) -> list[str]:
    """The text in pieces of at most `MAX_CHARACTERS`, at most `MAX_PASSAGES` of them.

    Raises `Undecodable`: "empty" where there are no words, "not-text" for something else.
    """
    try:
        text = decode_text(data)
    except ValueError as error:
        raise Undecodable("not-text", str(error)) from None
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = CONTROL.sub("", text[: 2 * MAX_CHARACTERS * MAX_PASSAGES])
    found = [piece for piece in _joined(_pieces(text, 0)) if any(map(str.isalnum, piece))]
    if not found:
        raise Undecodable("empty", "there are no words in it")
    return found[:MAX_PASSAGES]


def _joined(pieces: Iterator[str]) -> Iterator[str]:
    """Neighbours put together again while they fit into one passage."""
    passage = ""
    for piece in pieces:
        if len(passage) + len(piece.rstrip()) > MAX_CHARACTERS and passage:
            yield passage.strip()
            passage = ""
        passage += piece
    if passage.strip():
        yield passage.strip()


def _pieces(text: str, level: int) -> Iterator[str]:
    """`text` cut at the borders of `level`, and at finer ones where a piece is still too long."""
    if len(text) <= MAX_CHARACTERS:
        yield text
    elif level == len(BORDERS):
        yield from _hard_cut(text)
    else:
        for piece in _split(text, BORDERS[level]):
            yield from _pieces(piece, level + 1)


def _split(text: str, border: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for match in border.finditer(text):
        if match.end() > start:
            yield text[start : match.end()]
            start = match.end()
    if start < len(text):
        yield text[start:]


def _hard_cut(text: str) -> Iterator[str]:
    """Text without a border, cut to size, but never before a mark that combines with a letter."""
    start = 0
    while start < len(text):
        end = min(start + MAX_CHARACTERS, len(text))
        while start + 1 < end < len(text) and unicodedata.category(text[end])[0] == "M":
            end -= 1
        yield text[start:end]
        start = end
