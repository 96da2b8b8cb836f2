"""Trains the head: images with their words, and words of any language with their meaning.

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
class HeadConfig:
    """The hyperparameters; docs/starter.md has the contribution of each part."""

    steps: int = 600
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    noise: float = 0.3  # on whitened features, in standard deviations
    branch_dropout: float = 0.15  # either branch of the image vector
    noun_dropout: float = 0.3  # of a text's nouns: the tower must learn to do without
    pair_scale: float = 20.0  # of the text-text loss; 1 / temperature
    geometry_weight: float = 100.0  # weight of keeping the class names' geometry
    conse_weight: float = 1.5
    conse_exponent: float = 0.5  # of an image's distance from the training images
    noun_weight: float = 2.0  # of a text's nouns beside the text itself
    temperature: float = 1.75  # of the softmax of the towers' mean logits
    hypernym_decay: float = 0.45  # weight of a class's hypernym, per step away
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Whitened features (n, 768), class probabilities (n, 1000), concept numbers (n,), and for
    each image the rows and probabilities of its texts."""

    features: Tensor
    probabilities: Tensor
    concept_ids: Tensor
    texts: Sequence[tuple[NDArray[np.int64], Array]]


@dataclass(frozen=True, slots=True)
class CaptionFeatures:
    """`embedder.families.starter.text_tower.TextFeatures` of t texts, in torch."""

    text: Tensor
    translation: Tensor
    nouns: Tensor

    def __getitem__(self, rows: Tensor) -> CaptionFeatures:
        return CaptionFeatures(self.text[rows], self.translation[rows], self.nouns[rows])


