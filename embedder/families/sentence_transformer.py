"""Whatever sentence-transformers 6 loads: SigLIP 2, Qwen3-VL-Embedding, one's own, texts alone.

Here a folder's JSON files are read; the model itself is in `st_backbone`. An instruction replaces
the prompt of a model with a chat template; dual encoders and models of texts alone ignore it.

Qwen3-VL-Embedding: https://github.com/QwenLM/Qwen3-VL-Embedding, https://arxiv.org/abs/2601.04720.
A system turn with the instruction, a user turn with pictures before the text, then the assistant's
turn opened; the state of the last token. SigLIP 2: https://arxiv.org/abs/2502.14786.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.card import UNPINNED, finished, known, preset
from embedder.checkpoint import Checkpoint, brief, find, read_config
from embedder.errors import EmbedderError
from embedder.families.st_processors import fixed, pixels_of, side_of
from embedder.types import Embedder, ModelCard, Settings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

VERSION = 1  # raised when prompts or preprocessing change
DEFAULT = "Represent the user's input."  # what Qwen3-VL-Embedding saves as its prompt
QUERY = "Retrieve images or text relevant to the user's query."  # its README's, for queries
DIMS = {"siglip": 768, "siglip2": 768, "clip": 512}  # where config.json leaves out the usual

# The authors tell of over 30 languages and name none: large ones among those of Qwen3.
QWEN3 = (
    "ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja",
    "ko", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
# WebLI's 109 languages: the 36 of Crossmodal-3600, on which the authors measure.
XM3600 = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th",
    "tr", "uk", "vi", "zh",
)  # fmt: skip

_CARD = ModelCard(
    name="",
    family="sentence_transformer",
    revision=UNPINNED,
    dim=0,
    modalities=("text", "image"),
    composes=True,
    languages=(),
    license="see its page",
    source="",
    fingerprint=UNPINNED,
)


def _qwen(size: str, dim: int, parameters: int, matryoshka: tuple[int, ...]) -> ModelCard:
    name = f"Qwen/Qwen3-VL-Embedding-{size}"
    return replace(
        _CARD,
        name=name,
        dim=dim,
        languages=QWEN3,
        license="Apache-2.0",
        source=f"https://huggingface.co/{name}",
        image_side=1144,  # 1,280 tokens of 32 x 32 pixels
        parameters=parameters,
        memory=int(parameters * 2 * 1.1 + 2e9),  # weights, and a batch of pictures
        matryoshka=matryoshka,
    )


CARDS = (
    replace(
        _CARD,
        name="google/siglip2-base-patch16-256",
        dim=768,
        composes=False,
        languages=XM3600,
        license="Apache-2.0",
        license_note="reads the first 64 tokens of a text, about 40 words",
        source="https://huggingface.co/google/siglip2-base-patch16-256",
        image_side=256,
        parameters=375_000_000,
        memory=1_300_000_000,
    ),
    _qwen("2B", 2048, 2_130_000_000, (64, 128, 256, 512, 768, 1024, 1536)),
    _qwen("8B", 4096, 8_140_000_000, (64, 128, 256, 512, 768, 1024, 1536, 2048, 3072)),
)


def describe(name: str, settings: Settings) -> ModelCard:
    """The card of a model, from its JSON files; may download it. Raises `EmbedderError`."""
    return _described(name, find(name), settings)


def load(name: str, settings: Settings) -> Embedder:
    """Raises `EmbedderError`: a damaged folder, too little memory, no such device."""
    from embedder.engine.engine import Engine
    from embedder.families.st_backbone import SentenceBackbone

    checkpoint = find(name)
    card = _described(name, checkpoint, settings)
    model = _model(checkpoint, card, settings)
    query = QUERY if _prompts(_home(checkpoint)) == {"default": DEFAULT} else ""
    return Engine(SentenceBackbone(card, model, query), settings)


def _described(name: str, checkpoint: Checkpoint, settings: Settings) -> ModelCard:
    home = _home(checkpoint)
    saved = _optional(home, "preprocessor_config.json")
    like = replace(_CARD, image_side=side_of(saved))
    card = preset(CARDS, name) or known(CARDS, name, like, _dim(home, checkpoint), checkpoint)
    if settings.pixel_budget and not pixels_of(saved):
        raise EmbedderError(fixed(name))
    if settings.pixel_budget:
        card = replace(card, image_side=max(1, int(settings.pixel_budget**0.5)))
    modalities, composes = _modalities(home, bool(saved))
    card = replace(card, modalities=modalities, composes=composes)
    return finished(card, name, checkpoint, settings, VERSION)


def _model(checkpoint: Checkpoint, card: ModelCard, settings: Settings) -> SentenceTransformer:
    """The model on its device, its processor as the model was trained."""
    from embedder.families import st_processors
    from embedder.vlm.loading import check_room, merge, place, quiet, readable, whole

    home, (device, dtype) = _home(checkpoint), place(settings)
    check_room(checkpoint.folder, device, dtype)
    with quiet(), readable(home), whole(home), st_processors.still_pictures():
        model = _read(home, settings, device, dtype)
    first: Any = model[0]
    if not hasattr(first, "processing_kwargs"):
        raise EmbedderError(f"{card.name} begins with a {type(first).__name__}, not a Transformer")
    if "image" in card.modalities:
        st_processors.check_sees(first, home)
    if checkpoint.adapter and home != checkpoint.adapter:
        merge(first.model, checkpoint.adapter)
    st_processors.as_trained(first)
    if settings.pixel_budget:
        st_processors.spend(first, settings.pixel_budget, card.name)
    return model.eval().requires_grad_(False)


def _read(
    home: Path, settings: Settings, device: torch.device, dtype: torch.dtype
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            str(home),
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            model_kwargs={
                "dtype": dtype,
                "attn_implementation": "sdpa",
                "device_map": str(device),  # straight to a GPU, without a copy in main memory
            },
        )
    except (ImportError, TypeError, AttributeError) as error:  # a part that is not installed
        raise EmbedderError(f"{home} cannot be loaded: {brief(error)}") from error


def _home(checkpoint: Checkpoint) -> Path:
    """The folder to load: an adapter that sentence-transformers saved brings its own modules."""
    adapter = checkpoint.adapter
    return adapter if adapter and (adapter / "modules.json").exists() else checkpoint.folder


def _optional(folder: Path, name: str) -> dict[str, Any]:
    return read_config(folder, name) if (folder / name).exists() else {}


def _prompts(home: Path) -> dict[str, str]:
    """The prompts of a folder that say something."""
    saved = _optional(home, "config_sentence_transformers.json").get("prompts") or {}
    return {name: str(prompt) for name, prompt in saved.items() if prompt}


def _modules(home: Path) -> list[dict[str, Any]]:
    found: Any = read_config(home, "modules.json") if (home / "modules.json").exists() else []
    return list(found)


def _modalities(home: Path, sees: bool) -> tuple[tuple[str, ...], bool]:
    """What a model takes, and whether it reads a text and a picture together. A folder saved before
    sentence-transformers knew pictures says nothing of them, and takes texts alone."""
    told = _optional(home, "sentence_bert_config.json").get("modality_config")
    if told is None:
        told = {} if _modules(home) or not sees else {"image": {}}
        chats = (home / "chat_template.jinja").exists() or (home / "chat_template.json").exists()
        told |= {"message": {}} if told and chats else {}
    taken = ("text", "image") if "image" in told else ("text",)
    return taken, "message" in told


def _dim(home: Path, checkpoint: Checkpoint) -> int:
    """The length of vectors; raises `EmbedderError` where no file tells it."""
    told = _optional(home, "config_sentence_transformers.json").get("truncate_dim")
    for module in reversed(_modules(home)):
        inner = _optional(home / module["path"], "config.json") if module["path"] else {}
        keys = ("out_features", "embedding_dimension", "word_embedding_dimension")
        told = told or next((inner[key] for key in keys if key in inner), None)
    config = read_config(checkpoint.folder)
    text = config.get("text_config", {})
    told = told or config.get("projection_dim") or text.get("projection_size")
    told = told or text.get("hidden_size") or config.get("hidden_size")
    dim = int(told or DIMS.get(str(config.get("model_type")), 0))
    if not dim:
        raise EmbedderError(f"no file in {home} tells how long the model's vectors are")
    return dim
