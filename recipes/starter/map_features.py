"""Names of what is on maps in 31 languages: OpenStreetMap's tagging presets (ISC License).

Each preset (a bench, a lighthouse) has a name, aliases and search terms, translated by volunteers;
the options of its fields have names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedder.families.starter import LANGUAGES
from embedder.families.starter.translation import normalize_word
from recipes.starter.annotations import Annotation, Annotations

FOLDER = "package/dist/translations"
LOCALES = {
    "fa": ("fa", "fa-IR"), "no": ("no", "nb", "nn"), "pt": ("pt", "pt-BR"), "zh": ("zh-CN", "zh"),
}  # fmt: skip


def read_presets(package: Path) -> dict[str, Annotations]:
    """Language -> its presets and options; the first of a language's locales decides."""
    found = {}
    for language in LANGUAGES:
        known: dict[str, Annotation] = {}
        for locale in LOCALES.get(language, (language,)):
            path = package / FOLDER / f"{locale}.json"
            if path.exists():
                (translations,) = json.loads(path.read_text("utf-8")).values()
                known = dict(_read(translations.get("presets", {}))) | known
        found[language] = known
    return found


def _read(plain: dict[str, Any]) -> Iterator[tuple[str, Annotation]]:
    for key, preset in plain.get("presets", {}).items():
        if preset.get("name"):
            terms = re.split(r"[,\n]", f"{preset.get('aliases', '')},{preset.get('terms', '')}")
            words = (normalize_word(term) for term in terms)
            yield key, Annotation(normalize_word(preset["name"]), tuple(filter(None, words)))
    for key, field in plain.get("fields", {}).items():
        for option, named in field.get("options", {}).items():
            title = named.get("title") if isinstance(named, dict) else named
            if title:
                yield f"{key}={option}", Annotation(normalize_word(title), ())
