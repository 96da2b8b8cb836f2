"""The starter's head and its embedder.

The head joins the text tower and the two vision towers. An image is embedded by ConSE (Norouzi et
al. 2013, https://arxiv.org/abs/1312.5650), the class names of a classifier weighted by their
probabilities, and by a perceptron on the towers' features. The perceptron knows drawings; the less
an image is like those, the more ConSE counts. docs/starter.md has figures.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.encoding import EmbeddingModel
from embedder.errors import UnavailableError
from embedder.families.starter import CARDS, DIM, HEAD_FILE, LEXICON_FILE, NOUN_EMBEDDINGS_FILE
from embedder.families.starter.text_tower import (
    NounEmbeddings,
    TextFeatures,
    TextTower,
)
from embedder.families.starter.translation import TranslationLexicon
from embedder.families.starter.vision_tower import (
    TOWERS,
    ImageFeatures,
    VisionTower,
    prepare_images,
)
from embedder.types import Input, ModelCard, Role, Translation, Vectors, check_role, normalize

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[np.float32]
T = TypeVar("T")

TENSOR_NAMES = frozenset(
    [
        *("text.map", "text.bias", "text.mean", "text.centre", "words.map", "words.weight"),
        *("classes", "classes.mean", "conse.weight", "conse.temperature", "conse.exponent"),
        *("image.0.weight", "image.0.bias", "image.1.weight", "image.1.bias"),
        *(f"{tower.name}.{part}" for tower in TOWERS for part in ("mean", "spread", "axes")),
    ]
)
"""The names of a head's tensors."""


class ProjectionHead:
    """The trained weights; docs/starter.md has their shapes."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights = weights

    @staticmethod
    def read(path: Path) -> ProjectionHead:
        """Read the weights; raise `UnavailableError` for a missing or damaged file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
        except FileNotFoundError:
            message = f"{path.parent} is not a starter model: it has no {path.name}"
            raise UnavailableError(message) from None
        except (OSError, SafetensorError) as error:
            raise UnavailableError(f"{path} cannot be read: {error}") from error
        tensors.setdefault("conse.exponent", np.zeros(1, np.float16))  # an earlier version's head
        missing = TENSOR_NAMES - tensors.keys()
        if missing:
            raise UnavailableError(f"{path} is damaged: it has no {', '.join(sorted(missing))}")
        return ProjectionHead({name: tensor.astype(np.float32) for name, tensor in tensors.items()})

    def __getitem__(self, name: str) -> Array:
        return self.weights[name]

    def project_text(self, features: TextFeatures) -> Array:
        """Project the features of n texts to (n, 384) unit rows of the common space."""
        text = normalize(features.text @ self["text.map"] + self["text.bias"])
        english = normalize(features.english @ self["text.map"] + self["text.bias"])
        meaning = normalize(features.meaning @ self["words.map"])
        has_english = features.english.any(axis=1, keepdims=True)
        sentence = normalize(text + has_english * english)
        combined = normalize(sentence + float(self["words.weight"][0]) * meaning)
        return normalize(combined - self["text.centre"])

    def project_image(self, features: Sequence[Array], logits: Sequence[Array]) -> Array:
        """Project (n, 1280) features and (n, 1000) logits of each tower to (n, 384) unit rows."""
        whitened = self.whiten(features)
        visual = normalize(self._apply_mlp(whitened))
        return normalize(visual + self.weigh_class_names(whitened) * self.embed_class_names(logits))

    def weigh_class_names(self, whitened: Array) -> Array:
        """Return ConSE's weight beside the perceptron for n images: (n, 1).

        It grows with the mean square of the whitened features, which is below 1 for most of the
        images that the perceptron was trained on, 1 to 2 for other drawings and 1 to 5 for
        photographs.
        """
        distance = np.maximum(np.square(whitened).mean(axis=1, keepdims=True), 1)
        weights: Array = self["conse.weight"] * distance ** self["conse.exponent"]
        return weights

    def embed_class_names(self, logits: Sequence[Array]) -> Array:
        """Embed n images by the names of their classes (ConSE): (n, 384) unit rows."""
        return normalize(self.classify(logits) @ self["classes"] - self["classes.mean"])

    def whiten(self, features: Sequence[Array]) -> Array:
        """Standardize log(1 + x) and rotate it to each tower's 384 main axes: (n, 768)."""
        joined: Array = np.concatenate(
            [
                ((np.log1p(np.maximum(x, 0)) - self[f"{t.name}.mean"]) / self[f"{t.name}.spread"])
                @ self[f"{t.name}.axes"]
                for t, x in zip(TOWERS, features, strict=True)
            ],
            axis=1,
        )
        return joined

    def classify(self, logits: Sequence[Array]) -> Array:
        """Return softmax(mean of the towers' logits / temperature), (n, 1000)."""
        scaled = np.mean(logits, axis=0, dtype=np.float32) / self["conse.temperature"]
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _apply_mlp(self, x: Array) -> Array:
        hidden = np.maximum(x @ self["image.0.weight"].T + self["image.0.bias"], 0)  # (n, 1024)
        out: Array = hidden @ self["image.1.weight"].T + self["image.1.bias"]  # (n, 384)
        return out


