"""Cross encoders that sentence-transformers 6 loads: a classifier, or a language model's answer.

One with a chat template that has the roles "query" and "document" may read images too, if its
processor does; any other reads a pair of texts.

Texts never reach sentence-transformers as plain strings where it would look at what they spell: it
fetches a string that is the URL of an image, and opens one that is the path of a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import (
    ADAPTER_CONFIG,
    Checkpoint,
    compute_fingerprint,
    first_line,
    read_optional_config,
)
from embedder.engine import Batch, Bucket
from embedder.errors import EmbedderError
from embedder.families.sentence_transformer.processors import (
    read_image_config,
    read_image_side,
    read_max_pixels,
    serialize_tokenizer_calls,
    set_pixel_budget,
    without_video_processor,
)
from embedder.families.sentence_transformer.remote_code import check_remote_code, read_modules
from embedder.rerankers.reranker import Reranker, RerankerCard
from embedder.types import Input, Settings

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

FAMILY = "cross_encoder"
VERSION = 1  # increase when pairs are made in another way
SAVED_CONFIG = "config_sentence_transformers.json"
MAX_TEXT = 100_000  # characters of a text, before the tokenizer cuts it
PROBE = "a"


def describe(name: str, checkpoint: Checkpoint, settings: Settings) -> RerankerCard:
    """Return the card of the model in `checkpoint`, as far as its files tell."""
    saved = read_image_config(checkpoint.folder)
    budget = settings.pixel_budget
    if budget and not read_max_pixels(saved):
        raise EmbedderError(
            f"{name} reads no images, or takes every image at one size, so it has no pixel budget; "
            "leave it out"
        )
    return RerankerCard(
        name=name,
        family=FAMILY,
        modalities=("text", "image") if saved else ("text",),
        image_side=max(1, int(budget**0.5)) if budget else read_image_side(saved),
        fingerprint=compute_fingerprint(FAMILY, VERSION, checkpoint.digest, budget),
    )


def load(name: str, checkpoint: Checkpoint, settings: Settings) -> Reranker:
    """Load a model; raises `EmbedderError`."""
    card = describe(name, checkpoint, settings)
    model = _load_model(name, checkpoint, settings)
    if settings.pixel_budget:
        set_pixel_budget(model[0], settings.pixel_budget)
    return Reranker(CrossEncoderPairs(card, model), settings)


def _load_model(name: str, checkpoint: Checkpoint, settings: Settings) -> Any:
    """The `CrossEncoder`."""
    from sentence_transformers import CrossEncoder

    from embedder.vlm.loading import (
        check_memory,
        check_weights_loaded,
        select_device,
        silence_transformers,
        wrap_load_errors,
    )

    folder = checkpoint.trained_dir
    if checkpoint.adapter:
        raise EmbedderError(
            f"{name} is an adapter ({ADAPTER_CONFIG}); merge it into its model, and name that"
        )
    if _is_embedding_model(folder):
        raise EmbedderError(f"{name} makes vectors; a reranker is a cross encoder")
    device, dtype = select_device(settings)
    check_memory(folder, device, dtype)
    check_remote_code(name, folder, trusted=settings.trust_remote_code)
    with (
        silence_transformers(),
        wrap_load_errors(folder),
        check_weights_loaded(folder),
        without_video_processor(),
    ):
        model: Any = CrossEncoder(
            str(folder),
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            device=str(device),
            model_kwargs={"dtype": dtype},
        )
    if model.num_labels != 1:
        raise EmbedderError(
            f"{name} gives {model.num_labels} numbers for a pair; a reranker gives one"
        )
    model.eval().requires_grad_(False)
    return model


def _is_embedding_model(folder: Path) -> bool:
    if read_optional_config(folder, SAVED_CONFIG).get("model_type") == "SentenceTransformer":
        return True
    return any("Pooling" in str(module) for module in read_modules(folder))


@dataclass(frozen=True, slots=True)
class PreparedPair:
    """What sentence-transformers takes as a pair, and about how many tokens that is."""

    pair: tuple[Any, Any]
    has_images: bool
    tokens: int


class CrossEncoderPairs:
    """The model, for pairs of a query and a candidate."""

    def __init__(self, card: RerankerCard, model: Any) -> None:
        """`model` is the `CrossEncoder`."""
        from embedder.vlm.prompts import list_special_tokens

        transformer: Any = model[0]
        self._model, self._transformer = model, transformer
        self._tokenizer = transformer.tokenizer
        if self._tokenizer is None or "text" not in model.modalities:
            raise EmbedderError(f"{card.name} reads no texts")
        # a template of the other format has the texts themselves as contents, and takes no images
        message_format = transformer.input_formatter.message_format
        self._takes_dicts = "message" in model.modalities and message_format == "structured"
        reads_images = self._takes_dicts and "image" in model.modalities
        modalities = ("text", "image") if reads_images else ("text",)
        self.card = RerankerCard(
            name=card.name,
            family=card.family,
            modalities=modalities,
            image_side=card.image_side,
            fingerprint=card.fingerprint,
        )
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        self._special_tokens = tuple(list_special_tokens(backend)) if backend else ()
        self._prompt = model.prompts.get(model.default_prompt_name or "") or None
        serialize_tokenizer_calls(self._tokenizer)
        self._check_template()

    def _check_template(self) -> None:
        """Raise `EmbedderError` for a chat template without a place for the query or candidate."""
        probe = Input(PROBE)
        try:
            self.collate([self.prepare(probe, probe, None)], [None])
        except (ValueError, TypeError, KeyError) as error:
            raise EmbedderError(
                f"{self.card.name} cannot be used as a reranker: {first_line(error)}"
            ) from error

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def can_read(self, image: Image) -> bool:
        try:
            self._count_image_tokens(image)
        except ValueError:  # one side is over 200 times the other
            return False
        return True

    def prepare(self, query: Input, candidate: Input, instruction: str | None) -> PreparedPair:
        images = (*query.images, *candidate.images)
        tokens = sum(map(self._count_image_tokens, images)) + len(self._prompt or "") // 4
        texts = [self._sanitize(item.text or "") for item in (query, candidate)]
        tokens += sum(map(self._count_text_tokens, texts))
        if not images:
            limit = self._model.get_max_seq_length()
            tokens = min(tokens, limit or tokens)
        if not self._takes_dicts:
            return PreparedPair((texts[0], texts[1]), False, tokens)
        sides = [
            {
                **({"image": list(item.images)} if item.images else {}),
                **({"text": text} if item.has_text else {}),
            }
            for item, text in zip((query, candidate), texts, strict=True)
        ]
        return PreparedPair((sides[0], sides[1]), bool(images), tokens)

    def bucket(self, ready: PreparedPair) -> Bucket:
        return Bucket(ready.has_images, ready.tokens)

    def process(self, ready: PreparedPair) -> None:
        """Nothing: sentence-transformers prepares the pairs of a batch together."""

    def collate(self, items: Sequence[PreparedPair], processed: Sequence[None]) -> Batch:
        features: Batch = self._model.preprocess([item.pair for item in items], prompt=self._prompt)
        return features

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return (n, 1): what the model's activation function makes of its logit."""
        scores: torch.Tensor = self._model.forward(dict(batch))["scores"].float()
        activation = self._model.activation_fn
        scores = scores if activation is None else activation(scores)
        return scores.reshape(-1, 1)

    def _sanitize(self, text: str) -> str:
        from embedder.vlm.prompts import neutralize_special_tokens

        return neutralize_special_tokens(text[:MAX_TEXT], self._special_tokens)

    def _count_text_tokens(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _count_image_tokens(self, image: Image) -> int:
        """Raises `ValueError` for an image that is too narrow."""
        images: Any = getattr(self._transformer.processor, "image_processor", None)
        if not hasattr(images, "merge_size"):
            return 1024
        patches = images.get_number_of_image_patches(image.height, image.width, {})
        return int(patches) // int(images.merge_size) ** 2
