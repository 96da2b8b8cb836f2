"""Rows of all processes, where torchrun has started several."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F  # noqa: N812


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_gather_variable(rows: Tensor) -> Tensor:
    """(n, ...) rows -> those of all processes, in their order; gradients flow to one's own only.

    Processes may have different numbers of rows.
    """
    if world_size() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    most = int(max(counts))
    padding = [0, 0] * (rows.dim() - 1) + [0, most - len(rows)]
    padded = F.pad(rows.detach(), padding).contiguous()
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    whole = [part[: int(count)] for part, count in zip(parts, counts, strict=True)]
    whole[dist.get_rank()] = rows
    return torch.cat(whole)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether it holds in any process."""
    if world_size() == 1:
        return flag
    found = torch.tensor([int(flag)], device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each process's gradients by their mean; one that has none counts as zeros."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()
