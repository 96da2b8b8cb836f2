"""The starter's head in torch: what `ProjectionHead` computes, with gradients.

A head that learns a new domain must not forget the rest, whose images are not available. So its
output for noise must stay what it was: learning without forgetting (Li and Hoiem 2016,
https://arxiv.org/abs/1606.09282), with noise in place of images. Whitened features of many images
look much like noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from embedder.families.starter import DIM
from embedder.families.starter.model import ProjectionHead

Array = NDArray[np.float32]
Weights = Mapping[str, Tensor]

RATE_SCALES: Mapping[str, float] = {
    "image.0.weight": 1.0,
    "image.0.bias": 1.0,
    "image.1.weight": 1.0,
    "image.1.bias": 1.0,
    "text.map": 0.1,
    "text.bias": 0.1,
    "words.map": 0.1,
}
"""What is trained, with its share of the learning rate. The projections of texts hold the languages
together, and have learned from more data than a collection has."""

FROZEN = ("text.centre", "conse.weight", "conse.exponent", "words.weight")
NUM_FEATURES = 768
NOISE_STD = 0.6  # on whitened features, in standard deviations
NOISE_ROWS = 512  # in each step
IMAGE_PENALTY, TEXT_PENALTY = 20.0, 100.0


class StarterModule(nn.Module):
    """Its parameters are deltas from the initial head, so that weight decay leads back to it
    (L2-SP, Li et al. 2018, https://arxiv.org/abs/1802.01483)."""

    def __init__(self, head: ProjectionHead) -> None:
        super().__init__()
        self.initial: Weights = {
            name: torch.from_numpy(head[name].copy()) for name in (*RATE_SCALES, *FROZEN)
        }
        self.deltas = nn.ParameterDict(
            {_parameter_name(name): torch.zeros_like(self.initial[name]) for name in RATE_SCALES}
        )

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """(count, 384): the unit row of a text plus the mean of the unit rows of its images.

        `texts` (t, 3, 384) belong to the rows `text_rows` (t,), `images` (i, 1152) with the weights
        `shares` (i,) to the rows `image_rows` (i,).
        """
        texts = _project_texts(self._current_weights(), batch["texts"])
        images = self.encode_image(batch["images"])
        rows = texts.new_zeros(batch["count"], DIM)
        rows = rows.index_add(0, batch["text_rows"], texts)
        return rows.index_add(0, batch["image_rows"], images * batch["shares"][:, None])

    def encode_image(self, images: Tensor) -> Tensor:
        """(n, 1152) -> (n, 384) unit rows, as `ProjectionHead.project_image`; in training, noise is
        added to the features."""
        features, names = images[:, :NUM_FEATURES], images[:, NUM_FEATURES:]
        distance = features.square().mean(1, keepdim=True).clamp(min=1)
        if self.training:
            features = features + NOISE_STD * torch.randn_like(features)
        visual = _project_images(self._current_weights(), features)
        weight = self.initial["conse.weight"] * distance ** self.initial["conse.exponent"]
        return _normalize(visual + weight * names)

    def forgetting_penalty(self) -> Tensor:
        """How far the output for noise is from what it was at first; a scalar."""
        features = torch.randn(NOISE_ROWS, NUM_FEATURES)
        texts = _normalize(torch.randn(NOISE_ROWS, 3, DIM))
        now, before = self._current_weights(), self.initial
        images_moved = _cosine_distance(
            _project_images(now, features), _project_images(before, features)
        )
        texts_moved = _cosine_distance(_project_texts(now, texts), _project_texts(before, texts))
        return IMAGE_PENALTY * images_moved + TEXT_PENALTY * texts_moved

    def trained_weights(self) -> dict[str, Array]:
        """The trained weights under the names of `ProjectionHead`, float32."""
        weights = self._current_weights()
        return {name: weights[name].detach().numpy() for name in RATE_SCALES}

    def restore(self, head: ProjectionHead) -> None:
        """Move the deltas to where `head` is; the initial weights stay."""
        with torch.no_grad():
            for name, scale in RATE_SCALES.items():
                delta = (torch.from_numpy(head[name].copy()) - self.initial[name]) / scale
                self.deltas[_parameter_name(name)].copy_(delta)

    def _current_weights(self) -> Weights:
        current = {
            name: self.initial[name] + scale * self.deltas[_parameter_name(name)]
            for name, scale in RATE_SCALES.items()
        }
        return {**self.initial, **current}


def _project_texts(weights: Weights, texts: Tensor) -> Tensor:
    projected = texts[:, :2] @ weights["text.map"] + weights["text.bias"]  # (n, 2, 384)
    text, english = _normalize(projected).unbind(1)
    meaning = _normalize(texts[:, 2] @ weights["words.map"])
    has_english = texts[:, 1].any(1, keepdim=True)
    combined = _normalize(text + has_english * english) + weights["words.weight"] * meaning
    return _normalize(_normalize(combined) - weights["text.centre"])


def _project_images(weights: Weights, features: Tensor) -> Tensor:
    hidden = F.linear(features, weights["image.0.weight"], weights["image.0.bias"]).relu()
    return _normalize(F.linear(hidden, weights["image.1.weight"], weights["image.1.bias"]))


def _cosine_distance(now: Tensor, before: Tensor) -> Tensor:
    """The mean of 1 - cosine over unit rows."""
    return 1 - (now * before.detach()).sum(1).mean()


def _normalize(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=-1)


def _parameter_name(name: str) -> str:
    """A name that torch accepts."""
    return name.replace(".", "_")
