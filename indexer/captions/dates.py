"""When an image was taken: dates of several forms, from several places, and which one counts.

A date is ISO 8601, as exact as it was written: `1962`, `1962-05`, `2019-07-04`, or with a time, and
with a time zone if one is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

SOURCES = ("sidecar", "exif", "xmp", "iptc", "png", "takeout", "apple", "name", "edited")
"""Where a date may be from, the most trusted first.

What a person's program wrote beside the file corrects what is in it; the camera knows the local
time, which online services do not keep. "edited" is EXIF's DateTime, which programs set when they
save a file. The time of the file itself is no date of this kind.
"""
ONLINE_SOURCES = frozenset({"takeout", "apple"})
CORRECTION = timedelta(hours=36)
"""An online date that is further from the file's own was corrected there; time zones and rounding
explain less."""
EARLIEST_YEAR, LATEST_YEAR = 1800, 2200

DATE_PATTERN = re.compile(
    r"(?P<year>\d{4})(?:[:/.-](?P<month>\d\d|\s\s|)(?:[:/.-](?P<day>\d\d|\s\s|))?)?"
    r"(?:[T\s]\s*(?P<time>[\d\s].*))?",
    re.DOTALL,
)
OFFSET_PATTERN = re.compile(r"[+-]\d\d:\d\d")
NAME_PATTERN = re.compile(
    # 20190704_101530, 2019-07-04 at 10.15.30, 20190704101530123, IMG-20190704-WA0001
    r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<separator>[-_. ]?)(?P<month>0[1-9]|1[0-2])(?P=separator)"
    r"(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:(?:[T_ ,-]|\s(?:at|um|à|às|kl|om|alle|ore|o|в|klo)\.?\s|-at-){0,3}"
    r"(?P<hour>[01]\d|2[0-3]|\d(?=[-_.:h]))[-_.:h ]?(?P<minute>[0-5]\d)[-_.:m ]?"
    r"(?P<second>[0-5]\d)\d{0,3}(?:\s?(?P<half>[ap])\.?m\b)?(?!\d)|(?!\d))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A date, and which of `SOURCES` it is from."""

    date: str
    source: str


def choose_taken(candidates: Iterable[Taken | None]) -> Taken | None:
    """Return the date of the most trusted source; of several, the first."""
    found = sorted((c for c in candidates if c), key=lambda taken: _rank(taken.source))
    online = next((taken for taken in found if taken.source in ONLINE_SOURCES), None)
    best = found[0] if found else None
    if best and online and best.source != "sidecar" and _are_far_apart(best.date, online.date):
        return online
    return best


def parse_date(text: str, offset: str = "") -> str | None:
    """Convert a date to ISO 8601; None if it is not a date.

    Args:
        text: EXIF's "2024:05:17 18:30:00", ISO 8601, IPTC's "20240517", or a part of a date:
            "1962", "1962-05", "1993:00:00 00:00:00". Blanks and zeros stand for what is unknown.
        offset: The time zone of a date without one, such as "+02:00".
    """
    text = text.strip("\0 \t\r\n")
    if re.fullmatch(r"\d{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    match = DATE_PATTERN.fullmatch(text[:40])
    if not match or not EARLIEST_YEAR <= int(match["year"]) <= LATEST_YEAR:
        return None
    month, day = (int((match[part] or "").strip() or 0) for part in ("month", "day"))
    try:
        whole_day = date(int(match["year"]), month or 1, day or 1).isoformat()
        if not (month and day):
            return whole_day[: 7 if month else 4]
        return _add_time(whole_day, (match["time"] or "").strip(), offset.strip("\0 "))
    except ValueError:
        return None


def _add_time(day: str, time: str, offset: str) -> str:
    """Return `day` with its time and time zone, if they are known; raises `ValueError`."""
    if not any(map(str.isdigit, time)):
        return day
    taken = datetime.fromisoformat(f"{day}T{time}")
    if taken.tzinfo is None and OFFSET_PATTERN.fullmatch(offset):
        taken = datetime.fromisoformat(taken.isoformat() + offset)
    return taken.isoformat(timespec="seconds")


def parse_timestamp(value: object) -> str | None:
    """Convert seconds since 1970 in UTC, a number or its digits, to ISO 8601; None for 0, which
    stands for an unknown time."""
    try:
        taken = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(str(value)))
    except (ValueError, OverflowError):
        return None
    is_plausible = EARLIEST_YEAR <= taken.year <= LATEST_YEAR
    return taken.isoformat() if is_plausible and int(str(value)) else None


def parse_name(name: str) -> Taken | None:
    """Return the date that the name of a file carries, as phones and programs give it."""
    for match in NAME_PATTERN.finditer(name):
        day = "-".join(match.group("year", "month", "day"))
        hour = int(match["hour"] or 0)
        if match["half"] and 1 <= hour <= 12:  # "10.15.30 PM"
            hour = hour % 12 + 12 * (match["half"].lower() == "p")
        time = f" {hour:02}:{match['minute']}:{match['second']}" if match["hour"] else ""
        found = parse_date(day + time)
        if found:
            return Taken(found, "name")
    return None


def _rank(source: str) -> int:
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)


def _are_far_apart(one: str, two: str) -> bool:
    """Whether two dates cannot be the same moment; those of months and years are compared so."""
    size = min(len(one), len(two), len("2019-07-04"))
    if size < len("2019-07-04"):
        return one[:size] != two[:size]
    moments = [_to_utc(text) for text in (one, two)]
    return abs(moments[0] - moments[1]) > CORRECTION


def _to_utc(text: str) -> datetime:
    """Return the moment of a date with a day; without a time zone, that of UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or UTC)