class HeadModule(nn.Module):
    """The head in torch; `embedder.families.starter.model.ProjectionHead` is the same in numpy."""

    def __init__(self, classes: Tensor, config: HeadConfig) -> None:
        super().__init__()
        self.text_map = nn.Linear(DIM, DIM)  # of the tower's rows
        self.noun_map = nn.Linear(DIM, DIM, bias=False)
        nn.init.eye_(self.noun_map.weight)
        self.class_meanings = classes  # (1000, 384) meanings
        self.class_mean, self.center = torch.zeros(DIM), torch.zeros(DIM)
        self.hidden, self.out = nn.Linear(2 * DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
        self.drop = nn.Dropout(0.3)
        self.scale = nn.Parameter(torch.tensor(3.0))  # log(1 / temperature)
        self.config = config

    def text(self, captions: CaptionFeatures) -> Tensor:
        text = F.normalize(self.text_map(captions.text), dim=-1)
        known = captions.translation.any(1, keepdim=True)
        combined = F.normalize(
            text + known * F.normalize(self.text_map(captions.translation), dim=-1), dim=-1
        )
        nouns = F.normalize(self.noun_map(captions.nouns), dim=-1)
        both = F.normalize(combined + self.config.noun_weight * nouns, dim=-1)
        return F.normalize(both - self.center, dim=-1)  # (n, 384)

    def class_vectors(self) -> Tensor:
        return F.normalize(self.noun_map(self.class_meanings), dim=-1)  # (1000, 384)

    def image(self, features: Tensor, probabilities: Tensor) -> Tensor:
        classes = probabilities @ self.class_vectors()  # (n, 384)
        mean = classes.mean(0) if self.training else self.class_mean
        classes = F.normalize(classes - mean, dim=-1)
        image = F.normalize(self.out(self.drop(self.hidden(features).relu())), dim=-1)
        if self.training:
            chance = torch.rand(len(features), 1)
            image = image * (chance > self.config.branch_dropout)
            classes = classes * (chance < 1 - self.config.branch_dropout)
        distance = features.square().mean(1, keepdim=True).clamp(min=1)
        weight = self.config.conse_weight * distance**self.config.conse_exponent
        return F.normalize(image + weight * classes, dim=-1)


def train_module(
    examples: Examples,
    captions: CaptionFeatures,
    pairs: tuple[Tensor, Tensor],
    classes: Tensor,
    config: HeadConfig,
    on_step: Callable[[int, float], None],
) -> HeadModule:
    """`captions` are the images' texts; `pairs` (p, 384) each: texts of any language as the
    tower gives them, and what they mean."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    model = HeadModule(classes, config)
    with torch.no_grad():
        model.text_map.weight.copy_(torch.linalg.lstsq(*pairs).solution.T)
        model.text_map.bias.zero_()
    start = model.class_vectors().detach()
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [*model.text_map.parameters(), *model.noun_map.parameters(), model.scale],
                "weight_decay": 0.0,
            },
            {
                "params": [*model.hidden.parameters(), *model.out.parameters()],
                "weight_decay": config.weight_decay,
            },
        ],
        lr=config.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, config.steps, pct_start=0.1
    )
    for step in range(config.steps):
        loss = (
            _image_loss(model, examples, captions, config, rng)
            + _pair_loss(model, pairs, config)
            + config.geometry_weight * _geometry_loss(model.class_vectors(), start)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(step + 1, float(loss.detach()))
    return _set_means(model, examples, captions)


def _set_means(model: HeadModule, examples: Examples, captions: CaptionFeatures) -> HeadModule:
    """The means that are subtracted: of images, and of texts.

    The second keeps an image that is near to everything from being near to each query.
    """
    model.eval()
    with torch.no_grad():
        model.class_mean = (examples.probabilities @ model.class_vectors()).mean(0)
        model.center = model.text(captions).mean(0)
    return model


def contrastive_loss(logits: Tensor, same: Tensor) -> Tensor:
    """InfoNCE in both directions; `same` (n, n) is true where row and column match."""
    target = same.float() / same.float().sum(1, keepdim=True)
    there = -(target * logits.log_softmax(1)).sum(1).mean()
    back = -(target * logits.T.log_softmax(1)).sum(1).mean()
    return there + back


def _image_loss(
    model: HeadModule,
    examples: Examples,
    captions: CaptionFeatures,
    config: HeadConfig,
    rng: np.random.Generator,
) -> Tensor:
    chosen = rng.choice(len(examples.features), min(config.batch, len(examples.features)), False)
    texts = torch.as_tensor(
        [rng.choice(ids, p=odds) for ids, odds in (examples.texts[i] for i in chosen)]
    )
    batch = torch.as_tensor(chosen)
    noise = config.noise * torch.randn(len(batch), examples.features.shape[1])
    noisy = examples.features[batch] + noise * (torch.rand(len(batch), 1) < 0.7)
    image = model.image(noisy, examples.probabilities[batch])  # (b, 384)
    batch_captions = captions[texts]
    said = batch_captions.text + 0.01 * torch.randn(len(batch), DIM)
    meant = batch_captions.nouns * (torch.rand(len(batch), 1) > config.noun_dropout)
    text = model.text(CaptionFeatures(said, batch_captions.translation, meant))  # (b, 384)
    concepts = examples.concept_ids[batch]
    scale = model.scale.exp().clamp(max=40)
    return contrastive_loss(scale * image @ text.T, concepts[:, None] == concepts[None])


def _pair_loss(model: HeadModule, pairs: tuple[Tensor, Tensor], config: HeadConfig) -> Tensor:
    """A text alone must be close to its meaning."""
    batch = torch.randint(len(pairs[0]), (config.batch,))
    rows, meanings = pairs[0][batch], pairs[1][batch]
    said = F.normalize(model.text_map(rows + 0.01 * torch.randn_like(rows)), dim=-1)
    meant = F.normalize(model.noun_map(meanings), dim=-1)
    same = meanings @ meanings.T > 0.98
    return contrastive_loss(config.pair_scale * said @ meant.T, same)


def _geometry_loss(now: Tensor, before: Tensor) -> Tensor:
    """How far the class names' cosines with each other have changed."""
    moved: Tensor = ((now @ now.T - before @ before.T) ** 2).mean()
    return moved
