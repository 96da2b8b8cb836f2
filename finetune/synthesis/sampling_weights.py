"""Weights as people type them: `classification=1,vqa=1,retrieval=2`, `en=3,ja,de=0.5`."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite

from finetune.errors import FinetuneError


def parse_weights(text: str, known: Collection[str], option: str) -> dict[str, float]:
    """Name -> weight above 0; a name alone weighs 1. Raises `FinetuneError`."""
    found: dict[str, float] = {}
    for piece in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = piece.partition("=")
        name = name.strip().lower()
        if name not in known:
            raise FinetuneError(
                f"{option} has {name!r}, which is not known here; choose among {', '.join(known)}"
            )
        found[name] = _parse_weight(number or "1", option, piece)
    kept = {name: weight for name, weight in found.items() if weight > 0}
    if not kept:
        raise FinetuneError(f"{option} leaves nothing to choose from; write it as NAME=WEIGHT,...")
    return kept


def _parse_weight(number: str, option: str, piece: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not isfinite(weight) or weight < 0:
        raise FinetuneError(f"{option} has {piece!r}: a weight is a number, 0 or more")
    return weight
