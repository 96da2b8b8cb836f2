"""Where an image was taken: coordinates, and which of several count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SOURCES = ("sidecar", "exif", "xmp", "takeout")
"""Where coordinates may be from, the most trusted first; online services estimate some."""

XMP_PATTERN = re.compile(  # 48,12.06N and 48,12,3.6N, as XMP has them; 48.201
    r"(?P<degrees>[+-]?\d+(?:\.\d+)?)(?:,(?P<minutes>\d+(?:\.\d+)?))?"
    r"(?:,(?P<seconds>\d+(?:\.\d+)?))?\s*(?P<side>[NSEW])?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Degrees, north and east positive, and which of `SOURCES` they are from."""

    latitude: float
    longitude: float
    source: str


def make_place(latitude: object, longitude: object, source: str) -> Place | None:
    """Return the place at two numbers of degrees; None if there is none, as at 0, 0."""
    if not all(isinstance(value, int | float) for value in (latitude, longitude)):
        return None
    north, east = round(float(str(latitude)), 6), round(float(str(longitude)), 6)
    if not (abs(north) <= 90 and abs(east) <= 180) or (north, east) == (0, 0):
        return None
    return Place(north, east, source)


def choose_place(candidates: Iterable[Place | None]) -> Place | None:
    """Return the place of the most trusted source; of several, the first."""
    found = [place for place in candidates if place]
    return min(found, key=lambda place: SOURCES.index(place.source), default=None)


def parse_xmp_degrees(text: str) -> float | None:
    """Parse a coordinate of XMP (ISO 16684-1, GPSCoordinate); None if it is not one."""
    match = XMP_PATTERN.fullmatch(text.strip())
    if not match:
        return None
    numbers = match.group("degrees", "minutes", "seconds")
    size: float = sum(abs(float(number or 0)) / 60**i for i, number in enumerate(numbers))
    is_negative = match["degrees"].startswith("-") or (match["side"] or "").upper() in {"S", "W"}
    return -size if is_negative else size
