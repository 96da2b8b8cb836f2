"""The processes that torchrun has started, or this one alone: their devices and their rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from accelerate import PartialState
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F  # noqa: N812

from embedder.types import Settings
from finetune.errors import FinetuneError


def init_processes(settings: Settings, family: str) -> PartialState:
    """Set up the processes of a run for a model of `family`; raises `FinetuneError` for a device
    that a run cannot choose."""
    if settings.device not in (None, "cpu", "cuda"):
        raise FinetuneError(
            f"a run takes --device cpu or cuda, not {settings.device}; choose among GPUs with "
            "CUDA_VISIBLE_DEVICES=1 before the command, or use several with torchrun"
        )
    cpu = family == "starter" or settings.device == "cpu" or not torch.cuda.is_available()
    return PartialState(cpu=cpu)


def use_local_device(settings: Settings) -> Settings:
    """The settings with this process's own device."""
    return replace(settings, device=str(PartialState().device))


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_gather_variable(rows: Tensor) -> Tensor:
    """(n, ...) rows -> those of all processes, in their order; gradients flow to one's own only.

    The processes may have different numbers of rows.
    """
    if world_size() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    padding = [0, 0] * (rows.dim() - 1) + [0, int(max(counts)) - len(rows)]
    padded = F.pad(rows.detach(), padding).contiguous()
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    parts = [part[: int(count)] for part, count in zip(parts, counts, strict=True)]
    parts[dist.get_rank()] = rows
    return torch.cat(parts)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is set in any process."""
    if world_size() == 1:
        return flag
    flags = torch.tensor([int(flag)], device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each process's gradients by their mean; a missing one counts as zeros."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()
