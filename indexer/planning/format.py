"""Numbers as people say them."""

from __future__ import annotations

import re

from embedder.settings import parse_size


def parse_count(value: object) -> int:
    """ "100M" -> 100,000,000; a B is a billion here, and not a byte. Raises `ValueError`."""
    text = str(value).strip()
    billions = re.fullmatch(r"([\d.]+)\s*[bB]", text)
    return int(float(billions[1]) * 1e9) if billions else parse_size(text.replace(",", ""))


def format_count(number: int) -> str:
    """1,000,000 -> 1M; what is no round number stays whole."""
    for unit, name in ((10**9, "B"), (10**6, "M")):
        if number >= unit and number % (unit // 10) == 0:
            return f"{number / unit:g}{name}"
    return f"{number:,}"


def format_number(value: float) -> str:
    """Three digits: 8,620; 39.1; 0.0459."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def format_days(value: float) -> str:
    """0.5 -> 12 hours; from two days on in days, from two years on in years."""
    if value < 1 / 24:
        return f"{format_number(value * 24 * 60)} minutes"
    if value < 2:
        return f"{format_number(value * 24)} hours"
    return f"{format_number(value)} days" if value < 730 else f"{format_number(value / 365)} years"
