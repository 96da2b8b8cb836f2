"""The language model of a vision-language checkpoint, alone: its vision tower is never read.

E5-V is trained so (https://arxiv.org/abs/2407.12580, section 3.3): on texts, for the prompt brings
pictures and texts to one place anyhow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from embedder.engine.backbone import Batch
from embedder.errors import EmbedderError
from embedder.types import Settings
from embedder.vlm.backbone import Size
from embedder.vlm.loading import check_whole, place, quiet, readable
from finetune.errors import FinetuneError

LAYOUTS = {r"^language_model\.model\.": "", r"^model\.language_model\.": ""}  # old, new


class LanguageModel:
    """An `embedder.vlm.backbone.Architecture` that takes no pictures."""

    image_token = -1
    beside = 0

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def kind(self, pictures: int) -> str:
        return "text"

    def tokens(self, size: Size) -> int:
        raise EmbedderError("this recipe trains on texts alone, without pictures")

    def pixels(self, image: Any) -> dict[str, Any]:
        raise AssertionError("no picture passes `tokens`")

    def stack(self, pictures: Any, ids: torch.Tensor) -> Batch:
        raise AssertionError("no picture passes `tokens`")

    def states(self, ids: torch.Tensor, **_: Any) -> torch.Tensor:
        """(n, length) int64 -> (n, length, dim), after the last norm."""
        states: torch.Tensor = self.model(input_ids=ids, use_cache=False).last_hidden_state
        return states


def read_language_model(folder: Path, settings: Settings, *, four_bits: bool) -> LanguageModel:
    """Load a LLaVA-NeXT checkpoint's language model; in four bits (nf4, QLoRA:
    https://arxiv.org/abs/2305.14314) where asked. Raises `EmbedderError`, `FinetuneError`."""
    from transformers import AutoConfig, AutoModel

    device, dtype = place(settings)
    named: dict[str, Any] = {"quantization_config": _nf4(dtype)} if four_bits else {}
    with quiet(), readable(folder):
        load: Any = AutoModel.from_pretrained
        model, report = load(
            folder,
            config=AutoConfig.from_pretrained(folder).text_config,
            key_mapping=LAYOUTS,
            dtype=dtype,
            attn_implementation="sdpa",
            device_map={"": device},
            output_loading_info=True,
            **named,
        )
    check_whole(folder, report["missing_keys"])
    return LanguageModel(model.eval().requires_grad_(False))


def _nf4(dtype: torch.dtype) -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise FinetuneError(
            "weights in four bits need bitsandbytes: type: pip install bitsandbytes, "
            "or leave the weights whole with --set quantize=none"
        )
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
    )
