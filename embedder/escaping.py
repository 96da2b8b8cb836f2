"""Text from outside, made safe for where it is shown: terminals, JSON, Markdown, spreadsheets.

Captions, tags, names of files, and messages of servers may hold anything.
"""

from __future__ import annotations

import json
import re
import unicodedata

JOINERS = "\u200c\u200d"  # shape letters and emoji; steer nothing
WORD_JOINER = "\u2060"  # cannot be seen
MARKDOWN_PATTERN = re.compile(r"[\\`*_\[\]>|~$#]|:(?=[A-Za-z:/])|^[-+]")
ORDINAL_PATTERN = re.compile(r"^(\d+)([.)])(?!\S)")  # would begin a list
# What Streamlit and GitHub replace by an emoji, an icon, a link or an arrow even where it is
# escaped: :smile: :material/x: http://x www.x a@b ->
REPLACED_PATTERN = re.compile(
    r":(?=[\w+-]+:)|(?<=:)(?=material[/_])|://(?=[-.\w])|www(?=\.)|@(?=[-\w])|"
    r"(?<!\S)[<>~-](?=[->=]+(?!\S))",
    re.IGNORECASE,
)
# OWASP, "CSV Injection", with the small and full-width forms. Spreadsheets in some countries split
# at ; and then at line breaks too, whatever the quotes are.
FORMULA_PATTERN = re.compile(
    r"(?P<before>^|[\t\r\n;])(?=[\s\"]*[=+\-@\ufe62-\ufe66\ufe6b＝＋－＠])"
)
NUMBER_PATTERN = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?%?")


def replace_unprintable(text: str, keep: str = "") -> str:
    """Replace what could steer a terminal or reorder what it shows, except the characters `keep`.

    Control characters, overrides of the writing direction, line separators, and bytes of a file
    name that are no text become U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or _is_visible(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def dump_json(value: object, *, ascii_only: bool = False) -> str:
    """JSON on one line, with \\u escapes for all that `replace_unprintable` would replace."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    if text.isprintable():
        return text
    return "".join(c if _is_visible(c) else json.dumps(c)[1:-1] for c in text)


def escape_markdown(text: str) -> str:
    """Return Markdown that shows `text` as it is, on one line.

    Nothing in it becomes formatting, HTML, a link, an image, or one of Streamlit's directives. What
    is replaced even where it is escaped is taken apart by word joiners, which cannot be seen.
    """
    line = replace_unprintable(" ".join(text.split()))
    line = REPLACED_PATTERN.sub(lambda match: match[0] + WORD_JOINER, line)
    line = line.replace("&", "&amp;").replace("<", "&lt;")
    line = MARKDOWN_PATTERN.sub(lambda match: f"\\{match[0]}", line)
    return ORDINAL_PATTERN.sub(r"\1\\\2", line)


def escape_cell(text: str) -> str:
    """Return `text` for a cell of a CSV file, in which a spreadsheet finds no formula.

    Where one could begin, an apostrophe is put before it. Numbers stay as they are.
    """
    text = replace_unprintable(text, keep="\t\r\n")
    if NUMBER_PATTERN.fullmatch(text):
        return text
    text = FORMULA_PATTERN.sub(r"\g<before>'", text)
    return f"'{text}" if text.startswith(("\t", "\r", "\n")) else text


def _is_visible(character: str) -> bool:
    return (
        character.isprintable()
        or character in JOINERS
        or unicodedata.category(character) == "Zs"  # spaces, such as that of Japanese
    )
