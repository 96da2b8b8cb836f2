"""Finds the family that serves a model's name. One line per family."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError, MissingExtraError, UnknownModelError
from embedder.extras import find_missing_module, require_extra
from embedder.origin import parse_origin

if TYPE_CHECKING:
    from embedder.encoding import EmbeddingModel
    from embedder.types import Settings

DEFAULT_MODEL = "starter"
URL_SCHEMES = ("http://", "https://")
SHORT_NAMES = {
    "siglip2": "google/siglip2-base-patch16-256",
    "siglip2-base": "google/siglip2-base-patch16-256",
    "gemma2": "google/embeddinggemma-2",
    "embeddinggemma-2": "google/embeddinggemma-2",
    "qwen3-vl-2b": "Qwen/Qwen3-VL-Embedding-2B",
    "qwen3-vl-embedding-2b": "Qwen/Qwen3-VL-Embedding-2B",
    "qwen3-vl-8b": "Qwen/Qwen3-VL-Embedding-8B",
    "qwen3-vl-embedding-8b": "Qwen/Qwen3-VL-Embedding-8B",
    "wemm-2b": "tencent/WeMM-Embedding-2B",
    "wemm-4b": "tencent/WeMM-Embedding-4B",
    "wemm-9b": "tencent/WeMM-Embedding-9B",
    "metaclip2": "facebook/metaclip-2-worldwide-huge-quickgelu",
    "vlm2vec": "VLM2Vec/VLM2Vec-V2.0",
    "vlm2vec-v2": "VLM2Vec/VLM2Vec-V2.0",
    "vlm2vec-qwen2vl-2b": "TIGER-Lab/VLM2Vec-Qwen2VL-2B",
    "vlm2vec-qwen2vl-7b": "TIGER-Lab/VLM2Vec-Qwen2VL-7B",
    "vlm2vec-llava-next": "TIGER-Lab/VLM2Vec-LLaVa-Next",
    "vlm2vec-full": "TIGER-Lab/VLM2Vec-Full",
    "gme-2b": "Alibaba-NLP/gme-Qwen2-VL-2B-Instruct",
    "gme-7b": "Alibaba-NLP/gme-Qwen2-VL-7B-Instruct",
    "mme5": "intfloat/mmE5-mllama-11b-instruct",
    "e5-v": "royokong/e5-v",
}
"""For people who type; cards and collections have the full name. The first name of a model is the
one that is shown, others are understood as well."""
MAX_SUGGESTIONS = 3


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
    Family("vlm2vec-readme", "embedder.families.vlm2vec_readme"),
    Family("mme5", "embedder.families.mme5"),
    Family("gme", "embedder.families.gme"),
    Family("sentence_transformer", "embedder.families.sentence_transformer"),
    Family("remote", "embedder.families.remote", extra=None),
)


def find_family_name(name: str) -> str:
    """Return the name of a model's family; errors as in `find_family`."""
    return find_family(name)[0].name


def expand_name(name: str) -> str:
    """Return the full name of a short one; any other name, and that of a folder, as it is."""
    full_name = SHORT_NAMES.get(name.lower())
    return full_name if full_name and not Path(name).is_dir() else name


def shorten_name(name: str) -> str:
    """Return the short name of a model, or "" if it has none."""
    return next((short for short, full in SHORT_NAMES.items() if full == name), "")


def suggest_names(name: str) -> list[str]:
    """Return the known names nearest to a mistyped one, short where there is a short one."""
    shown = {short: shorten_name(full) for short, full in SHORT_NAMES.items()}  # typed -> suggested
    for card in (card for family in FAMILIES for card in family.implementation.CARDS):
        best = shorten_name(card.name) or card.name
        shown |= dict.fromkeys(
            (best, card.name.lower(), card.name.lower().rpartition("/")[2]), best
        )
    typed = name.lower()
    near = [key for key in shown if len(typed) > 2 and typed in key]
    near += get_close_matches(typed, shown, n=len(shown))
    return list(dict.fromkeys(shown[key] for key in near))[:MAX_SUGGESTIONS]


def find_family(name: str) -> tuple[Family, str]:
    """Return the family that serves `name`, and the full name without a `family:` prefix.

    Raises `UnknownModelError`, or `EmbedderError` for a checkpoint that cannot be read.
    """
    if not name.strip():  # would be the current folder
        raise UnknownModelError("the name of a model is empty")
    by_name = {family.name: family for family in FAMILIES}
    prefix, _, rest = name.partition(":")
    if rest and prefix in by_name:
        name = expand_name(rest)
        if not ("/" in name or name == DEFAULT_MODEL or Path(name).is_dir()):
            raise _make_unknown_error(name)
        return by_name[prefix], name
    if name.startswith(URL_SCHEMES):
        return by_name["remote"], name
    name = expand_name(name)
    for family in FAMILIES:
        if any(card.name == name for card in family.implementation.CARDS):
            return family, name
    is_id = name.count("/") == 1 and not name.startswith(("/", "."))
    if is_id or Path(os.path.expanduser(name)).is_dir():
        from embedder.checkpoint import detect_family, resolve_folder

        try:
            folder = resolve_folder(name)
        except MissingExtraError:
            raise
        except EmbedderError as error:
            hint = format_suggestions(name)
            if not hint:
                raise
            raise UnknownModelError(f"{error}; {hint}") from error
        family_name = detect_family(folder)
        if family_name not in by_name:
            raise EmbedderError(
                f"{folder} is of the family {family_name!r}, which this version does not know: "
                "update polylens"
            )
        return by_name[family_name], name
    raise _make_unknown_error(name)


def find_contacted_url(name: str) -> str | None:
    """Return what describing and loading a model contacts; None if it is on this machine.

    It is the model's server, or the page on the Hugging Face Hub of the model, or of the model that
    an adapter on this machine adapts.
    """
    prefix, _, rest = name.partition(":")
    if rest and prefix in {family.name for family in FAMILIES}:
        name = rest
    if origin := parse_origin(name):
        return str(origin)
    from embedder.checkpoint import find_local_folder, is_hub_id, read_adapted_name

    folder = find_local_folder(name := expand_name(name))
    if folder and (base := read_adapted_name(folder)):
        name, folder = base, find_local_folder(base)
    if folder or not is_hub_id(name) or find_missing_module("models"):
        return None
    from huggingface_hub.constants import ENDPOINT

    return f"{ENDPOINT}/{name}"


def _make_unknown_error(name: str) -> UnknownModelError:
    cards = [card for family in FAMILIES for card in family.implementation.CARDS]
    known = ", ".join(shorten_name(card.name) or card.name for card in cards)
    hint = format_suggestions(name)
    if "rerank" in name.lower():
        hint = "a reranker is named when you search: indexer search --rerank"
    problem = "; ".join(filter(None, (f"no model or folder is called {name!r}", hint)))
    return UnknownModelError(f"{problem} (known models: {known})")


def format_suggestions(name: str) -> str:
    """Return "did you mean ...?" for a mistyped name, or "" if none is near."""
    names = suggest_names(name)
    return f"did you mean {' or '.join(names)}?" if names else ""
