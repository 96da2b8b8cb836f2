"""Finds the family that serves a model's name. One line a family."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from embedder.card import preset
from embedder.errors import EmbedderError, UnknownModelError
from embedder.types import Embedder, ModelCard, Settings

DEFAULT_MODEL = "starter"
WEB = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Family:
    """A module, light to import, with

    CARDS: the models that have a name, as far as they can be told without their weights;
    describe(name, settings) -> ModelCard: the card with its fingerprint, without loading weights;
    load(name, settings) -> Embedder.
    """

    name: str
    module: str

    @property
    def code(self) -> ModuleType:
        return import_module(self.module)


FAMILIES = (
    Family("starter", "embedder.starter"),
    Family("e5v", "embedder.families.e5v"),
    Family("vlm2vec", "embedder.families.vlm2vec"),
    Family("mme5", "embedder.families.mme5"),
    Family("sentence_transformer", "embedder.families.sentence_transformer"),
    Family("remote", "embedder.families.remote"),
)


def cards() -> list[ModelCard]:
    """The cards of every model that has a name, without loading a weight."""
    return [card for family in FAMILIES for card in family.code.CARDS]


def describe(name: str = DEFAULT_MODEL, settings: Settings | None = None) -> ModelCard:
    """The card of the model called `name`, weights unloaded; may download a checkpoint.

    Raises `UnknownModelError`, `EmbedderError`.
    """
    family, plain = _family(name)
    card: ModelCard = family.code.describe(plain, settings or Settings())
    return card


def load(name: str = DEFAULT_MODEL, settings: Settings | None = None) -> Embedder:
    """Load the model called `name`: a name of `cards()`, a Hugging Face id, a checkpoint's or an
    adapter's folder, a fine-tuning run's, or the address of a server; `family:name` where its
    family cannot be told.

    Raises `UnknownModelError`, `EmbedderError`.
    """
    settings = settings or Settings()
    family, plain = _family(name)
    if settings.device and "," in settings.device:
        from embedder.engine.devices import Devices

        return Devices(name, settings)
    embedder: Embedder = family.code.load(plain, settings)
    return embedder


def family_name(name: str) -> str:
    """The family of the model called `name`, without looking at its weights.

    Raises `UnknownModelError`, `EmbedderError`.
    """
    return _family(name)[0].name


def _family(name: str) -> tuple[Family, str]:
    """The family that serves `name`, and the name without the family before it."""
    by_name = {family.name: family for family in FAMILIES}
    prefix, _, rest = name.partition(":")
    if rest and prefix in by_name:
        return by_name[prefix], rest
    if name.startswith(WEB):
        return by_name["remote"], name
    for family in FAMILIES:
        if preset(family.code.CARDS, name):
            return family, name
    is_id = name.count("/") == 1 and not name.startswith(("/", "."))
    if is_id or Path(name).expanduser().is_dir():
        from embedder.checkpoint import family_of, resolve

        folder = resolve(name)
        told = family_of(folder)
        if told not in by_name:
            raise EmbedderError(
                f"{folder} is of family {told!r}, which is not known here: update polylens"
            )
        return by_name[told], name
    known = ", ".join(card.name for card in cards())
    raise UnknownModelError(
        f"no model is called {name!r}, and no folder is there of that name; "
        f"these are known: {known}"
    )
