"""A setting as it is written -> its value; each raises `ValueError` with what was expected."""

from __future__ import annotations

import re
from pathlib import Path

SIZE_SUFFIXES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
}
PROFILES = ("small", "large", "huge")


def parse_size(value: object) -> int:
    """A count or a number of bytes: 150000000, "150M", "200MB", "200MiB"."""
    match = re.fullmatch(r"([\d.]+)\s*([kmg]i?)?(?:b|px)?", str(value).strip().lower())
    if not match:
        raise ValueError("expected a number, with a suffix such as 200MB or 150M")
    return int(float(match[1]) * SIZE_SUFFIXES[match[2] or ""])


def parse_nonnegative_int(value: object) -> int:
    count = int(str(value))
    if count < 0:
        raise ValueError("expected 0 or more")
    return count


def parse_positive_int(value: object) -> int:
    count = parse_nonnegative_int(value)
    if count == 0:
        raise ValueError("expected 1 or more")
    return count


def parse_workers(value: object) -> int | str:
    """A number of threads, or where many workers are: local:N, ray:auto, ray://HOST:PORT."""
    text = str(value).strip()
    if re.fullmatch(r"local:[1-9]\d*|ray:auto|ray://[^/\s:]+:\d+|ray://\[[^\]\s]+\]:\d+", text):
        return text
    if re.fullmatch(r"\d+", text):
        return int(text)
    raise ValueError("expected a number of threads, local:N, ray:auto or ray://HOST:PORT")


def parse_bool(value: object) -> bool:
    text = str(value).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def parse_name(value: object) -> str:
    """A collection's or a tenant's name becomes a folder's name, so it is kept plain."""
    text = str(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("expected 1-64 letters, digits, '.', '_' or '-', a letter or digit first")
    return text


def parse_store(value: object) -> str:
    """A URL or a folder; a folder becomes absolute, so that a later chdir does not move it."""
    text = str(value).strip()
    if not text:
        raise ValueError("expected a folder or an http(s) URL")
    if text.startswith(("http://", "https://")):
        return text.rstrip("/")
    return str(Path(text).expanduser().absolute())


def parse_seconds(value: object) -> float:
    seconds = float(str(value))
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected a number of seconds")
    return seconds


def parse_port(value: object) -> int:
    port = parse_positive_int(value)
    if port > 65535:
        raise ValueError("expected a port, 1 to 65535")
    return port


def parse_profile(value: object) -> str:
    if value not in PROFILES:
        raise ValueError(f"expected one of {', '.join(PROFILES)}")
    return str(value)


def parse_path(value: object) -> str:
    """A folder or a file, made absolute."""
    return str(Path(str(value).strip()).expanduser().absolute())
