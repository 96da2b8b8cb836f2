"""Paths of files as payloads and reports show them."""

from __future__ import annotations

import os
import re


def display_path(path: str) -> str:
    """`path` as payloads and reports show it: bytes that are no UTF-8 become `\\xe9`."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return path


def resolve_display_path(displayed: str) -> str:
    """The path that `display_path` showed: as it stands if that exists, else with its bytes back."""
    if "\\x" not in displayed or os.path.lexists(displayed):
        return displayed
    byte = re.compile(r"\\x([89a-f][0-9a-f])")
    return byte.sub(lambda match: chr(0xDC00 + int(match[1], 16)), displayed)
