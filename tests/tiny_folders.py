"""Parts of tiny random models in folders laid out for sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from embedder import Settings
from embedder.families import sentence_transformer as family

WORDS = [
    "a red square on a blue beach at sunset, with two dogs",
    "the capital of france is paris; represent the user's input.",
    "retrieve images or text relevant to the user's query. https://example.org/picture.png",
    "system user assistant make it greener and find the same house",
]


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights so large that every token changes the vector."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name.lower():
                weight.normal_(std=0.08)
    return model.eval()


def modules(folder: Path, *named: str) -> Path:
    kinds = [("", "Transformer"), *(tuple(name.split(":")) for name in named)]
    kinds = [(path, f"sentence_transformers.models.{kind}") for path, kind in kinds]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(kinds)
    ]
    for path, _ in kinds[1:]:
        (folder / path).mkdir(exist_ok=True)
    write(folder / "modules.json", entries)
    return folder


def collated(backbone, ready):
    """A batch, as the engine makes it."""
    return backbone.collate(ready, [backbone.process(one) for one in ready])


def loaded(folder: Path, **settings):
    return family.load(str(folder), Settings(device="cpu", **settings))


def close(actual, expected) -> None:
    np.testing.assert_allclose(actual, expected, atol=1e-5)
