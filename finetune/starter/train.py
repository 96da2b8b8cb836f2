"""Trains the head: pictures against their words, and words against the same words in English.

Multi-positive InfoNCE (van den Oord et al. 2018, eq. 4; positives share a concept) in both
directions, with either branch of the image vector dropped at random, on noisy features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Array = NDArray[np.float32]
HIDDEN, DIM = 1024, 384


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers that were tried; docs/starter.md tells what each is worth."""

    steps: int = 600
    batch: int = 512
    rate: float = 1e-3
    decay: float = 0.05
    noise: float = 0.3  # on whitened features, in standard deviations
    drop_branch: float = 0.15
    pair_scale: float = 20.0  # of the text-text loss; 1 / temperature
    keep: float = 100.0  # weight of keeping the class names' geometry
    conse_weight: float = 1.5
    temperature: float = 2.0  # of the towers' softmax
    hypernym: float = 0.6  # what a class's hypernym counts, per step away
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Whitened features (n, 768), class probabilities (n, 1000), concept numbers (n,), and for
    each picture the rows and odds of its texts."""

    features: Tensor
    probabilities: Tensor
    concepts: Tensor
    texts: Sequence[tuple[NDArray[np.int64], Array]]


class HeadModule(nn.Module):
    """The head in torch; `embedder.starter.Head` is the same in numpy."""

    def __init__(self, text_map: Tensor, classes: Tensor, recipe: Recipe) -> None:
        super().__init__()
        self.map = nn.Parameter(text_map.clone())  # (384, 384)
        self.names = classes  # (1000, 384) of the text tower
        self.named_mean = torch.zeros(DIM)
        self.hidden, self.out = nn.Linear(2 * DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.drop = nn.Dropout(0.3)
        self.scale = nn.Parameter(torch.tensor(3.0))  # log(1 / temperature)
        self.recipe = recipe

    def text(self, heard: Tensor) -> Tensor:
        return F.normalize(heard @ self.map, dim=-1)  # (n, 384)

    def image(self, features: Tensor, probabilities: Tensor) -> Tensor:
        named = probabilities @ self.text(self.names)  # (n, 384)
        mean = named.mean(0) if self.training else self.named_mean
        named = F.normalize(named - mean, dim=-1)
        seen = F.normalize(self.out(self.drop(self.hidden(features).relu())), dim=-1)
        if self.training:
            chance = torch.rand(len(features), 1)
            seen = seen * (chance > self.recipe.drop_branch)
            named = named * (chance < 1 - self.recipe.drop_branch)
        return F.normalize(seen + self.recipe.conse_weight * named, dim=-1)


def train(
    examples: Examples,
    rows: Tensor,
    pairs: Tensor,
    classes: Tensor,
    recipe: Recipe,
    report: Callable[[int, float], None],
) -> HeadModule:
    """`rows` (t, 384) are the centred texts; `pairs` (p, 2) rows that mean the same."""
    torch.manual_seed(recipe.seed)
    draw = np.random.default_rng(recipe.seed)
    used = torch.as_tensor(np.unique(np.concatenate([texts for texts, _ in examples.texts])))
    model = HeadModule(soft_whitening(rows[used]), classes, recipe)
    start = model.text(classes).detach()
    optimizer = torch.optim.AdamW(
        [
            {"params": [model.map, model.scale], "weight_decay": 0.0},
            {
                "params": [*model.hidden.parameters(), *model.out.parameters()],
                "weight_decay": recipe.decay,
            },
        ],
        lr=recipe.rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.steps, pct_start=0.1
    )
    for step in range(recipe.steps):
        loss = (
            _picture_loss(model, examples, rows, recipe, draw)
            + _pair_loss(model, rows, pairs, recipe)
            + recipe.keep * _moved(model.text(classes), start)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        report(step + 1, float(loss.detach()))
    model.eval()
    with torch.no_grad():
        model.named_mean = (examples.probabilities @ model.text(classes)).mean(0)
    return model


def soft_whitening(rows: Tensor) -> Tensor:
    """The symmetric map that evens out the axes of `rows` half way; (384, 384)."""
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))
    softened = (vectors * (values + values.mean()) ** -0.5) @ vectors.T
    scaled: Tensor = softened / softened.norm() * len(softened) ** 0.5
    return scaled


def contrast(logits: Tensor, same: Tensor) -> Tensor:
    """InfoNCE both ways; `same` (n, n) is true where row and column belong together."""
    target = same.float() / same.float().sum(1, keepdim=True)
    there = -(target * logits.log_softmax(1)).sum(1).mean()
    back = -(target * logits.T.log_softmax(1)).sum(1).mean()
    return there + back


def _picture_loss(
    model: HeadModule, examples: Examples, rows: Tensor, recipe: Recipe, draw: np.random.Generator
) -> Tensor:
    chosen = draw.choice(len(examples.features), min(recipe.batch, len(examples.features)), False)
    texts = torch.as_tensor(
        [draw.choice(ids, p=odds) for ids, odds in (examples.texts[i] for i in chosen)]
    )
    batch = torch.as_tensor(chosen)
    noise = recipe.noise * torch.randn(len(batch), examples.features.shape[1])
    noisy = examples.features[batch] + noise * (torch.rand(len(batch), 1) < 0.7)
    image = model.image(noisy, examples.probabilities[batch])  # (b, 384)
    text = model.text(rows[texts] + 0.01 * torch.randn(len(batch), DIM))  # (b, 384)
    concepts = examples.concepts[batch]
    scale = model.scale.exp().clamp(max=40)
    return contrast(scale * image @ text.T, concepts[:, None] == concepts[None])


def _pair_loss(model: HeadModule, rows: Tensor, pairs: Tensor, recipe: Recipe) -> Tensor:
    batch = pairs[torch.randint(len(pairs), (recipe.batch,))]
    english, other = model.text(rows[batch[:, 0]]), model.text(rows[batch[:, 1]])
    same = batch[:, 0][:, None] == batch[:, 0][None]
    return contrast(recipe.pair_scale * english @ other.T, same)


def _moved(now: Tensor, before: Tensor) -> Tensor:
    """How far the class names' cosines with each other have moved."""
    moved: Tensor = ((now @ now.T - before @ before.T) ** 2).mean()
    return moved
