"""Models in training: what the trainer needs of them, and LoRA around the backbone that embeds."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn

from embedder.checkpoint import METADATA_FILE
from embedder.engine import Backbone
from finetune.errors import FinetuneError
from finetune.training.presets import PRESETS, LoraSettings

LORA_WEIGHTS = "adapter_model.safetensors"
VISION_NAMES = ("vision", "visual", "projector", "image")  # in names outside the language model


class Trainable(ABC):
    """A model that can be trained, with the prompts of the backbone that embeds later."""

    module: nn.Module  # its parameters that require gradients are trained
    backbone: Backbone[Any]  # `forward` gives (n, dim) with gradients, not normalized
    cacheable = False  # prepared inputs are small and costly enough to keep for the next epoch

    def precompute(self, texts: Sequence[str]) -> None:  # noqa: B027
        """Prepare all texts before training, where that saves time."""

    def penalty(self) -> Tensor | None:
        """A scalar that is added to the loss."""
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the current weights, so that `--model FOLDER` loads them."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Load the weights from a folder that `save` wrote for a checkpoint."""


class TrainableModule(InputModule):
    """The one module of a SentenceTransformer in training; the collator prepares its inputs."""

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inner: nn.Module = trainable.module
        self._trainable = trainable

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add `sentence_embedding` (n, dim), not normalized."""
        return {**features, "sentence_embedding": self._trainable.backbone.forward(features)}

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        self._trainable.save(Path(output_path))


class LoraAdapter(Trainable):
    """Adds LoRA to linear layers of `body`, which `backbone` embeds with."""

    def __init__(
        self,
        backbone: Backbone[Any],
        body: nn.Module,
        base: str,
        metadata: Mapping[str, Any],
        lora: LoraSettings,
    ) -> None:
        """`base` is the name that `embedder.load` finds the base by; `metadata` is for
        polylens.json."""
        trained_layers = {"lora_targets": list(lora.targets), "lora_vision": lora.vision}
        self.backbone, self._metadata = backbone, {**metadata, **trained_layers, "base": base}
        target_modules, exclude_modules = find_target_modules(body, lora.targets, lora.vision)
        config = LoraConfig(
            base_model_name_or_path=base,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            use_dora=lora.dora,
            init_lora_weights="gaussian" if lora.gaussian else True,
            target_modules=target_modules,
            exclude_modules=exclude_modules,
        )
        self.module: PeftModel = PeftModel(body, config)

    def save(self, folder: Path) -> None:
        """Write `adapter_config.json`, `adapter_model.safetensors` and `polylens.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        # peft's default, "auto", would ask the hub about the base
        trained = get_peft_model_state_dict(self.module, save_embedding_layers=False)
        weights = {name: tensor.contiguous() for name, tensor in trained.items()}
        save_file(weights, folder / LORA_WEIGHTS)
        config: Any = self.module.peft_config["default"]
        config.save_pretrained(str(folder))
        text = json.dumps(self._metadata, indent=2, ensure_ascii=False)
        (folder / METADATA_FILE).write_text(text, "utf-8")

    def restore(self, folder: Path) -> None:
        set_peft_model_state_dict(self.module, load_file(folder / LORA_WEIGHTS))


def find_target_modules(
    body: nn.Module, targets: Sequence[str], vision: bool
) -> tuple[str, list[str]]:
    """Find the linear layers to adapt.

    Args:
        body: The model.
        targets: Their last names, such as `q_proj`; empty for all linear layers. Of the names in
            presets, which are for several models, those that the model does not have are skipped.
        vision: Adapt those of the vision tower too.

    Returns:
        A regex, and the names that match it and are no linear layers, such as a convolution called
        `proj`. A list of last names would match those of the vision tower too.

    Raises:
        FinetuneError: There are no such layers, or none of one of the names.
    """
    modules = dict(body.named_modules())
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    allowed = [name for name in linear if vision or not any(part in name for part in VISION_NAMES)]
    if not allowed:
        raise FinetuneError("this model has no linear layers that LoRA could adapt")
    found = [name for name in allowed if not targets or name.rpartition(".")[2] in targets]
    usual = {name for preset in PRESETS.values() for name in preset.lora.targets}
    absent = set(targets) - {name.rpartition(".")[2] for name in linear} - usual
    if absent or not found:
        unknown = " or ".join(name for name in targets if not absent or name in absent)
        known = ", ".join(sorted({name.rpartition(".")[2] for name in allowed}))
        raise FinetuneError(
            f"this model has no linear layers called {unknown} for LoRA; name some of "
            f"{known} with --lora-targets, or all"
        )
    suffixes = "|".join(sorted({re.escape(_name_suffix(name)) for name in found}))
    exclude = "" if vision else f"(?!.*(?:{'|'.join(VISION_NAMES)}))"
    pattern = rf"{exclude}(?:.*\.)?(?:{suffixes})"
    others = (name for name in modules if name not in linear)
    return pattern, [name for name in others if re.fullmatch(pattern, name)]


def enable_gradient_checkpointing(body: nn.Module) -> None:
    """Keep only each layer's input for the backward pass; raises `FinetuneError` where the model
    does not support it."""
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # new, old
    enable: Any = next((getattr(body, name) for name in names if hasattr(body, name)), None)
    try:
        enable({"use_reentrant": False})
    except (TypeError, ValueError) as error:
        raise FinetuneError(
            f"{type(body).__name__} has no gradient checkpointing; add --set checkpointing=false"
        ) from error


def _name_suffix(name: str) -> str:
    """`mlp.fc1` -> `fc1`, `merger.mlp.0` -> `mlp.0`: a number alone would match entire blocks."""
    parts = name.split(".")
    last = max(index for index, part in enumerate(parts) if not part.isdigit() or index == 0)
    return ".".join(parts[last:])
