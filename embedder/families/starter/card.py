"""The starter's card and its files; nothing is loaded."""

from __future__ import annotations

from pathlib import Path

from embedder.types import ModelCard

HEAD_FILE = Path(__file__).with_name("starter_head.safetensors")
LEXICON_FILE = Path(__file__).with_name("starter_lexicon.xz")
NOUN_EMBEDDINGS_FILE = Path(__file__).with_name("starter_vocabulary.safetensors")
SHIPPED_FILES = (HEAD_FILE, LEXICON_FILE, NOUN_EMBEDDINGS_FILE)
DIGEST_FILE = Path(__file__).with_name("starter_head.digest")
PREPROCESSING_VERSION = 2  # increase when images or texts are prepared in another way
SHIPPED_DIGEST = DIGEST_FILE.read_text("ascii").strip()
VERSION = f"{PREPROCESSING_VERSION}-{SHIPPED_DIGEST}"  # of everything an adapted head depends on

LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it",
    "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "ta", "te", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip


def _build_card() -> ModelCard:
    return ModelCard(
        name="starter",
        family="starter",
        revision=SHIPPED_DIGEST[:12],
        dim=384,
        modalities=("text", "image"),
        composes=False,
        languages=LANGUAGES,
        license="Apache-2.0",
        source="python -m recipes.starter",
        fingerprint=f"starter-{VERSION}",
        image_side=260,
        parameters=130_000_000,
        memory=300_000_000,
    )


CARDS = (_build_card(),)
