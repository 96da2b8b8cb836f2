"""Joins the features of single inputs to those of a batch, as if prepared together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INPUT_IDS = "input_ids"


def collate_features(features: Sequence[dict[str, Any]], tokenizer: Any) -> dict[str, Any]:
    """Pad tensors of the shape of the ids, (1, length), on the tokenizer's side; concatenate other
    tensors; keep other values, which are the same in all."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    out: dict[str, Any] = {}
    for name, first in features[0].items():
        values = [one[name] for one in features]
        if not isinstance(first, torch.Tensor):
            out[name] = first
        elif INPUT_IDS in features[0] and first.shape == features[0][INPUT_IDS].shape:
            out[name] = pad_sequence(
                [value[0] for value in values],
                batch_first=True,
                padding_value=tokenizer.pad_token_id if name == INPUT_IDS else 0,
                padding_side=tokenizer.padding_side,
            )
        else:
            out[name] = torch.cat(values)
    return out
