"""Dates in filters: `2019`, `2019-07`, `2019-07-14`, and ranges of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DATE_PATTERN = re.compile(r"(?P<year>\d{4})(?:-(?P<month>\d\d?)(?:-(?P<day>\d\d?))?)?")
COMPARISON_PATTERN = re.compile(rf"(?P<sign>[<>]=?)\s*(?P<date>{DATE_PATTERN.pattern})")


def parse_date_range(value: str) -> dict[str, datetime] | None:
    """Parse `2019-07`, `2018..2019-07-14`, `2019..`, `<2019`, with the last day included.

    Returns:
        `gte`, the first moment, and `lt`, the first one after the last, where they are given; None
        for what is not a range of dates.
    """
    value = value.strip()
    if match := COMPARISON_PATTERN.fullmatch(value):
        period = parse_period(match["date"])
        if period is None:
            return None
        bound = "gte" if ">" in match["sign"] else "lt"
        return {bound: period[match["sign"] in (">", "<=")]}
    first, dots, last = (part.strip() for part in value.partition(".."))
    given = {"gte": first, "lt": last if dots else first}
    periods = {bound: parse_period(text) for bound, text in given.items() if text}
    if not periods or None in periods.values():
        return None
    return {bound: period[bound == "lt"] for bound, period in periods.items() if period}


def parse_period(text: str) -> tuple[datetime, datetime] | None:
    """The first moment of a year, month or day, and the first one after it; None for no date.

    Times of day are those of the camera's clock: they are compared as if they were in UTC.
    """
    match = DATE_PATTERN.fullmatch(text)
    if not match:
        return None
    year, month, day = (int(match[name] or 0) for name in ("year", "month", "day"))
    try:
        start = datetime(year, month or 1, day or 1, tzinfo=UTC)
        if day:
            return start, start + timedelta(days=1)
        next_year, next_month = (year, month + 1) if 0 < month < 12 else (year + 1, 1)
        return start, datetime(next_year, next_month, 1, tzinfo=UTC)
    except (ValueError, OverflowError):  # no such month or day, or beyond the last year
        return None


def parse_time(text: object) -> datetime | None:
    """The time that a payload has, in UTC where it names no other zone; None for what is none."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
