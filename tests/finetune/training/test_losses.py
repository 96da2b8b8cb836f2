"""The loss on tensors for which it is known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from finetune.training.losses import info_nce

EVERY = torch.ones(4, 4, dtype=torch.bool)


def test_zero_embeddings():
    nothing = torch.zeros(4, 8)
    assert info_nce(nothing, nothing, EVERY, 0.02).item() == pytest.approx(math.log(4))
    some = EVERY.clone()
    some[0, 1:3] = False  # two candidates, for the others four
    expected = (math.log(2) + 3 * math.log(4)) / 4
    assert info_nce(nothing, nothing, some, 0.02).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.02, 0.05, 1.0])
def test_orthogonal_embeddings(temperature):
    unit = torch.eye(4, 8)
    expected = math.log(math.exp(1 / temperature) + 3) - 1 / temperature
    loss = info_nce(unit, unit, EVERY, temperature)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert info_nce(unit * 7, unit * 0.1, EVERY, temperature).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_swapped_positives():
    unit = torch.eye(2)
    expected = math.log(1 + math.exp(1 / 0.05))
    loss = info_nce(unit, unit.flip(0), EVERY[:2, :2], 0.05)
    assert loss.item() == pytest.approx(expected)


def test_masked_documents_do_not_count():
    torch.manual_seed(0)
    queries, documents = torch.randn(4, 8), torch.randn(4, 8, requires_grad=True)
    without_last = EVERY.clone()
    without_last[:3, 3] = False
    loss = info_nce(queries[:3], documents, without_last[:3], 0.05)
    three = info_nce(queries[:3], documents[:3], EVERY[:3, :3], 0.05)
    assert loss.item() == pytest.approx(three.item(), abs=1e-6)
    loss.backward()
    assert not documents.grad[3].any()
    assert documents.grad[:3].abs().sum(1).min() > 0


def test_a_single_candidate_gives_no_gradient():
    queries = torch.randn(4, 8, requires_grad=True)
    documents = torch.cat([torch.randn(3, 8), torch.zeros(1, 8)]).requires_grad_()
    loss = info_nce(queries, documents, torch.eye(4, dtype=torch.bool), 0.02)
    loss.backward()
    assert loss.item() == 0
    assert queries.grad.abs().max() == documents.grad.abs().max() == 0


def test_truncated_dims_have_equal_weights():
    """Of the unit vectors of four dimensions, cut to two, the last two are zero."""
    unit, temperature = torch.eye(4), 0.1
    whole = math.log(math.exp(10) + 3) - 10
    cut = (2 * whole + 2 * math.log(4)) / 4
    loss = info_nce(unit, unit, EVERY, temperature, [2, 4])
    assert loss.item() == pytest.approx((cut + whole) / 2)


def test_symmetric_loss(contrast, step_of, texts):
    """Both queries match the first document, which is irrelevant to the second."""
    step = step_of(texts[:1] + texts[3:4], hard="none")
    rows = torch.zeros(4, 3)
    rows[step["queries"]] = torch.tensor([[1.0, 0, 0], [1, 0, 0]])
    rows[step["documents"]] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    forward = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    one_way = contrast(temperature=0.5, hard_negatives="none").loss_of_rows(rows, step)
    assert one_way.item() == pytest.approx(forward)
    both = contrast(temperature=0.5, hard_negatives="none", both_ways=True).loss_of_rows(rows, step)
    assert both.item() == pytest.approx((forward + math.log(2)) / 2)


def test_matryoshka_dims_beside_the_full_dim(contrast, step_of, texts):
    step = step_of(texts[:4], hard="none")
    torch.manual_seed(1)
    rows = torch.randn(8, 6)
    queries, documents = (normalize(rows[step[side]]) for side in ("queries", "documents"))
    cut = [
        contrast_by_hand(normalize(queries[:, :n]), normalize(documents[:, :n])) for n in (2, 3, 6)
    ]
    loss = contrast(temperature=1.0, hard_negatives="none", matryoshka=(2, 3)).loss_of_rows(
        rows, step
    )
    assert loss.item() == pytest.approx(sum(cut) / 3, abs=1e-6)


def contrast_by_hand(queries, documents) -> float:
    scores = (queries @ documents.T).exp()
    return float((scores.sum(1) / scores.diagonal()).log().mean())
