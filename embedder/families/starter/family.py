"""The starter: text in about 100 languages and pictures in one space, offline, on a CPU.

A small head, made by `python -m recipes.starter` and kept beside this file, joins a text tower and
two vision towers from PyPI packages. A picture is heard as what it shows to a classifier: ConSE
(Norouzi et al. 2013, https://arxiv.org/abs/1312.5650), the class names weighted by their
probabilities; and seen by a perceptron on the towers' features. docs/starter.md says how well.
A folder with `polylens.json` and a head of its own is the starter adapted by `finetune train`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.checkpoint import locate
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.families.starter.card import (
    CARDS,
    HEAD_FILE,
    LEXICON_FILE,
    NOUN_EMBEDDINGS_FILE,
    VERSION,
)
from embedder.families.starter.lexicon import NounEmbeddings, TranslationLexicon
from embedder.families.starter.text_tower import DIM, TextFeatures, TextTower
from embedder.families.starter.vision_tower import (
    TOWERS,
    ImageFeatures,
    VisionTower,
    prepare_images,
)
from embedder.model_card import derive_base_card, finalize_card, find_preset
from embedder.types import Input, ModelCard, Role, Settings, Vectors, check_role
from embedder.vectors import normalize

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CARDS", "Starter", "describe", "load"]

Array = NDArray[np.float32]
T = TypeVar("T")

TENSOR_NAMES = frozenset(
    [
        *("text.map", "text.bias", "text.mean", "text.centre", "words.map", "words.weight"),
        *("classes", "classes.mean", "conse.weight", "conse.temperature"),
        *("image.0.weight", "image.0.bias", "image.1.weight", "image.1.bias"),
        *(f"{tower.name}.{part}" for tower in TOWERS for part in ("mean", "spread", "axes")),
    ]
)
"""Of a head's tensors."""


def describe(name: str = "starter", settings: Settings | None = None) -> ModelCard:
    """The card of the starter, or of one adapted, in a folder; raises `EmbedderError` for settings
    that it has no use for, `UnknownModelError` where there is no such folder."""
    settings = settings or Settings()
    if settings.device not in (None, "cpu"):
        raise EmbedderError(f"the starter model runs on the CPU, not on {settings.device!r}")
    if settings.pixel_budget or settings.dim not in (None, DIM):
        raise EmbedderError(
            f"the starter has no pixel budget, and its vectors have dim {DIM}, not {settings.dim}"
        )
    shipped = find_preset(CARDS, name)
    if shipped:
        return shipped
    checkpoint = locate(name)
    card = derive_base_card(CARDS, name, CARDS[0], DIM, checkpoint)
    return finalize_card(card, name, checkpoint, settings, VERSION)


def load(name: str = "starter", settings: Settings | None = None) -> EmbeddingModel:
    """The starter, or one adapted, in a folder; it runs on the CPU, and its towers are loaded when
    they are needed. Raises `EmbedderError`, `UnknownModelError`."""
    card, threads = describe(name, settings), settings.workers if settings else 0
    head = HEAD_FILE if card is CARDS[0] else locate(name).folder / HEAD_FILE.name
    return Starter(card, head, threads)


