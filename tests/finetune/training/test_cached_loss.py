"""Gradients of a batch in mini-batches are those of the whole batch."""

from __future__ import annotations

import pytest
import torch
from accelerate.utils import send_to_device
from torch.nn import functional as F


@pytest.mark.parametrize(
    ("family", "form", "again"),
    [("vlm2vec-qwen2vl", "V2", False), ("mme5", None, False), ("e5v", None, True)],
)
def test_mini_batches_with_dropout_equal_one_graph(
    training_setup, gradients, contrast, step_of, family, form, again
):
    """Also where activations are computed again (`checkpointing`)."""
    model, wrapped, pairs = training_setup(family, lora={"dropout": 0.2}, checkpointing=again)
    step = step_of(pairs, family=family, form=form, tokens=64)
    assert len(step["mini_batches"].batches) >= 3
    loss = contrast(pairs, wrapped, temperature=0.1)
    torch.manual_seed(7)
    cached = loss(step)
    pieces = gradients(model, cached * 4)
    torch.manual_seed(7)
    rows = torch.cat(
        [wrapped(dict(part))["sentence_embedding"] for part in step["mini_batches"].batches]
    )
    plain = loss.loss_of_rows(rows, step)
    whole = gradients(model, plain * 4)
    assert cached.item() == plain.item()
    assert pieces.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-4, atol=1e-7, msg=name)
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 1e-4
    torch.manual_seed(8)
    assert loss(step).item() != cached.item()  # other dropout masks


def test_mini_batch_size_does_not_matter_without_dropout(
    training_setup, gradients, contrast, step_of
):
    model, wrapped, pairs = training_setup("vlm2vec-qwen2vl", lora={"dropout": 0})
    loss = contrast(pairs, wrapped, temperature=0.1)
    steps = [
        step_of(pairs, family="vlm2vec-qwen2vl", form="V2", tokens=tokens)
        for tokens in (1, 40, 4096)
    ]
    assert len({len(step["mini_batches"].batches) for step in steps}) == 3
    first, *others = [gradients(model, loss(step)) for step in steps]
    for other in others:
        for name, gradient in first.items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_one_graph_equals_plain_torch(training_setup, gradients, contrast, step_of):
    """Token by token: the tiny model's states, cosine, cross-entropy over positives and hard
    negatives, as E5-V's paper has it."""
    model, wrapped, pairs = training_setup("e5v", lora={"dropout": 0})
    step = step_of(pairs, tokens=100_000)
    loss = contrast(pairs, wrapped, temperature=0.05)
    ours = gradients(model, loss(step))
    backbone = model.backbone

    def embedded(side, role):
        ids = torch.tensor([backbone.prepare(side.to_input(), role, None).ids])
        return model.module(input_ids=ids).last_hidden_state[0, -1]

    queries = torch.stack([embedded(pair.query, "query") for pair in pairs])
    documents = [pair.positive for pair in pairs] + [n for pair in pairs for n in pair.negatives]
    found = torch.stack([embedded(side, "document") for side in documents])
    scores = F.cosine_similarity(queries[:, None], found[None], dim=2) / 0.05
    by_hand = gradients(model, F.cross_entropy(scores, torch.arange(len(pairs))))
    for name, gradient in by_hand.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_mme5_mini_batches_do_not_mix_images_and_texts(mixed, step_of, model):
    pairs = [pair for pair in mixed if not pair.query.instruction]
    step = step_of(pairs, family="mme5", tokens=100_000)
    token = model("mme5").backbone.architecture.image_token
    rows = {"pixel_values" in part: 0 for part in step["mini_batches"].batches}
    for part in step["mini_batches"].batches:
        seen = (part["ids"] == token).sum(1)
        assert set(seen.tolist()) == {int("pixel_values" in part)}
        rows["pixel_values" in part] += len(seen)
    assert rows == {True: 5, False: 2}


def test_repeated_inputs_are_computed_once(texts, step_of):
    step = step_of([texts[0], texts[0], texts[1]], hard="none")
    assert sum(len(part["ids"]) for part in step["mini_batches"].batches) == 4
    assert step["queries"][0] == step["queries"][1] != step["queries"][2]


def test_mini_batches_stay_in_main_memory(texts, step_of):
    """The trainer moves the indices of a step to the device, and not its images."""
    step = send_to_device(step_of(texts[:3]), "meta")
    assert step["queries"].device.type == step["owners"].device.type == "meta"
    assert {part["ids"].device.type for part in step["mini_batches"].batches} == {"cpu"}
