"""Record what the authors' own losses give on fixed tensors, with gradients.

    python record.py E5-V mmE5 VLM2Vec

Each is a checkout of the authors' repository: github.com/kongds/E5-V at bcefe73,
github.com/haon-chen/mmE5 at 4818cdf, github.com/TIGER-AI-Lab/VLM2Vec at 6e1e1d4. Their code runs as
it is; what it imports and the loss does not need, such as parts of older versions of transformers,
is left empty. Writes `losses.json`: `queries`, `positives`, `negatives` (two of each query, one
after the other), and under the name of each preset its `loss` and the gradients with respect to the
three.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

PAIRS, DIM = 5, 8
NAMES = ("queries", "positives", "negatives")
EMPTY = (
    *("fire", "bitsandbytes", "transformers.file_utils"),
    *("src.vlm_backbone", "src.vlm_backbone.phi3_v", "src.vlm_backbone.llava_next"),
    "src.vlm_backbone.phi3_v.modeling_phi3_v",
)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Rows(nn.Module):
    """Stands in for a model: the last state of a row of ids is the embedding of its last id."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows, self.config = rows, SimpleNamespace(hidden_size=DIM)

    def forward(self, input_ids: Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(hidden_states=[self.rows[input_ids]])


def e5v(folder: Path) -> Loss:
    """The loss inside `SentembTrainer.compute_loss` of ft_llm.py; one hard negative a query."""
    module = loaded(folder / "ft_llm.py", "ft_llm")
    trainer = SimpleNamespace(
        is_nli=True, use_neg_sentence=True, fix_attention_mask=False,
        tokenizer=SimpleNamespace(pad_token_id=0),
    )  # fmt: skip

    def loss(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        first = negatives[::2]
        ids = torch.arange(1, 3 * PAIRS + 1).view(3, PAIRS, 1)  # 0 is what is not attended to
        model = Rows(torch.cat([queries[:1] * 0, queries, positives, first]))
        inputs = {"input_ids": ids[0], "labels": ids[1], "attention_mask": ids[2]}
        return module.SentembTrainer.compute_loss(trainer, model, inputs)

    return loss


def mme5(folder: Path) -> Loss:
    """The loss inside `MMEBModel.forward` of src/model.py."""
    sys.path.insert(0, str(folder))
    module = importlib.import_module("src.model")

    def loss(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        parts = [queries, positives, negatives]
        model = module.MMEBModel(Rows(torch.cat(parts)), "last", True, 0.02)
        ids = torch.arange(4 * PAIRS)[:, None].split([len(part) for part in parts])
        return model(*({"input_ids": one, "attention_mask": torch.ones_like(one)} for one in ids))

    return loss


def vlm2vec(folder: Path) -> Loss:
    """`SimpleContrastiveLoss` of src/loss.py, of unit rows as the model gives them."""
    module = loaded(folder / "src" / "loss.py", "vlm2vec_loss")
    contrast = module.SimpleContrastiveLoss(temperature=0.02)
    return lambda queries, positives, _: contrast(normalize(queries), normalize(positives))


def loaded(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(loss: Loss, tensors: list[Tensor]) -> dict[str, object]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = loss(*leaves)
    value.backward()
    grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    return {"loss": value.item(), **dict(zip(NAMES, (g.tolist() for g in grads), strict=True))}


def draw_tensors() -> list[Tensor]:
    """Documents near enough to their queries for every candidate to count."""
    rng = np.random.default_rng(5)
    queries = rng.normal(size=(PAIRS, DIM))
    positives = queries + rng.normal(size=(PAIRS, DIM))
    negatives = queries.repeat(2, axis=0) + rng.normal(size=(2 * PAIRS, DIM)) * 1.3
    return [torch.tensor(rows.round(3)).float() for rows in (queries, positives, negatives)]


def main(folders: list[Path]) -> None:
    for name in EMPTY:
        sys.modules[name] = MagicMock()
    tensors = draw_tensors()
    makers = {"e5v": e5v, "mme5": mme5, "vlm2vec": vlm2vec}
    inputs = dict(zip(NAMES, (t.double().round(decimals=3).tolist() for t in tensors), strict=True))
    losses = {
        name: recorded(make(folder), tensors)
        for (name, make), folder in zip(makers.items(), folders, strict=True)
    }
    lines = [
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in {**inputs, **losses}.items()
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    Path(__file__).with_name("losses.json").write_text(text)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
