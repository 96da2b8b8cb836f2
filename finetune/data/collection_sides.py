"""Points of a collection -> sides, by their payloads."""

from __future__ import annotations

import os

from finetune.data.pairs import Side
from indexer.paths import resolve_display_path
from indexer.types import Payload


def first_existing(paths: list[str]) -> str | None:
    """The first of a picture's paths that is still there."""
    return next((path for path in map(resolve_display_path, paths) if os.path.isfile(path)), None)  # noqa: PTH113


def side_from_payload(payload: Payload) -> Side | None:
    """A point as what is looked for: a passage, or a picture; None where its file is gone."""
    if payload["kind"] == "text":
        return Side(payload["text"])
    path = first_existing(payload["paths"])
    return Side(image=path) if path else None
