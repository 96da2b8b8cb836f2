"""Finds the family that serves a model's name. One line per family."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError, UnknownModelError
from embedder.extras import require_extra

if TYPE_CHECKING:
    from embedder.encoding import EmbeddingModel
    from embedder.types import Settings

DEFAULT_MODEL = "starter"
URL_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Family:
    """The name of a module, quick to import, that has

    CARDS: the models that have a name, described without their weights;
    describe(name, settings) -> ModelCard: the card with its fingerprint, without loading weights;
    load(name, settings) -> EmbeddingModel.
    """

    name: str
    module: str
    extra: str | None = "models"  # what its `load` needs; see `embedder.extras`

    @property
    def implementation(self) -> ModuleType:
        return import_module(self.module)

    def check_installed(self) -> None:
        """Raise `MissingExtraError` unless the packages that `load` needs are installed."""
        if self.extra:
            require_extra(self.extra)

    def load(self, name: str, settings: Settings) -> EmbeddingModel:
        """Load a model; raises `EmbedderError`, also for packages that are not installed."""
        self.check_installed()
        model: EmbeddingModel = self.implementation.load(name, settings)
        return model


FAMILIES = (
    Family("starter", "embedder.families.starter", extra="starter"),
    Family("e5v", "embedder.families.e5v"),
    Family("vlm2vec", "embedder.families.vlm2vec"),
    Family("mme5", "embedder.families.mme5"),
    Family("sentence_transformer", "embedder.families.sentence_transformer"),
    Family("remote", "embedder.families.remote", extra=None),
)


def find_family_name(name: str) -> str:
    """Return the name of a model's family; errors as in `find_family`."""
    return find_family(name)[0].name


def find_family(name: str) -> tuple[Family, str]:
    """Return the family that serves `name`, and the name without a `family:` prefix.

    Raises `UnknownModelError`, or `EmbedderError` for a checkpoint that cannot be read.
    """
    by_name = {family.name: family for family in FAMILIES}
    prefix, _, rest = name.partition(":")
    if rest and prefix in by_name:
        return by_name[prefix], rest
    if name.startswith(URL_SCHEMES):
        return by_name["remote"], name
    for family in FAMILIES:
        if any(card.name == name for card in family.implementation.CARDS):
            return family, name
    is_id = name.count("/") == 1 and not name.startswith(("/", "."))
    if is_id or Path(os.path.expanduser(name)).is_dir():
        from embedder.checkpoint import detect_family, resolve_folder

        folder = resolve_folder(name)
        family_name = detect_family(folder)
        if family_name not in by_name:
            raise EmbedderError(
                f"{folder} is of the family {family_name!r}, which this version does not know: "
                "update polylens"
            )
        return by_name[family_name], name
    known = ", ".join(card.name for family in FAMILIES for card in family.implementation.CARDS)
    raise UnknownModelError(f"no model or folder is called {name!r}; known models: {known}")
