"""The processes that torchrun has started, or this one alone, and their devices."""

from __future__ import annotations

from dataclasses import replace

import torch
from accelerate import PartialState

from embedder.types import Settings
from finetune.errors import FinetuneError


def init_processes(settings: Settings, family: str) -> PartialState:
    """All processes of a run for a model of `family`; raises `FinetuneError` for a device that is
    not theirs to choose."""
    if settings.device not in (None, "cpu", "cuda"):
        raise FinetuneError(
            f"a run takes --device cpu or cuda, not {settings.device}; choose among GPUs with "
            "CUDA_VISIBLE_DEVICES=1 before the command, or take several with torchrun"
        )
    cpu = family == "starter" or settings.device == "cpu" or not torch.cuda.is_available()
    return PartialState(cpu=cpu)


def use_local_device(settings: Settings) -> Settings:
    """The settings with this process's own device."""
    return replace(settings, device=str(PartialState().device))
