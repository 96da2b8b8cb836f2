"""Tells apart what a stored point has from its content and from what is written beside its files.

For the points of other machines, and of a catalog that was lost.
"""

from __future__ import annotations

from indexer.captions.normalize import FileCaptions
from indexer.ingest.tagging import HIDDEN, OWN, list_file_tags
from indexer.ingest.time_and_place import PLACE_FIELDS, TAKEN_FIELDS, get_place, get_taken
from indexer.types import Caption, Payload

SOURCES = frozenset({"sidecar", "takeout", "apple"})
"""Of dates and places: those that are beside an image."""


def read_base(payload: Payload) -> Payload:
    """The fields that follow from the content alone: what `build_payload` was given."""
    base = {key: value for key, value in payload.items() if key not in (OWN, HIDDEN)}
    base |= {"tags": [], "meta": {}}
    base["captions"] = [c for c in payload["captions"] if c["source"] == "embedded"]
    dropped: tuple[str, ...] = ()
    if payload.get("taken_from") in SOURCES | {"name"}:
        dropped += TAKEN_FIELDS
    if payload.get("place_from") in SOURCES:
        dropped += PLACE_FIELDS
    return {key: value for key, value in base.items() if key not in dropped}


def read_described(payload: Payload) -> FileCaptions:
    """What is written about the files of a point."""
    captions = tuple(Caption(**c) for c in payload["captions"] if c["source"] != "embedded")
    taken, place = get_taken(payload), get_place(payload)
    return FileCaptions(
        captions,
        list_file_tags(payload),
        payload["meta"],
        taken=taken if taken and taken.source in SOURCES else None,
        place=place if place and place.source in SOURCES else None,
    )
