"""Finds the family that serves a model's name. One line a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from embedder.errors import UnknownModelError
from embedder.types import Embedder, ModelCard

DEFAULT_MODEL = "starter"


@dataclass(frozen=True, slots=True)
class Family:
    """A module with `CARDS` (light to import) and `load(name, device) -> Embedder`."""

    name: str
    module: str
    serves: Callable[[str], bool]


FAMILIES = (Family("starter", "embedder.starter", lambda name: name == "starter"),)


def cards() -> list[ModelCard]:
    """The cards of every model that has a name, without loading a weight."""
    return [card for family in FAMILIES for card in import_module(family.module).CARDS]


def load(name: str = DEFAULT_MODEL, *, device: str | None = None) -> Embedder:
    """Load the model called `name`; raises `UnknownModelError`, `EmbedderError`."""
    embedder: Embedder = import_module(_family(name).module).load(name, device=device)
    return embedder


def _family(name: str) -> Family:
    for family in FAMILIES:
        if family.serves(name):
            return family
    known = ", ".join(card.name for card in cards())
    raise UnknownModelError(f"no model is called {name!r}; these are known: {known}")
