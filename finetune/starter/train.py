"""Trains the head: pictures against their words, and words of any language against their meaning.

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
    """The numbers that were tried; docs/starter.md tells what the parts are worth."""

    steps: int = 600
    batch: int = 512
    rate: float = 1e-3
    decay: float = 0.05
    noise: float = 0.3  # on whitened features, in standard deviations
    drop_branch: float = 0.15  # either branch of the image vector
    drop_meaning: float = 0.3  # of a text's nouns: the tower must learn to do without
    pair_scale: float = 20.0  # of the text-text loss; 1 / temperature
    keep: float = 100.0  # weight of keeping the class names' geometry
    conse_weight: float = 1.5
    meaning_weight: float = 2.0  # of a text's nouns beside the text itself
    temperature: float = 2.0  # of the towers' softmax
    hypernym: float = 0.45  # what a class's hypernym counts, per step away
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Whitened features (n, 768), class probabilities (n, 1000), concept numbers (n,), and for
    each picture the rows and odds of its texts."""

    features: Tensor
    probabilities: Tensor
    concepts: Tensor
    texts: Sequence[tuple[NDArray[np.int64], Array]]


@dataclass(frozen=True, slots=True)
class Captions:
    """`embedder.starter_text.Heard` of t texts, in torch."""

    said: Tensor
    english: Tensor
    meant: Tensor

    def __getitem__(self, rows: Tensor) -> Captions:
        return Captions(self.said[rows], self.english[rows], self.meant[rows])


class HeadModule(nn.Module):
    """The head in torch; `embedder.starter.Head` is the same in numpy."""

    def __init__(self, classes: Tensor, recipe: Recipe) -> None:
        super().__init__()
        self.said = nn.Linear(DIM, DIM)  # of the tower's rows
        self.meant = nn.Linear(DIM, DIM, bias=False)
        nn.init.eye_(self.meant.weight)
        self.names = classes  # (1000, 384) meanings
        self.named_mean, self.centre = torch.zeros(DIM), torch.zeros(DIM)
        self.hidden, self.out = nn.Linear(2 * DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.drop = nn.Dropout(0.3)
        self.scale = nn.Parameter(torch.tensor(3.0))  # log(1 / temperature)
        self.recipe = recipe

    def text(self, heard: Captions) -> Tensor:
        said = F.normalize(self.said(heard.said), dim=-1)
        known = heard.english.any(1, keepdim=True)
        told = F.normalize(said + known * F.normalize(self.said(heard.english), dim=-1), dim=-1)
        meant = F.normalize(self.meant(heard.meant), dim=-1)
        both = F.normalize(told + self.recipe.meaning_weight * meant, dim=-1)
        return F.normalize(both - self.centre, dim=-1)  # (n, 384)

    def classes(self) -> Tensor:
        return F.normalize(self.meant(self.names), dim=-1)  # (1000, 384)

    def image(self, features: Tensor, probabilities: Tensor) -> Tensor:
        named = probabilities @ self.classes()  # (n, 384)
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
    captions: Captions,
    pairs: tuple[Tensor, Tensor],
    classes: Tensor,
    recipe: Recipe,
    report: Callable[[int, float], None],
) -> HeadModule:
    """`captions` are the pictures' texts; `pairs` (p, 384) each: texts of any language as the
    tower gives them, and what they mean."""
    torch.manual_seed(recipe.seed)
    draw = np.random.default_rng(recipe.seed)
    model = HeadModule(classes, recipe)
    with torch.no_grad():
        model.said.weight.copy_(torch.linalg.lstsq(*pairs).solution.T)
        model.said.bias.zero_()
    start = model.classes().detach()
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [*model.said.parameters(), *model.meant.parameters(), model.scale],
                "weight_decay": 0.0,
            },
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
            _picture_loss(model, examples, captions, recipe, draw)
            + _pair_loss(model, pairs, recipe)
            + recipe.keep * _moved(model.classes(), start)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        report(step + 1, float(loss.detach()))
    return _finished(model, examples, captions)


def _finished(model: HeadModule, examples: Examples, captions: Captions) -> HeadModule:
    """The means that are subtracted: of what pictures show, and of what texts say.

    The second keeps a picture that is near to everything from being near to each query.
    """
    model.eval()
    with torch.no_grad():
        model.named_mean = (examples.probabilities @ model.classes()).mean(0)
        model.centre = model.text(captions).mean(0)
    return model


def contrast(logits: Tensor, same: Tensor) -> Tensor:
    """InfoNCE both ways; `same` (n, n) is true where row and column belong together."""
    target = same.float() / same.float().sum(1, keepdim=True)
    there = -(target * logits.log_softmax(1)).sum(1).mean()
    back = -(target * logits.T.log_softmax(1)).sum(1).mean()
    return there + back


def _picture_loss(
    model: HeadModule,
    examples: Examples,
    captions: Captions,
    recipe: Recipe,
    draw: np.random.Generator,
) -> Tensor:
    chosen = draw.choice(len(examples.features), min(recipe.batch, len(examples.features)), False)
    texts = torch.as_tensor(
        [draw.choice(ids, p=odds) for ids, odds in (examples.texts[i] for i in chosen)]
    )
    batch = torch.as_tensor(chosen)
    noise = recipe.noise * torch.randn(len(batch), examples.features.shape[1])
    noisy = examples.features[batch] + noise * (torch.rand(len(batch), 1) < 0.7)
    image = model.image(noisy, examples.probabilities[batch])  # (b, 384)
    heard = captions[texts]
    said = heard.said + 0.01 * torch.randn(len(batch), DIM)
    meant = heard.meant * (torch.rand(len(batch), 1) > recipe.drop_meaning)
    text = model.text(Captions(said, heard.english, meant))  # (b, 384)
    concepts = examples.concepts[batch]
    scale = model.scale.exp().clamp(max=40)
    return contrast(scale * image @ text.T, concepts[:, None] == concepts[None])


def _pair_loss(model: HeadModule, pairs: tuple[Tensor, Tensor], recipe: Recipe) -> Tensor:
    """A text alone must come to lie where its meaning does."""
    batch = torch.randint(len(pairs[0]), (recipe.batch,))
    rows, meanings = pairs[0][batch], pairs[1][batch]
    said = F.normalize(model.said(rows + 0.01 * torch.randn_like(rows)), dim=-1)
    meant = F.normalize(model.meant(meanings), dim=-1)
    same = meanings @ meanings.T > 0.98
    return contrast(recipe.pair_scale * said @ meant.T, same)


def _moved(now: Tensor, before: Tensor) -> Tensor:
    """How far the class names' cosines with each other have moved."""
    moved: Tensor = ((now @ now.T - before @ before.T) ** 2).mean()
    return moved