class ProjectionHead:
    """The trained weights. Shapes: docs/starter.md."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self._weights = weights

    @staticmethod
    def read(path: Path) -> ProjectionHead:
        """Raises `EmbedderError` for a file that is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = load_file(path)
        except FileNotFoundError:
            raise EmbedderError(
                f"{path.parent} is no starter model: it has no {path.name}"
            ) from None
        except (OSError, SafetensorError) as error:
            raise EmbedderError(f"{path} cannot be read: {error}") from error
        if TENSOR_NAMES - found.keys():
            raise EmbedderError(
                f"{path} is damaged: it lacks {', '.join(TENSOR_NAMES - found.keys())}"
            )
        return ProjectionHead({name: tensor.astype(np.float32) for name, tensor in found.items()})

    def __getitem__(self, name: str) -> Array:
        return self._weights[name]

    @property
    def weights(self) -> Mapping[str, Array]:
        return self._weights

    def project_text(self, features: TextFeatures) -> Array:
        """What n texts are to the ears -> (n, 384) unit rows of the common space."""
        text = normalize(features.text @ self["text.map"] + self["text.bias"])
        english = normalize(features.english @ self["text.map"] + self["text.bias"])
        meaning = normalize(features.meaning @ self["words.map"])
        has_english = features.english.any(axis=1, keepdims=True)
        combined = normalize(
            normalize(text + has_english * english) + float(self["words.weight"][0]) * meaning
        )
        return normalize(combined - self["text.centre"])

    def project_image(self, features: Sequence[Array], logits: Sequence[Array]) -> Array:
        """Per tower (n, 1280) features and (n, 1000) logits -> (n, 384) unit rows."""
        visual = normalize(self._apply_mlp(self.whiten(features)))
        return normalize(visual + float(self["conse.weight"][0]) * self.embed_class_names(logits))

    def embed_class_names(self, logits: Sequence[Array]) -> Array:
        """What the classes' names say of n pictures -> (n, 384) unit rows."""
        return normalize(
            self.average_probabilities(logits) @ self["classes"] - self["classes.mean"]
        )

    def whiten(self, features: Sequence[Array]) -> Array:
        """log(1 + x), standardised, and turned onto each tower's 384 main axes: (n, 768)."""
        joined: Array = np.concatenate(
            [
                ((np.log1p(np.maximum(x, 0)) - self[f"{t.name}.mean"]) / self[f"{t.name}.spread"])
                @ self[f"{t.name}.axes"]
                for t, x in zip(TOWERS, features, strict=True)
            ],
            axis=1,
        )
        return joined

    def average_probabilities(self, logits: Sequence[Array]) -> Array:
        """The towers' mean softmax(logits / temperature), (n, 1000)."""
        temperature = float(self["conse.temperature"][0])
        mean: Array = np.mean([_softmax(x / temperature) for x in logits], axis=0, dtype=np.float32)
        return mean

    def _apply_mlp(self, x: Array) -> Array:
        hidden = np.maximum(x @ self["image.0.weight"].T + self["image.0.bias"], 0)  # (n, 1024)
        out: Array = hidden @ self["image.1.weight"].T + self["image.1.bias"]  # (n, 384)
        return out


class Starter(EmbeddingModel):
    """Words, pictures, and both by the mean of their vectors. Thread-safe. Each call has `threads`
    to look at pictures with; 0 is one a core."""

    def __init__(
        self, card: ModelCard = CARDS[0], head: Path = HEAD_FILE, threads: int = 0
    ) -> None:
        self.card, self._threads = card, threads
        self._lock, self._head_path = threading.RLock(), head

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """(n, 384) unit rows; both roles and any instruction give the same.

        Raises `EmbedderError` for an input with neither a text nor a picture.
        """
        check_role(role)
        for item in inputs:
            item.validate()
        out = np.zeros((len(inputs), DIM), dtype=np.float32)
        _add_means(
            out, inputs, lambda i: [i.text] if i.text and i.has_text else [], self._embed_texts
        )
        _add_means(out, inputs, lambda i: list(i.images), self._embed_images)
        return normalize(out)

    def extract_text_features(self, texts: Sequence[str]) -> TextFeatures:
        """What n texts are to the ears."""
        with self._lock:
            tower = self._text_tower
        return tower.encode(texts)

    def extract_image_features(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """What n pictures are to each of the towers."""
        with self._lock:
            towers = self._vision_towers
        prepared = prepare_images(images)
        return [tower.encode(prepared) for tower in towers]

    @cached_property
    def head(self) -> ProjectionHead:
        return ProjectionHead.read(self._head_path)

    def _embed_texts(self, texts: Sequence[str]) -> Array:
        return self.head.project_text(self.extract_text_features(texts))

    def _embed_images(self, images: Sequence[Image]) -> Array:
        tower_features = self.extract_image_features(images)
        return self.head.project_image(
            [features for features, _ in tower_features], [logits for _, logits in tower_features]
        )

    @cached_property
    def _text_tower(self) -> TextTower:
        lexicon, vocabulary = (
            TranslationLexicon.read(LEXICON_FILE),
            NounEmbeddings.read(NOUN_EMBEDDINGS_FILE),
        )
        return TextTower(lexicon, vocabulary, self.head["text.mean"])

    @cached_property
    def _vision_towers(self) -> list[VisionTower]:
        return [VisionTower(tower, self._threads) for tower in TOWERS]


def _add_means(
    out: Array,
    inputs: Sequence[Input],
    pick: Callable[[Input], list[T]],
    embed: Callable[[Sequence[T]], Array],
) -> None:
    """Add to each row the mean of what `pick` finds in its input, embedded all at once."""
    owners = [(row, item) for row, given in enumerate(inputs) for item in pick(given)]
    if not owners:
        return
    made = embed([item for _, item in owners])
    counts = np.bincount([row for row, _ in owners], minlength=len(inputs))
    for (row, _), vector in zip(owners, made, strict=True):
        out[row] += vector / counts[row]


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
