"""Points of a collection -> sides, by their payloads."""

from __future__ import annotations

import os

from finetune.data.pairs import Side
from indexer.types import Payload
from indexer.walk import file_path


def existing(paths: list[str]) -> str | None:
    """The first of a picture's paths that is still there."""
    return next((path for path in map(file_path, paths) if os.path.isfile(path)), None)  # noqa: PTH113


def document(payload: Payload) -> Side | None:
    """A point as what is looked for: a passage, or a picture; None where its file is gone."""
    if payload["kind"] == "text":
        return Side(payload["text"])
    path = existing(payload["paths"])
    return Side(image=path) if path else None
