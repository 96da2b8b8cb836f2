"""The starter's head in torch: what `ProjectionHead` computes, with gradients.

A head that learns a new domain must not forget the rest, whose pictures are not at hand. So it is
asked what it makes of noise, and that must stay what it was: learning without forgetting (Li and
Hoiem 2016, https://arxiv.org/abs/1606.09282), with noise for pictures. Whitened features of many
pictures look much like it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from embedder.families.starter.family import ProjectionHead
from embedder.families.starter.text_tower import DIM

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
"""What is trained, and how fast beside the learning rate: texts hold the languages together, and
have learned from more than a collection has."""

FROZEN = ("text.centre", "conse.weight", "words.weight")
NUM_FEATURES = 768
NOISE_STD = 0.6  # on whitened features, in standard deviations
NOISE_ROWS = 512  # rows of noise a step
IMAGE_PENALTY, TEXT_PENALTY = 20.0, 100.0  # what it costs to take noise for something else


class StarterModule(nn.Module):
    """Its parameters are steps away from the head that it began with, so that weight decay leads
    back there (L2-SP, Li et al. 2018, https://arxiv.org/abs/1802.01483)."""

    def __init__(self, head: ProjectionHead) -> None:
        super().__init__()
        for name in (*RATE_SCALES, *FROZEN):
            self.register_buffer(_parameter_name(name), torch.from_numpy(head[name].copy()))
        self.deltas = nn.ParameterDict(
            {
                _parameter_name(name): nn.Parameter(torch.zeros(head[name].shape))
                for name in RATE_SCALES
            }
        )

    def forward(
        self,
        count: int,
        text_rows: Tensor,
        heard: Tensor,
        picture_rows: Tensor,
        seen: Tensor,
        shares: Tensor,
    ) -> Tensor:
        """(count, 384): to a row, the unit row of its text is added, and the mean of its pictures'.

        `heard` (t, 3, 384) of the texts in the rows `text_rows` (t,); `seen` (p, 1152) of the
        pictures in the rows `picture_rows` (p,), each of which counts `shares` (p,).
        """
        rows = heard.new_zeros(count, DIM)
        rows = rows.index_add(0, text_rows, self.encode_text(heard))
        return rows.index_add(0, picture_rows, self.encode_image(seen) * shares[:, None])

    def encode_text(self, features: Tensor) -> Tensor:
        """(n, 3, 384), the parts of `Heard`, -> (n, 384) unit rows, as `Head.text`."""
        return self._project_texts(self._current_weights(), features)

    def encode_image(self, rows: Tensor) -> Tensor:
        """(n, 1152), whitened features and `Head.named`, -> (n, 384) unit rows, as `Head.image`;
        in training, of noisy features."""
        features, named = rows[:, :NUM_FEATURES], rows[:, NUM_FEATURES:]
        if self.training:
            features = features + NOISE_STD * torch.randn_like(features)
        sight = _project_images(self._current_weights(), features)
        return _normalize(sight + self._initial_weights()["conse.weight"] * named)

    def forgetting_penalty(self) -> Tensor:
        """What it costs that noise looks and sounds otherwise than at first; a scalar."""
        features, heard = (
            torch.randn(NOISE_ROWS, NUM_FEATURES),
            _normalize(torch.randn(NOISE_ROWS, 3, DIM)),
        )
        now, before = self._current_weights(), self._initial_weights()
        sight = _mean_cosine_distance(
            _project_images(now, features), _project_images(before, features)
        )
        words = _mean_cosine_distance(
            self._project_texts(now, heard), self._project_texts(before, heard)
        )
        return IMAGE_PENALTY * sight + TEXT_PENALTY * words

    def trained_weights(self) -> dict[str, Array]:
        """What was trained, as `Head` has it, float32."""
        now = self._current_weights()
        return {name: now[name].detach().numpy() for name in RATE_SCALES}

    def restore(self, head: ProjectionHead) -> None:
        """Go where `head` is; what it began with stays."""
        before = self._initial_weights()
        with torch.no_grad():
            for name, pace in RATE_SCALES.items():
                moved = (torch.from_numpy(head[name].copy()) - before[name]) / pace
                self.deltas[_parameter_name(name)].copy_(moved)

    def _initial_weights(self) -> Weights:
        return {name: self.get_buffer(_parameter_name(name)) for name in (*RATE_SCALES, *FROZEN)}

    def _current_weights(self) -> Weights:
        before = self._initial_weights()
        moved = {
            n: before[n] + pace * self.deltas[_parameter_name(n)] for n, pace in RATE_SCALES.items()
        }
        return {**before, **moved}

    def _project_texts(self, weights: Weights, features: Tensor) -> Tensor:
        mapped = features[:, :2] @ weights["text.map"] + weights["text.bias"]  # (n, 2, 384)
        said, english = _normalize(mapped).unbind(1)
        meant = _normalize(features[:, 2] @ weights["words.map"])
        known = features[:, 1].any(1, keepdim=True)
        told = _normalize(_normalize(said + known * english) + weights["words.weight"] * meant)
        return _normalize(told - weights["text.centre"])


def _project_images(weights: Weights, features: Tensor) -> Tensor:
    hidden = F.linear(features, weights["image.0.weight"], weights["image.0.bias"]).relu()
    return _normalize(F.linear(hidden, weights["image.1.weight"], weights["image.1.bias"]))


def _mean_cosine_distance(now: Tensor, before: Tensor) -> Tensor:
    """The mean of 1 - cosine over unit rows."""
    return 1 - (now * before.detach()).sum(1).mean()


def _normalize(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=-1)


def _parameter_name(name: str) -> str:
    """A name that torch takes."""
    return name.replace(".", "_")
