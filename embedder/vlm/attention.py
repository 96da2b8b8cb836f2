"""Which kernel computes attention: sdpa, or FlashAttention 2 where it can run.

PyTorch's scaled_dot_product_attention (sdpa) runs everywhere. FlashAttention 2 (Dao 2023,
https://arxiv.org/abs/2307.08691) is the package flash-attn, which has to be compiled for a GPU; who
has installed it gets it. The vision towers of Qwen2-VL have a kernel of their own
(`embedder.vlm.qwen2_vl`).
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SDPA, FLASH = "sdpa", "flash_attention_2"
FLASH_PACKAGE = "flash_attn"
FLASH_DTYPES = ("bfloat16", "float16")
FLASH_CAPABILITY = (8, 0)  # Ampere and later


def choose_attention(
    auto_class: Any, model_type: str, device: torch.device, dtype: torch.dtype
) -> str:
    """Return the name that transformers has for the kernel of a model.

    Args:
        auto_class: `AutoModel` or another of transformers, which makes the model.
        model_type: As config.json names it; one that only remote code knows gets sdpa.
        device: Where it runs.
        dtype: What it computes in.
    """
    import torch
    from transformers import CONFIG_MAPPING

    kind = None
    with suppress(KeyError):
        kind = auto_class._model_mapping[CONFIG_MAPPING[model_type]]
    return select_attention(
        supports_flash=bool(getattr(kind, "_supports_flash_attn", False)),
        is_installed=find_spec(FLASH_PACKAGE) is not None,
        capability=torch.cuda.get_device_capability(device) if device.type == "cuda" else None,
        dtype=str(dtype).removeprefix("torch."),
    )


def select_attention(
    *, supports_flash: bool, is_installed: bool, capability: tuple[int, int] | None, dtype: str
) -> str:
    """Return "flash_attention_2" if everything that it needs is there, else "sdpa".

    `capability` is the GPU's compute capability, None on another device.
    """
    has_gpu = capability is not None and capability >= FLASH_CAPABILITY
    can_run = supports_flash and is_installed and has_gpu and dtype in FLASH_DTYPES
    return FLASH if can_run else SDPA
