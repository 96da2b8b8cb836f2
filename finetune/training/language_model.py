"""The language model of a vision-language checkpoint, without its vision tower.

E5-V is trained on texts alone (https://arxiv.org/abs/2407.12580, section 3.3), since its prompt
maps images and texts to one space.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from embedder.engine import Batch
from embedder.errors import EmbedderError
from embedder.types import Settings
from embedder.vlm.backbone import Size
from embedder.vlm.loading import (
    check_missing_weights,
    select_device,
    silence_transformers,
    wrap_load_errors,
)
from finetune.errors import FinetuneError

KEY_MAPPING = {r"^language_model\.model\.": "", r"^model\.language_model\.": ""}  # old, new


class TextOnlyModel:
    """An `embedder.vlm.backbone.Architecture` that takes no images."""

    image_token = -1
    extra_tokens = 0

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def batch_key(self, image_count: int) -> str:
        return "text"

    def count_image_tokens(self, size: Size) -> int:
        raise EmbedderError("this recipe trains on texts alone, without images")

    def preprocess_image(self, image: Any) -> dict[str, Any]:
        raise AssertionError("`count_image_tokens` has refused the image")

    def collate_images(self, images: Any, ids: torch.Tensor) -> Batch:
        raise AssertionError("`count_image_tokens` has refused the image")

    def compute_hidden_states(self, ids: torch.Tensor, **_: Any) -> torch.Tensor:
        """(n, length) int64 -> (n, length, dim), after the last norm."""
        states: torch.Tensor = self.model(input_ids=ids, use_cache=False).last_hidden_state
        return states


def load_language_model(folder: Path, settings: Settings, *, four_bits: bool) -> TextOnlyModel:
    """Load the language model of a LLaVA-NeXT checkpoint; with `four_bits`, its weights are
    quantized to nf4 (QLoRA, https://arxiv.org/abs/2305.14314).

    Raises `EmbedderError`, and `FinetuneError` where bitsandbytes is missing.
    """
    from transformers import AutoConfig, AutoModel

    device, dtype = select_device(settings)
    with silence_transformers(), wrap_load_errors(folder):
        load: Any = AutoModel.from_pretrained
        model, report = load(
            folder,
            config=AutoConfig.from_pretrained(folder).text_config,
            key_mapping=KEY_MAPPING,
            dtype=dtype,
            attn_implementation="sdpa",
            device_map={"": device},
            output_loading_info=True,
            quantization_config=_nf4_config(dtype) if four_bits else None,
        )
    check_missing_weights(folder, report["missing_keys"])
    return TextOnlyModel(model.eval().requires_grad_(False))


def _nf4_config(dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise FinetuneError(
            "weights in four bits need bitsandbytes; install it with pip install bitsandbytes, or "
            "add --set quantize=none"
        )
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
    )