class Starter(EmbeddingModel):
    """Embeds texts, images, and both by the mean of their vectors. Thread-safe.

    `threads` run the vision towers; 0: one per core.
    """

    def __init__(
        self, card: ModelCard = CARDS[0], head: Path = HEAD_FILE, threads: int = 0
    ) -> None:
        self.card, self._threads = card, threads
        self._lock, self._head_path = threading.RLock(), head

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs`; the role and the instruction change nothing."""
        check_role(role)
        for item in inputs:
            item.validate()
        sums = np.zeros((len(inputs), DIM), dtype=np.float32)
        texts = [[i.text] if i.text and i.has_text else [] for i in inputs]
        _add_means(sums, texts, self._embed_texts)
        _add_means(sums, [i.images for i in inputs], self._embed_images)
        return normalize(sums)

    def embed_and_count(
        self, inputs: Sequence[Input], role: Role, instruction: str | None = None
    ) -> tuple[Vectors, list[int]]:
        """As `embed`, with the number of tokens of each text; images have none here."""
        vectors = self.embed(inputs, role, instruction)
        with self._lock:
            tower = self._text_tower if any(i.has_text for i in inputs) else None
        return vectors, [
            tower.count_tokens(i.text) if tower and i.text and i.has_text else 0 for i in inputs
        ]

    def knows_words(self, text: str) -> bool:
        """Whether some word of a short text is known; see `EmbeddingModel.knows_words`."""
        with self._lock:
            tower = self._text_tower
        return tower.knows(text)

    def find_translation(self, text: str) -> Translation | None:
        """How the lexicon reads a short text; see `EmbeddingModel.find_translation`."""
        with self._lock:
            tower = self._text_tower
        return tower.find_translation(text)

    def extract_text_features(self, texts: Sequence[str]) -> TextFeatures:
        """Return what `ProjectionHead.project_text` takes."""
        with self._lock:
            tower = self._text_tower
        return tower.encode(texts)

    def extract_image_features(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """Return the features of n images for each of the towers."""
        with self._lock:
            towers = self._vision_towers
        prepared = prepare_images(images)
        return [tower.encode(prepared) for tower in towers]

    @property
    def head(self) -> ProjectionHead:
        with self._lock:
            return self._loaded_head

    def _embed_texts(self, texts: Sequence[str]) -> Array:
        return self.head.project_text(self.extract_text_features(texts))

    def _embed_images(self, images: Sequence[Image]) -> Array:
        tower_features = self.extract_image_features(images)
        return self.head.project_image(
            [features for features, _ in tower_features], [logits for _, logits in tower_features]
        )

    @cached_property
    def _loaded_head(self) -> ProjectionHead:
        return ProjectionHead.read(self._head_path)

    @cached_property
    def _text_tower(self) -> TextTower:
        lexicon = TranslationLexicon.read(LEXICON_FILE)
        nouns = NounEmbeddings.read(NOUN_EMBEDDINGS_FILE)
        return TextTower(lexicon, nouns, self.head["text.mean"])

    @cached_property
    def _vision_towers(self) -> list[VisionTower]:
        return [VisionTower(tower, self._threads) for tower in TOWERS]


def _add_means(
    sums: Array, parts: Sequence[Sequence[T]], embed: Callable[[Sequence[T]], Array]
) -> None:
    """Add to each row the mean of its parts' vectors; all parts are embedded at once."""
    rows = [row for row, items in enumerate(parts) for _ in items]
    if not rows:
        return
    vectors = embed([item for items in parts for item in items])
    counts = np.bincount(rows, minlength=len(parts))
    for row, vector in zip(rows, vectors, strict=True):
        sums[row] += vector / counts[row]
