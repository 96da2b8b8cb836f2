"""What weights in fewer bits do to vectors: `python -m bench.quantization`.

Small models with random weights embed the sample pictures and their English captions with all bits,
with int8 and with nf4. The cosine is that of a vector with its full one; "top 10 kept" is the share
of each caption's ten nearest pictures that are the same. Trained weights have
outliers, and the vectors of a trained model have neighbors for a reason: what is measured is how
large the noise is, not how many hits are lost.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.embed_models import build
from bench.report import publish, render_table
from embedder.types import Input, Settings
from embedder.vlm.quantization import quantize_model

SAMPLES = Path(__file__).parent.parent / "samples"
FAMILIES = ("e5v", "vlm2vec-qwen2vl", "mme5")
SIDE = 128  # pixels of the shorter side
NEAREST = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", nargs="+", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--publish", action="store_true", help="write into docs/benchmarks.md")
    options = parser.parse_args()
    captions, images = _read_samples(options.pictures)
    rows = []
    for family in options.family:
        queries, documents, megabytes, seconds = _embed(family, None, captions, images)
        rows.append([family, "all bits", f"{megabytes:.0f}", "1", "1", "100 %", f"{seconds:.1f}"])
        for kind in ("int8", "nf4"):
            *vectors, megabytes, seconds = _embed(family, kind, captions, images)
            cosines = np.concatenate(
                [(new * old).sum(1) for new, old in zip(vectors, (queries, documents), strict=True)]
            )
            kept = _share_kept(queries @ documents.T, vectors[0] @ vectors[1].T)
            quality = [f"{cosines.mean():.4f}", f"{cosines.min():.4f}", f"{100 * kept:.0f} %"]
            rows.append([family, kind, f"{megabytes:.0f}", *quality, f"{seconds:.1f}"])
    head = ("model", "weights", "MB", "mean cosine", "least", "top 10 kept", "seconds")
    note = (
        f"{len(images)} sample pictures with their captions, small models with **random** weights "
        "in float32: how large the noise is, not how many hits a trained model loses."
    )
    body = f"{note}\n\n{render_table(head, rows)}\n"
    publish("Weights in fewer bits", body, write=options.publish)


def _read_samples(count: int) -> tuple[list[Input], list[Input]]:
    with (SAMPLES / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["language"] == "en"]
    captions = {row["file"]: row["caption"] for row in rows}
    names = sorted(captions)[:count]
    images = [Image.open(SAMPLES / name).convert("RGB") for name in names]
    for image in images:
        image.thumbnail((SIDE, SIDE))
    return [Input(captions[name]) for name in names], [Input(images=(image,)) for image in images]


def _embed(
    family: str, kind: str | None, captions: list[Input], images: list[Input]
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The vectors of captions and pictures, megabytes of weights, and the seconds it took."""
    settings = Settings(device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        engine = build(family, "small", settings, Path(scratch)).engine
        body = engine.backbone.model  # type: ignore[attr-defined]
        if kind:
            quantize_model(body, kind, torch.device("cpu"), torch.float32)
        tensors = [*body.parameters(), *body.buffers()]
        start = time.perf_counter()
        queries, documents = engine.embed(captions, "query"), engine.embed(images, "document")
        seconds = time.perf_counter() - start
    return queries, documents, sum(t.numel() * t.itemsize for t in tensors) / 1e6, seconds


def _share_kept(before: np.ndarray, after: np.ndarray) -> float:
    """The share of the nearest documents of each query that are the same."""
    nearest = [np.argsort(-scores, axis=1)[:, :NEAREST] for scores in (before, after)]
    same = [len(set(a) & set(b)) for a, b in zip(*nearest, strict=True)]
    return float(np.mean(same)) / NEAREST


if __name__ == "__main__":
    main()
