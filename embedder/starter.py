"""The starter: text in about 100 languages and pictures in one space, offline, on a CPU.

A small head, made by `python -m finetune.starter` and kept beside this file, joins a text tower and
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

from embedder.card import finished, known, preset
from embedder.checkpoint import find
from embedder.errors import EmbedderError
from embedder.starter_card import CARDS, HEAD, LEXICON, VERSION, VOCABULARY
from embedder.starter_text import DIM, Heard, TextTower
from embedder.starter_vision import TOWERS, Eye, Seen, framed
from embedder.starter_words import Lexicon, Vocabulary
from embedder.types import Embedder, Input, ModelCard, Role, Settings, Vectors
from embedder.vectors import unit

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CARDS", "Starter", "describe", "load"]

Array = NDArray[np.float32]
T = TypeVar("T")

NAMES = frozenset(
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
        raise EmbedderError(f"the starter takes no pixel budget, and gives {DIM} numbers always")
    shipped = preset(CARDS, name)
    if shipped:
        return shipped
    checkpoint = find(name)
    card = known(CARDS, name, CARDS[0], DIM, checkpoint)
    return finished(card, name, checkpoint, settings, VERSION)


def load(name: str = "starter", settings: Settings | None = None) -> Embedder:
    """The starter, or one adapted, in a folder; it runs on the CPU, and its towers are loaded when
    they are needed. Raises `EmbedderError`, `UnknownModelError`."""
    card, threads = describe(name, settings), settings.workers if settings else 0
    head = HEAD if card is CARDS[0] else find(name).folder / HEAD.name
    return Starter(card, head, threads)


class Head:
    """The trained weights. Shapes: docs/starter.md."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self._weights = weights

    @staticmethod
    def read(path: Path) -> Head:
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
        if NAMES - found.keys():
            raise EmbedderError(f"{path} is damaged: it lacks {', '.join(NAMES - found.keys())}")
        return Head({name: tensor.astype(np.float32) for name, tensor in found.items()})

    def __getitem__(self, name: str) -> Array:
        return self._weights[name]

    @property
    def weights(self) -> Mapping[str, Array]:
        return self._weights

    def text(self, heard: Heard) -> Array:
        """What n texts are to the ears -> (n, 384) unit rows of the common space."""
        said = unit(heard.said @ self["text.map"] + self["text.bias"])
        english = unit(heard.english @ self["text.map"] + self["text.bias"])
        meant = unit(heard.meant @ self["words.map"])
        known = heard.english.any(axis=1, keepdims=True)
        told = unit(unit(said + known * english) + float(self["words.weight"][0]) * meant)
        return unit(told - self["text.centre"])

    def image(self, features: Sequence[Array], logits: Sequence[Array]) -> Array:
        """Per tower (n, 1280) features and (n, 1000) logits -> (n, 384) unit rows."""
        seen = unit(self._perceptron(self.whitened(features)))
        return unit(seen + float(self["conse.weight"][0]) * self.named(logits))

    def named(self, logits: Sequence[Array]) -> Array:
        """What the classes' names say of n pictures -> (n, 384) unit rows."""
        return unit(self.probabilities(logits) @ self["classes"] - self["classes.mean"])

    def whitened(self, features: Sequence[Array]) -> Array:
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

    def probabilities(self, logits: Sequence[Array]) -> Array:
        """The towers' mean softmax(logits / temperature), (n, 1000)."""
        temperature = float(self["conse.temperature"][0])
        mean: Array = np.mean([_softmax(x / temperature) for x in logits], axis=0, dtype=np.float32)
        return mean

    def _perceptron(self, x: Array) -> Array:
        hidden = np.maximum(x @ self["image.0.weight"].T + self["image.0.bias"], 0)  # (n, 1024)
        out: Array = hidden @ self["image.1.weight"].T + self["image.1.bias"]  # (n, 384)
        return out


class Starter:
    """Words, pictures, and both by the mean of their vectors. Thread-safe. Each call has `threads`
    to look at pictures with; 0 is one a core."""

    def __init__(self, card: ModelCard = CARDS[0], head: Path = HEAD, threads: int = 0) -> None:
        self.card, self._threads = card, threads
        self._lock, self._path = threading.RLock(), head

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """(n, 384) unit rows; both roles and any instruction give the same.

        Raises `EmbedderError` for an input with neither a text nor a picture.
        """
        for item in inputs:
            item.check()
        out = np.zeros((len(inputs), DIM), dtype=np.float32)
        _add(out, inputs, lambda i: [i.text] if i.text and i.says else [], self._texts)
        _add(out, inputs, lambda i: list(i.images), self._images)
        return unit(out)

    def hear(self, texts: Sequence[str]) -> Heard:
        """What n texts are to the ears."""
        with self._lock:
            tower = self._tower
        return tower.hear(texts)

    def see(self, images: Sequence[Image]) -> list[Seen]:
        """What n pictures are to each of the towers."""
        with self._lock:
            eyes = self._eyes
        ready = framed(images)
        return [eye.see(ready) for eye in eyes]

    @cached_property
    def head(self) -> Head:
        return Head.read(self._path)

    def _texts(self, texts: Sequence[str]) -> Array:
        return self.head.text(self.hear(texts))

    def _images(self, images: Sequence[Image]) -> Array:
        seen = self.see(images)
        return self.head.image([features for features, _ in seen], [logits for _, logits in seen])

    @cached_property
    def _tower(self) -> TextTower:
        lexicon, vocabulary = Lexicon.read(LEXICON), Vocabulary.read(VOCABULARY)
        return TextTower(lexicon, vocabulary, self.head["text.mean"])

    @cached_property
    def _eyes(self) -> list[Eye]:
        return [Eye(tower, self._threads) for tower in TOWERS]


def _add(
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
