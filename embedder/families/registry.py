"""Finds the family that serves a model's name. One line a family."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from embedder.errors import EmbedderError, UnknownModelError
from embedder.model_card import find_preset
from embedder.types import Embedder, ModelCard, Settings

DEFAULT_MODEL = "starter"
URL_SCHEMES = ("http://", "https://")


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
    def implementation(self) -> ModuleType:
        return import_module(self.module)


FAMILIES = (
    Family("starter", "embedder.families.starter.family"),
    Family("e5v", "embedder.families.e5v"),
    Family("vlm2vec", "embedder.families.vlm2vec"),
    Family("mme5", "embedder.families.mme5"),
    Family("sentence_transformer", "embedder.families.sentence_transformer.family"),
    Family("remote", "embedder.families.remote"),
)


def list_models() -> list[ModelCard]:
    """The cards of every model that has a name, without loading a weight."""
    return [card for family in FAMILIES for card in family.implementation.CARDS]


def describe_model(name: str = DEFAULT_MODEL, settings: Settings | None = None) -> ModelCard:
    """The card of the model called `name`, weights unloaded; may download a checkpoint.

    Raises `UnknownModelError`, `EmbedderError`.
    """
    family, bare_name = _find_family(name)
    card: ModelCard = family.implementation.describe(bare_name, settings or Settings())
    return card


def load(name: str = DEFAULT_MODEL, settings: Settings | None = None) -> Embedder:
    """Load the model called `name`: a name of `cards()`, a Hugging Face id, a checkpoint's or an
    adapter's folder, a fine-tuning run's, or the address of a server; `family:name` where its
    family cannot be told.

    Raises `UnknownModelError`, `EmbedderError`.
    """
    settings = settings or Settings()
    family, bare_name = _find_family(name)
    if settings.device and "," in settings.device:
        from embedder.engine.multi_device import MultiDeviceEmbedder

        return MultiDeviceEmbedder(name, settings)
    embedder: Embedder = family.implementation.load(bare_name, settings)
    return embedder


def find_family_name(name: str) -> str:
    """The family of the model called `name`, without looking at its weights.

    Raises `UnknownModelError`, `EmbedderError`.
    """
    return _find_family(name)[0].name


def _find_family(name: str) -> tuple[Family, str]:
    """The family that serves `name`, and the name without the family before it."""
    by_name = {family.name: family for family in FAMILIES}
    prefix, _, rest = name.partition(":")
    if rest and prefix in by_name:
        return by_name[prefix], rest
    if name.startswith(URL_SCHEMES):
        return by_name["remote"], name
    for family in FAMILIES:
        if find_preset(family.implementation.CARDS, name):
            return family, name
    is_id = name.count("/") == 1 and not name.startswith(("/", "."))
    if is_id or Path(name).expanduser().is_dir():
        from embedder.checkpoint import detect_family, resolve_folder

        folder = resolve_folder(name)
        family_name = detect_family(folder)
        if family_name not in by_name:
            raise EmbedderError(
                f"{folder} is of family {family_name!r}, which is not known here: update polylens"
            )
        return by_name[family_name], name
    known_names = ", ".join(card.name for card in list_models())
    raise UnknownModelError(
        f"no model is called {name!r}, and no folder is there of that name; "
        f"these are known: {known_names}"
    )
