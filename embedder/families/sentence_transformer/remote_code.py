"""Python code that comes with a checkpoint: what its files name, and whether it may run.

Nothing of it runs without `Settings.trust_remote_code`. With it, only code of the checkpoint's own
folder runs: that is part of the card's fingerprint, and of the revision that was downloaded. Code
that a file names in another repository would be neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedder.checkpoint import read_json, read_optional_config
from embedder.errors import EmbedderError

OWN_PREFIX = "sentence_transformers."
CONFIG_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
)


def read_modules(folder: Path) -> list[dict[str, Any]]:
    """Read the list of a model's modules that sentence-transformers saves; empty if there is none.
    Raises `EmbedderError` if it is damaged."""
    modules = read_json(folder, "modules.json") if (folder / "modules.json").exists() else []
    if isinstance(modules, list) and all(isinstance(m, dict) and "path" in m for m in modules):
        return modules
    raise EmbedderError(f"{folder / 'modules.json'} cannot be read: it is not a list of modules")


def check_remote_code(name: str, folder: Path, *, trusted: bool) -> None:
    """Raise `EmbedderError` if the model called `name` needs code that must not run.

    A class of its own for an architecture that transformers knows is no such need: without
    permission, transformers' own class is loaded.
    """
    mapped = sorted(set(_list_mapped_classes(folder)))
    elsewhere = [reference for reference in mapped if "--" in reference]
    if elsewhere:
        raise EmbedderError(
            f"{name} needs Python code of another repository ({elsewhere[0]}), which could change "
            "at any time; copy that file into the model's folder, and name it there without the "
            "repository"
        )
    foreign = [str(module.get("type")) for module in read_modules(folder)]
    foreign = [kind for kind in foreign if not kind.startswith(OWN_PREFIX)]
    if not _is_known_architecture(folder):
        foreign += mapped
    if foreign and not trusted:
        raise EmbedderError(
            f"{name} comes with Python code of its own ({foreign[0]}), which would run with your "
            f"rights and was not verified with Polylens; read it in {folder}, then set "
            "trust_remote_code (--trust-remote-code or POLYLENS_TRUST_REMOTE_CODE=true), or choose "
            "another model"
        )


def _list_mapped_classes(folder: Path) -> Iterator[str]:
    for file in CONFIG_FILES:
        auto_map = read_optional_config(folder, file).get("auto_map")
        for reference in auto_map.values() if isinstance(auto_map, dict) else ():
            for one in reference if isinstance(reference, list) else [reference]:
                if isinstance(one, str):  # a slow tokenizer's class may be null
                    yield one


def _is_known_architecture(folder: Path) -> bool:
    from transformers.models.auto import configuration_auto

    known: Any = configuration_auto
    return read_optional_config(folder, "config.json").get("model_type") in known.CONFIG_MAPPING
