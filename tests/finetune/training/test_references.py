"""Our one loss against the papers' three, as their authors' code computed them.

None of the recorded tensors repeats, so what only we leave out, known positives and documents that
a batch holds twice, does not come into it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from finetune.training.presets import PRESETS

RECORDED = json.loads((Path(__file__).parent / "reference" / "losses.json").read_text())
SIDES = ("queries", "positives", "negatives")


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.tensor(RECORDED[name]) for name in SIDES}


def step(count: int, owners: list[int]) -> dict[str, torch.Tensor]:
    """Queries, positives and hard negatives in this order, with different contents."""
    total = 2 * count + len(owners)
    return {
        "queries": torch.arange(count),
        "documents": torch.arange(count, total),
        "owners": torch.tensor(owners, dtype=torch.int64),
        "query_keys": torch.arange(1, count + 1),
        "document_keys": torch.arange(count + 1, total + 1),
        "items": torch.zeros(count, dtype=torch.int64),
    }


@pytest.mark.parametrize("preset", ["e5v", "vlm2vec", "mme5"])
def test_losses_and_gradients_equal_the_authors(contrast, tensors, preset):
    recipe, recorded = PRESETS[preset], RECORDED[preset]
    each = {"e5v": 1, "vlm2vec": 0, "mme5": 2}[preset]  # hard negatives that a query has
    count = len(tensors["queries"])
    used = torch.tensor([2 * row + n for row in range(count) for n in range(each)], dtype=int)
    negatives = tensors["negatives"][used]
    rows = torch.cat([tensors["queries"], tensors["positives"], negatives]).requires_grad_()
    owners = [row for row in range(count) for _ in range(each)]
    options = {"temperature": recipe.temperature, "hard_negatives": recipe.hard_negatives}
    loss = contrast(**options).loss_of_rows(rows, step(count, owners))
    assert loss.item() == pytest.approx(recorded["loss"], rel=1e-5)
    loss.backward()
    expected = [torch.tensor(recorded[name]) for name in SIDES]
    expected[2] = expected[2][used]
    torch.testing.assert_close(rows.grad, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_the_references_differ(tensors):
    """Each paper's candidates matter: no two losses are alike, nor is a gradient without use."""
    losses = [RECORDED[preset]["loss"] for preset in ("e5v", "vlm2vec", "mme5")]
    assert min(abs(a - b) for i, a in enumerate(losses) for b in losses[:i]) > 0.01
    assert torch.tensor(RECORDED["vlm2vec"]["negatives"]).abs().max() == 0
    assert torch.tensor(RECORDED["mme5"]["negatives"]).abs().sum(1).min() > 0
