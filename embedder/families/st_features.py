"""Features of single inputs -> features of a batch, as if they had been prepared together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IDS = "input_ids"


def joined(features: Sequence[dict[str, Any]], tokenizer: Any) -> dict[str, Any]:
    """What runs along the tokens, (1, length), is padded on the tokenizer's side; other tensors are
    put one after the other; what is no tensor is the same in all."""
    import torch

    out: dict[str, Any] = {}
    for name, first in features[0].items():
        values = [one[name] for one in features]
        if not isinstance(first, torch.Tensor):
            out[name] = first
        elif IDS in features[0] and first.shape == features[0][IDS].shape:
            fill = tokenizer.pad_token_id if name == IDS else 0
            out[name] = _padded(values, fill, left=tokenizer.padding_side == "left")
        else:
            out[name] = torch.cat(values)
    return out


def _padded(rows: Sequence[torch.Tensor], fill: int, *, left: bool) -> torch.Tensor:
    """(1, length) each -> (n, longest)."""
    import torch

    longest = max(row.shape[1] for row in rows)
    out = torch.full((len(rows), longest), fill, dtype=rows[0].dtype)
    for index, row in enumerate(rows):
        length = row.shape[1]
        out[index, longest - length if left else 0 : longest if left else length] = row[0]
    return out
