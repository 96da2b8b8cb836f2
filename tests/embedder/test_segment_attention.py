"""Segments of one length attend in one call, each as it would alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from embedder.vlm.qwen2_vl import attend_segments, group_segments


@pytest.mark.parametrize("lengths", [[4, 4, 7, 1, 4], [5], [3, 0, 3]])
def test_segments_attend_only_within_themselves(lengths):
    torch.manual_seed(0)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    query, key, value = torch.randn(3, 1, 2, sum(lengths), 8)
    out = attend_segments(query, key, value, group_segments(bounds), 0.3)
    for start, end in pairwise(bounds.tolist()):
        part = [tensor[:, :, start:end] for tensor in (query, key, value)]
        alone = scaled_dot_product_attention(*part, scale=0.3).transpose(1, 2)
        torch.testing.assert_close(out[:, start:end], alone)


def test_segments_are_grouped_by_length():
    bounds = torch.tensor([0, 4, 8, 15, 16, 20])
    assert sorted(tuple(rows.shape) for rows in group_segments(bounds)) == [(1, 1), (1, 7), (3, 4)]


@pytest.mark.parametrize("form", [("vlm2vec-qwen2vl", "V2"), ("vlm2vec-qwen25vl", "V2")])
def test_a_vision_tower_makes_few_attention_calls(model, monkeypatch, form):
    """tests/embedder/test_parity.py checks its values."""
    import tiny

    from embedder.types import Input

    calls = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def counted(*args, **options):
        calls.append(args[0].shape)
        return plain(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    picture = Input(images=(tiny.picture("large"),))
    model(*form).embed([picture] * 3, "document")
    body = model(*form).backbone.model
    layers = len(body.visual.blocks) + len(body.language_model.layers)
    assert len(calls) <= 3 * layers
