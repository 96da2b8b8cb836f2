"""The cards of models that sentence-transformers loads and that have a name here.

The figures are their authors'; `docs/models.md` has them with their sources.
"""

from __future__ import annotations

from functools import partial

from embedder.model_card import make_preset
from embedder.types import ModelCard

# The authors mention over 30 languages without names: large ones of Qwen3's.
QWEN3_LANGUAGES = (
    "ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja",
    "ko", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
# Of WebLI's 109 languages (SigLIP 2) and the over 300 of Meta CLIP 2: the 36 of Crossmodal-3600, on
# which the authors measure.
XM3600_LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th",
    "tr", "uk", "vi", "zh",
)  # fmt: skip

# The languages of mteb's multilingual benchmark, for which mteb lists EmbeddingGemma 2; its authors
# say that it is multilingual, without a list.
GEMMA_LANGUAGES = (
    "ar", "bn", "de", "en", "es", "fa", "fi", "fr", "hi", "id", "ja", "ko", "ru", "sw", "te", "th",
    "yo", "zh",
)  # fmt: skip

_make_preset = partial(make_preset, family="sentence_transformer")
_make_qwen_preset = partial(
    _make_preset,
    languages=QWEN3_LANGUAGES,
    license="Apache-2.0",
    image_side=1357,  # 1,800 tokens of 32 x 32 pixels
)
_EMBEDDING_GEMMA = _make_preset(
    "google/embeddinggemma-2",
    dim=768,
    parameters=744_371_512,
    languages=GEMMA_LANGUAGES,
    license="Apache-2.0",
    license_note="its part for sounds, 306 million parameters, is not loaded",
    image_side=803,  # 280 tokens of 48 x 48 pixels
    memory=2_500_000_000,
    matryoshka=(128, 256, 512),
)
_make_wemm_preset = partial(
    _make_preset,
    languages=("en", "zh"),
    license="Apache-2.0",
    license_note="a picture costs up to 16,384 tokens: limit it with --pixel-budget",
    image_side=4096,
)
_UNKNOWN = _make_preset("", dim=0, parameters=0, languages=(), license="see its page")
_TEMPLATES = {"embedding_gemma2": _EMBEDDING_GEMMA}  # of architectures with one published model
CARDS = (
    _make_preset(
        "google/siglip2-base-patch16-256",
        dim=768,
        parameters=375_000_000,
        composes=False,
        languages=XM3600_LANGUAGES,
        license="Apache-2.0",
        license_note="reads the first 64 tokens of a text, about 40 words",
        image_side=256,
        memory=1_300_000_000,
    ),
    _EMBEDDING_GEMMA,
    _make_qwen_preset(
        "Qwen/Qwen3-VL-Embedding-2B",
        dim=2048,
        parameters=2_130_000_000,
        matryoshka=(64, 128, 256, 512, 768, 1024, 1536),
    ),
    _make_qwen_preset(
        "Qwen/Qwen3-VL-Embedding-8B",
        dim=4096,
        parameters=8_140_000_000,
        matryoshka=(64, 128, 256, 512, 768, 1024, 1536, 2048, 3072),
    ),
    _make_wemm_preset(
        "tencent/WeMM-Embedding-2B",
        dim=2048,
        parameters=2_210_000_000,
        matryoshka=(64, 128, 256, 512, 1024),
    ),
    _make_wemm_preset(
        "tencent/WeMM-Embedding-4B",
        dim=2560,
        parameters=4_250_000_000,
        matryoshka=(64, 128, 256, 512, 1024),
    ),
    _make_wemm_preset(
        "tencent/WeMM-Embedding-9B",
        dim=4096,
        parameters=9_000_000_000,
        matryoshka=(64, 128, 256, 512, 1024, 2048),
    ),
    _make_preset(
        "facebook/metaclip-2-worldwide-huge-quickgelu",
        dim=1024,
        parameters=1_860_000_000,
        composes=False,
        languages=XM3600_LANGUAGES,
        license="CC-BY-NC-4.0",
        license_note="not for commercial use; reads the first 77 tokens of a text",
        image_side=224,
    ),
)


def find_template(model_type: object) -> ModelCard:
    """Return the card from which that of an unnamed folder is made: a copy of a published model
    keeps its languages, license and smaller dims."""
    return _TEMPLATES.get(str(model_type), _UNKNOWN)
