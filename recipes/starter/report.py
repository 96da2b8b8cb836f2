"""The quality of a head and the contribution of each of its parts, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from embedder.families.starter.model import ProjectionHead
from recipes.starter.recall import Recall, mean_non_english, measure_recall
from recipes.starter.text_features import TextFeaturizer
from recipes.starter.tower_features import ImageFeatureSet
from recipes.starter.training_data import EVALUATED_LANGUAGES, Log, TrainingData


def render_report(
    head: ProjectionHead, data: TrainingData, featurizer: TextFeaturizer, log: Log
) -> str:
    """Recall on images that the head was not trained on, with and without each of its parts."""
    log("measuring")
    variants = {
        "the starter": (head, True),
        "without lexicon and vocabulary": (head, False),
        "ConSE alone": (_with_weight(head, "conse.weight", 1e6), True),
        "perceptron alone": (_with_weight(head, "conse.weight", 0.0), True),
    }
    lines = []
    for name, image_set in data.held_out.items():
        lines.append(f"\n{name} ({len(image_set.images)} pictures), R@1 / R@5 / R@10\n\n")
        lines.append("| | English | mean of the others |\n|---|---|---|\n")
        for way, (changed, use_tables) in variants.items():
            found = measure_head(changed, image_set, featurizer, use_tables=use_tables)
            lines.append(
                f"| {way} | {_format_row(found['en'])} | {_format_row(mean_non_english(found))} |\n"
            )
            if way == "the starter":
                detail = ", ".join(f"{k} {v[2]:.0f}" for k, v in found.items())
        lines.append(f"\nR@10 by language: {detail}\n")
    return "".join(lines)


def measure_head(
    head: ProjectionHead, features: ImageFeatureSet, featurizer: TextFeaturizer, *, use_tables: bool
) -> Recall:
    wanted = [
        replace(p, texts=tuple(w for w in p.texts if w[1] in EVALUATED_LANGUAGES))
        for p in features.images
    ]
    images = head.project_image(features.features, features.logits)
    return measure_recall(
        wanted,
        images,
        lambda texts: head.project_text(featurizer.featurize(texts, use_tables=use_tables)),
    )


def _with_weight(head: ProjectionHead, name: str, value: float) -> ProjectionHead:
    """A head with another value of one weight."""
    return ProjectionHead({**head.weights, name: np.array([value], dtype=np.float32)})


def _format_row(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)
