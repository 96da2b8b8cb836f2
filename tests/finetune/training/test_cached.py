"""Gradients of a batch in pieces are those of the whole batch."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

from embedder.types import Settings
from finetune.training.models import trainable
from finetune.training.module import Adapted

CASES = {
    "vlm2vec-qwen2vl": ("V2", "vlm2vec", "mixed"),
    "mme5": (None, "mme5", "mixed"),
    "e5v": (None, "e5v-text", "texts"),
}


@pytest.fixture
def about(recipe, tmp_path, texts, mixed):
    """`about(family, **changes)`: a model in training, and pairs for it."""

    def make(family: str, **changes):
        form, preset, kind = CASES[family]
        if kind == "mixed":
            pairs = [pair for pair in mixed if not pair.query.instruction]
        else:
            pairs = texts[:6]
        told = recipe(preset, family, form, **{"checkpointing": False, **changes})
        torch.manual_seed(3)
        model = trainable(told, Settings(device="cpu"), tmp_path)
        for name, weight in model.module.named_parameters():
            if "lora_B" in name:  # zero at first, and with it the gradient of lora_A
                torch.nn.init.normal_(weight, std=0.1)
        wrapped = SentenceTransformer(modules=[Adapted(model)], device="cpu").train()
        return model, wrapped, pairs

    return make


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.module.zero_grad()
    loss.backward()
    trained = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    assert trained and all(parameter.grad is not None for parameter in trained.values())
    return {name: parameter.grad.clone() for name, parameter in trained.items()}


@pytest.mark.parametrize(
    ("family", "checkpointing"), [*((family, False) for family in CASES), ("e5v", True)]
)
def test_in_pieces_with_dropout_as_in_one_graph(about, contrast, step_of, family, checkpointing):
    model, wrapped, pairs = about(family, lora={"dropout": 0.2}, checkpointing=checkpointing)
    step = step_of(pairs, family=family, form=CASES[family][0], tokens=64)
    assert len(step["parts"]) >= 3
    loss = contrast(pairs, wrapped, temperature=0.1)
    torch.manual_seed(7)
    cached = loss(step)
    pieces = gradients(model, cached)
    torch.manual_seed(7)
    rows = torch.cat([wrapped(dict(part))["sentence_embedding"] for part in step["parts"]])
    plain = loss.of(rows, step)
    whole = gradients(model, plain)
    assert cached.item() == plain.item()
    assert pieces.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-4, atol=1e-7, msg=name)
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 1e-4
    torch.manual_seed(8)
    assert loss(step).item() != cached.item()  # dropout fell otherwise


def test_pieces_do_not_matter_without_dropout(about, contrast, step_of):
    model, wrapped, pairs = about("vlm2vec-qwen2vl", lora={"dropout": 0})
    loss = contrast(pairs, wrapped, temperature=0.1)
    steps = [
        step_of(pairs, family="vlm2vec-qwen2vl", form="V2", tokens=tokens)
        for tokens in (1, 40, 4096)
    ]
    assert len({len(step["parts"]) for step in steps}) == 3
    first, *others = [gradients(model, loss(step)) for step in steps]
    for other in others:
        for name, gradient in first.items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_one_graph_is_torch_by_hand(about, contrast, step_of):
    """Token by token: the tiny model's states, cosine, cross-entropy over positives and hard
    negatives, as E5-V's paper has it."""
    model, wrapped, pairs = about("e5v", lora={"dropout": 0})
    step = step_of(pairs, tokens=100_000)
    loss = contrast(pairs, wrapped, temperature=0.05)
    ours = gradients(model, loss(step))
    backbone = model.backbone

    def embedded(side, role):
        ids = torch.tensor([backbone.prepare(side.input(), role, None).ids])
        return model.module(input_ids=ids).last_hidden_state[0, -1]

    queries = torch.stack([embedded(pair.query, "query") for pair in pairs])
    documents = [pair.positive for pair in pairs] + [n for pair in pairs for n in pair.negatives]
    found = torch.stack([embedded(side, "document") for side in documents])
    scores = F.cosine_similarity(queries[:, None], found[None], dim=2) / 0.05
    by_hand = gradients(model, F.cross_entropy(scores, torch.arange(len(pairs))))
    for name, gradient in by_hand.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_pictures_and_texts_never_share_a_batch_of_mme5(mixed, step_of, model):
    pairs = [pair for pair in mixed if not pair.query.instruction]
    step = step_of(pairs, family="mme5", tokens=100_000)
    token = model("mme5").backbone.architecture.image_token
    rows = {"pixel_values" in part: 0 for part in step["parts"]}
    for part in step["parts"]:
        seen = (part["ids"] == token).sum(1)
        assert set(seen.tolist()) == {int("pixel_values" in part)}
        rows["pixel_values" in part] += len(seen)
    assert rows == {True: 5, False: 2}


def test_what_a_batch_holds_twice_is_computed_once(texts, step_of):
    step = step_of([texts[0], texts[0], texts[1]], hard="none")
    assert sum(len(part["ids"]) for part in step["parts"]) == 4
    assert step["queries"][0] == step["queries"][1] != step["queries"][2]
