"""When and where an image was taken, as payloads have it.

`taken` is a whole date, which a store can sort by; where only the year or the month is known,
`taken_precision` says so. `taken_from` and `place_from` say where a date and a place are from.
"""

from __future__ import annotations

from collections.abc import Iterable

from indexer.captions.dates import Taken, choose_taken
from indexer.captions.places import Place, choose_place
from indexer.collections.schema import TAKEN
from indexer.types import Payload

TAKEN_FIELDS = ("taken", "taken_precision", "taken_from", "year")
PLACE_FIELDS = ("latitude", "longitude", "place_from")
PRECISIONS = {"year": len("1962"), "month": len("1962-05")}
"""Precision of a date -> how much of it is known, in characters."""


def format_taken(taken: Taken | None) -> Payload:
    """Return the fields of a date; none without one."""
    if taken is None:
        return {}
    fields: Payload = {"taken": taken.date, "taken_from": taken.source, "year": int(taken.date[:4])}
    for precision, size in PRECISIONS.items():
        if len(taken.date) == size:
            fields |= {"taken": f"{taken.date}-01-01"[:10], "taken_precision": precision}
    return fields


def get_taken(payload: Payload) -> Taken | None:
    """Return the date of a payload; one of an earlier version does not say where it is from, which
    mostly is EXIF."""
    date = payload.get("taken")
    if not date:
        return None
    size = PRECISIONS.get(payload.get("taken_precision", ""))
    return Taken(date[:size], payload.get("taken_from", "exif"))


def get_date(payload: Payload, key: str) -> str:
    """Return the date `key` of a payload, as exact as it is known; "" without one."""
    taken = get_taken(payload) if key == TAKEN else None
    return taken.date if taken else str(payload.get(key, ""))


def format_place(place: Place | None) -> Payload:
    """Return the fields of a place; none without one."""
    if place is None:
        return {}
    return {"latitude": place.latitude, "longitude": place.longitude, "place_from": place.source}


def get_place(payload: Payload) -> Place | None:
    """Return the place of a payload."""
    if "latitude" not in payload or "longitude" not in payload:
        return None
    return Place(payload["latitude"], payload["longitude"], payload.get("place_from", "exif"))


def choose_fields(
    base: Payload, dates: Iterable[Taken | None], places: Iterable[Place | None] = ()
) -> Payload:
    """Return `base` with the date and the place that count: its own, or those of its files."""
    taken = choose_taken([get_taken(base), *dates])
    place = choose_place([get_place(base), *places])
    rest = {k: v for k, v in base.items() if k not in TAKEN_FIELDS and k not in PLACE_FIELDS}
    return {**rest, **format_taken(taken), **format_place(place)}
