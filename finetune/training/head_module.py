"""The starter's head in torch: what `embedder.starter.Head` computes, with gradients.

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

from embedder.starter import Head
from embedder.starter_text import DIM

Array = NDArray[np.float32]
Weights = Mapping[str, Tensor]

PACES: Mapping[str, float] = {
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

FIXED = ("text.centre", "conse.weight", "words.weight")
FEATURES = 768
NOISE = 0.6  # on whitened features, in standard deviations
PROBES = 512  # rows of noise a step
KEEP_SIGHT, KEEP_WORDS = 20.0, 100.0  # what it costs to take noise for something else


class HeadModule(nn.Module):
    """Its parameters are steps away from the head that it began with, so that weight decay leads
    back there (L2-SP, Li et al. 2018, https://arxiv.org/abs/1802.01483)."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        for name in (*PACES, *FIXED):
            self.register_buffer(_plain(name), torch.from_numpy(head[name].copy()))
        self.steps = nn.ParameterDict(
            {_plain(name): nn.Parameter(torch.zeros(head[name].shape)) for name in PACES}
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
        rows = rows.index_add(0, text_rows, self.text(heard))
        return rows.index_add(0, picture_rows, self.image(seen) * shares[:, None])

    def text(self, heard: Tensor) -> Tensor:
        """(n, 3, 384), the parts of `Heard`, -> (n, 384) unit rows, as `Head.text`."""
        return self._told(self._now(), heard)

    def image(self, seen: Tensor) -> Tensor:
        """(n, 1152), whitened features and `Head.named`, -> (n, 384) unit rows, as `Head.image`;
        in training, of noisy features."""
        features, named = seen[:, :FEATURES], seen[:, FEATURES:]
        if self.training:
            features = features + NOISE * torch.randn_like(features)
        sight = _perceived(self._now(), features)
        return _unit(sight + self._before()["conse.weight"] * named)

    def forgotten(self) -> Tensor:
        """What it costs that noise looks and sounds otherwise than at first; a scalar."""
        features, heard = torch.randn(PROBES, FEATURES), _unit(torch.randn(PROBES, 3, DIM))
        now, before = self._now(), self._before()
        sight = _apart(_perceived(now, features), _perceived(before, features))
        words = _apart(self._told(now, heard), self._told(before, heard))
        return KEEP_SIGHT * sight + KEEP_WORDS * words

    def trained(self) -> dict[str, Array]:
        """What was trained, as `Head` has it, float32."""
        now = self._now()
        return {name: now[name].detach().numpy() for name in PACES}

    def restore(self, head: Head) -> None:
        """Go where `head` is; what it began with stays."""
        before = self._before()
        with torch.no_grad():
            for name, pace in PACES.items():
                moved = (torch.from_numpy(head[name].copy()) - before[name]) / pace
                self.steps[_plain(name)].copy_(moved)

    def _before(self) -> Weights:
        return {name: self.get_buffer(_plain(name)) for name in (*PACES, *FIXED)}

    def _now(self) -> Weights:
        before = self._before()
        moved = {n: before[n] + pace * self.steps[_plain(n)] for n, pace in PACES.items()}
        return {**before, **moved}

    def _told(self, weights: Weights, heard: Tensor) -> Tensor:
        mapped = heard[:, :2] @ weights["text.map"] + weights["text.bias"]  # (n, 2, 384)
        said, english = _unit(mapped).unbind(1)
        meant = _unit(heard[:, 2] @ weights["words.map"])
        known = heard[:, 1].any(1, keepdim=True)
        told = _unit(_unit(said + known * english) + weights["words.weight"] * meant)
        return _unit(told - weights["text.centre"])


def _perceived(weights: Weights, features: Tensor) -> Tensor:
    hidden = F.linear(features, weights["image.0.weight"], weights["image.0.bias"]).relu()
    return _unit(F.linear(hidden, weights["image.1.weight"], weights["image.1.bias"]))


def _apart(now: Tensor, before: Tensor) -> Tensor:
    """The mean of 1 - cosine over unit rows."""
    return 1 - (now * before.detach()).sum(1).mean()


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=-1)


def _plain(name: str) -> str:
    """A name that torch takes."""
    return name.replace(".", "_")
