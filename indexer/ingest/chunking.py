"""Splits a text file into chunks of about a thousand characters, at paragraphs and sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from indexer.captions.encoding import decode_text
from indexer.errors import UnusableFileError

MAX_CHUNK_CHARS = 1000
MAX_CHUNKS = 200

# split after these, best first: paragraphs, lines, sentences (also without spaces), words
SEPARATORS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"(?<=[.!?…।॥؟۔።։])[\"'”’»)\]]*\s+|(?<=[。！？．｡])[」』）”’]*\s*"),
    re.compile(r"\s+|(?<=[、，；：,;:])"),
)
CONTROL_CHARS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")


def chunk_document(data: bytes) -> list[str]:
    """Split a document into at most `MAX_CHUNKS` chunks of at most `MAX_CHUNK_CHARS` characters.

    Raises `UnusableFileError`: "empty" where it has no words, "not-text" where it is not text.
    """
    try:
        text = decode_text(data)
    except ValueError as error:
        raise UnusableFileError("not-text", str(error)) from None
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = CONTROL_CHARS.sub("", text[: 2 * MAX_CHUNK_CHARS * MAX_CHUNKS])
    chunks = [
        chunk for chunk in _merge_pieces(_split_text(text, 0)) if any(map(str.isalnum, chunk))
    ]
    if not chunks:
        raise UnusableFileError("empty", "it has no words")
    return chunks[:MAX_CHUNKS]


def _merge_pieces(pieces: Iterator[str]) -> Iterator[str]:
    """Join neighboring pieces while they fit into one chunk."""
    chunk = ""
    for piece in pieces:
        if len(chunk) + len(piece.rstrip()) > MAX_CHUNK_CHARS and chunk:
            yield chunk.strip()
            chunk = ""
        chunk += piece
    if chunk.strip():
        yield chunk.strip()


def _split_text(text: str, level: int) -> Iterator[str]:
    """Split at the separators of `level`, and at finer ones where a piece is still too long."""
    if len(text) <= MAX_CHUNK_CHARS:
        yield text
    elif level == len(SEPARATORS):
        yield from _split_hard(text)
    else:
        for piece in _split_after(text, SEPARATORS[level]):
            yield from _split_text(piece, level + 1)


def _split_after(text: str, separator: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for match in separator.finditer(text):
        if match.end() > start:
            yield text[start : match.end()]
            start = match.end()
    if start < len(text):
        yield text[start:]


def _split_hard(text: str) -> Iterator[str]:
    """Split text without separators to size, but not before a combining mark."""
    start = 0
    while start < len(text):
        end = min(start + MAX_CHUNK_CHARS, len(text))
        while start + 1 < end < len(text) and unicodedata.category(text[end])[0] == "M":
            end -= 1
        yield text[start:end]
        start = end
