"""How good a head is, and what each of its parts is worth, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from embedder.starter import Head
from finetune.starter.ears import Ears
from finetune.starter.evaluate import Recall, mean_of_others, recall
from finetune.starter.features import Seen
from finetune.starter.material import MEASURED, Material, Say


def figures(head: Head, material: Material, ears: Ears, say: Say) -> str:
    """Recall on what the head never saw, and what each of its parts is worth."""
    say("measuring")
    ways = {
        "the starter": (head, True),
        "without lexicon and vocabulary": (head, False),
        "ConSE alone": (_changed(head, "conse.weight", 1e6), True),
        "perceptron alone": (_changed(head, "conse.weight", 0.0), True),
    }
    lines = []
    for name, seen in material.held.items():
        lines.append(f"\n{name} ({len(seen.pictures)} pictures), R@1 / R@5 / R@10\n\n")
        lines.append("| | English | mean of the others |\n|---|---|---|\n")
        for way, (changed, helped) in ways.items():
            found = measure(changed, seen, ears, helped=helped)
            lines.append(f"| {way} | {_row(found['en'])} | {_row(mean_of_others(found))} |\n")
            if way == "the starter":
                detail = ", ".join(f"{k} {v[2]:.0f}" for k, v in found.items())
        lines.append(f"\nR@10 by language: {detail}\n")
    return "".join(lines)


def measure(head: Head, seen: Seen, ears: Ears, *, helped: bool) -> Recall:
    wanted = [
        replace(p, words=tuple(w for w in p.words if w[1] in MEASURED)) for p in seen.pictures
    ]
    images = head.image(seen.features, seen.logits)
    return recall(wanted, images, lambda asked: head.text(ears.hear(asked, helped=helped)))


def _changed(head: Head, name: str, value: float) -> Head:
    """A head with one number set otherwise."""
    return Head({**head._weights, name: np.array([value], dtype=np.float32)})


def _row(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)
