"""The noun bank: nouns that a collection mostly does not show, and the vectors of a model for them.

What these nouns find at best in a collection is what a word finds there by chance; `strength`
compares hits with it. `nouns.tsv` has them, a language and a noun on each line; the recipe
recipes/noun_bank.py says by which rule they were chosen, and from what.

The starter's vectors are shipped. Those of another model are computed once on each machine, and
kept in the data folder by the model's fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from embedder import Embedder, Input
from embedder.files import PRIVATE, make_private_dir, replace_file
from embedder.types import ModelCard, normalize
from indexer.config import default_store

NOUNS_FILE = Path(__file__).with_name("nouns.tsv")
SHIPPED_VECTORS_FILE = Path(__file__).with_name("noun_vectors.npz")
CACHE_FOLDER = "nouns"  # in the data folder
BATCH = 64  # nouns embedded at a time

Array = NDArray[np.float32]


def read_nouns() -> list[str]:
    """Read the nouns, in the order of their vectors."""
    lines = NOUNS_FILE.read_text("utf-8").splitlines()
    return [line.partition("\t")[2] for line in lines]


def load_noun_vectors(card: ModelCard) -> Array | None:
    """Load the vectors (n, dim) that a model gives the nouns; None where they are not known yet."""
    for file in (SHIPPED_VECTORS_FILE, _cache_file(card)):
        vectors = _read_vectors(file, card)
        if vectors is not None:
            return vectors
    return None


def compute_noun_vectors(card: ModelCard, embedder: Callable[[], Embedder]) -> Array:
    """Load the vectors (n, dim), or embed the nouns and keep the vectors for other processes.

    Raises `EmbedderError`.
    """
    vectors = load_noun_vectors(card)
    if vectors is None:
        vectors = embed_nouns(embedder())
        file = _cache_file(card)
        with suppress(OSError):
            make_private_dir(file.parent)
            with replace_file(file, mode=PRIVATE) as out:
                write_vectors(out, card.fingerprint, vectors)
    return vectors


def embed_nouns(embedder: Embedder) -> Array:
    """Embed the nouns as queries: (n, dim)."""
    inputs = [Input(noun) for noun in read_nouns()]
    batches = [inputs[i : i + BATCH] for i in range(0, len(inputs), BATCH)]
    return np.concatenate([embedder.embed(batch, "query") for batch in batches])


def write_vectors(file: IO[bytes], fingerprint: str, vectors: Array) -> None:
    """Write unit rows in eight bits a component: no cosine changes by more than 0.005."""
    scales = np.abs(vectors).max(axis=1, keepdims=True) / 127  # (n, 1)
    np.savez(
        file,
        allow_pickle=False,
        model=np.array(fingerprint),
        nouns=np.array(_digest_nouns()),
        codes=np.round(vectors / scales).astype(np.int8),
        scales=scales.astype(np.float32),
    )


def _read_vectors(file: Path, card: ModelCard) -> Array | None:
    """None where the file is missing or damaged, or has those of another model or of other
    nouns."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            made_for = str(arrays["model"]), str(arrays["nouns"])
            if made_for != (card.fingerprint, _digest_nouns()):
                return None
            rows = arrays["codes"].astype(np.float32) * arrays["scales"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    if rows.shape != (len(read_nouns()), card.dim):
        return None
    return normalize(rows)


def _cache_file(card: ModelCard) -> Path:
    name = hashlib.sha256(card.fingerprint.encode()).hexdigest()[:32]
    return Path(default_store()) / CACHE_FOLDER / f"{name}.npz"


def _digest_nouns() -> str:
    return hashlib.sha256(NOUNS_FILE.read_bytes()).hexdigest()[:16]
