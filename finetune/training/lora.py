"""LoRA on an embedder's language model, around the backbone that embeds with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from embedder.checkpoint import METADATA_FILE
from embedder.engine.backbone import Backbone
from finetune.errors import FinetuneError
from finetune.training.presets import LoraSettings

WEIGHTS = "adapter_model.safetensors"
VISION_NAMES = (
    "vision",
    "visual",
    "projector",
    "image",
)  # in the names of what is not the language model


class LoraAdapter:
    """A `Trainable`: in `body`, which `backbone` embeds with, linear layers get LoRA."""

    cacheable = False  # pictures are large

    def __init__(
        self,
        backbone: Backbone[Any],
        body: nn.Module,
        base: str,
        metadata: Mapping[str, Any],
        lora: LoraSettings,
    ) -> None:
        """`base`: what `embedder.load` finds the unadapted model by; `told`: for polylens.json."""
        self.backbone, self._metadata = backbone, {**metadata, "base": base}
        target_modules = find_target_modules(body, vision=lora.vision)
        config = LoraConfig(
            base_model_name_or_path=base,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            use_dora=lora.dora,
            init_lora_weights="gaussian" if lora.gaussian else True,
            target_modules=target_modules,
            exclude_modules=find_non_linear_matches(body, target_modules),
        )
        self.module: PeftModel = PeftModel(body, config)

    def precompute(self, texts: Sequence[str]) -> None:
        """Token ids are quickly made."""

    def penalty(self) -> Tensor | None:
        return None

    def finish(self) -> None:
        """Nothing follows."""

    def save(self, folder: Path) -> None:
        """`adapter_config.json`, `adapter_model.safetensors` and `polylens.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        # "auto", peft's habit, would ask the hub about the base
        trained = get_peft_model_state_dict(self.module, save_embedding_layers=False)
        weights = {name: tensor.contiguous() for name, tensor in trained.items()}
        save_file(weights, folder / WEIGHTS)
        config: Any = self.module.peft_config["default"]
        config.save_pretrained(str(folder))
        (folder / METADATA_FILE).write_text(
            json.dumps(self._metadata, indent=2, ensure_ascii=False), "utf-8"
        )

    def restore(self, folder: Path) -> None:
        set_peft_model_state_dict(self.module, load_file(folder / WEIGHTS))


def find_target_modules(body: nn.Module, *, vision: bool) -> str:
    """A regex for the linear layers to adapt; raises `FinetuneError` where there are none.

    A list of their last names would reach into the vision tower, whose layers are called alike.
    """
    linear = [name for name, module in body.named_modules() if isinstance(module, nn.Linear)]
    target_names = [
        name for name in linear if vision or not any(part in name for part in VISION_NAMES)
    ]
    if not target_names:
        raise FinetuneError("this model has no linear layers that LoRA could adapt")
    ends = "|".join(sorted({re.escape(_name_suffix(name)) for name in target_names}))
    blind = "" if vision else f"(?!.*(?:{'|'.join(VISION_NAMES)}))"
    return rf"{blind}(?:.*\.)?(?:{ends})"


def find_non_linear_matches(body: nn.Module, pattern: str) -> list[str]:
    """What `regex` matches and is no linear layer, such as a convolution called `proj`."""
    return [
        name
        for name, module in body.named_modules()
        if re.fullmatch(pattern, name) and not isinstance(module, nn.Linear)
    ]


def _name_suffix(name: str) -> str:
    """`mlp.fc1` -> `fc1`, `merger.mlp.0` -> `mlp.0`: a number alone would match whole blocks."""
    parts = name.split(".")
    named = max(place for place, part in enumerate(parts) if not part.isdigit() or place == 0)
    return ".".join(parts[named:])


def enable_gradient_checkpointing(body: nn.Module) -> None:
    """Keep only each layer's input for the backward pass; raises `FinetuneError` where the model
    cannot."""
    enable: Any = getattr(body, "gradient_checkpointing_enable", None)
    try:
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except (TypeError, ValueError) as error:
        raise FinetuneError(
            f"{type(body).__name__} has no gradient checkpointing; add --set checkpointing=false"
        ) from error


def describe_adapter(
    family: str, languages: Sequence[str], matryoshka: Sequence[int]
) -> dict[str, Any]:
    """What stands in every `polylens.json`."""
    return {"family": family, "languages": list(languages), "matryoshka": list(matryoshka)}
