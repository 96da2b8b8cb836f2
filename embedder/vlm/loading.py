"""Loads the weights of a checkpoint and its adapter into a model on its device."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import Checkpoint, first_line, read_config
from embedder.errors import EmbedderError
from embedder.hardware import format_bytes, read_available_ram
from embedder.types import Settings
from embedder.vlm.attention import choose_attention

if TYPE_CHECKING:
    import torch
    from torch import nn

DTYPES = ("bfloat16", "float16", "float32")
UNUSED_WEIGHTS = ("lm_head", "pooler.dense")  # do not affect vectors, and are often left out
BYTES_PER_WEIGHT = {"int8": 1.2, "nf4": 0.75}  # with the embeddings, which stay in 16 bits
MEMORY_FACTOR = 1.15  # of the weights: the least for weights and a batch


def select_device(settings: Settings) -> tuple[torch.device, torch.dtype]:
    """Return device and dtype of the settings; raise `EmbedderError` if not available."""
    import torch

    name = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EmbedderError(f"there is no device {name!r}; use cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EmbedderError(
            f"{name} does not exist; this machine has {torch.cuda.device_count()} GPUs"
        )
    dtype = settings.dtype or ("float32" if device.type == "cpu" else "bfloat16")
    if dtype not in DTYPES:
        raise EmbedderError(f"there is no dtype {dtype!r}; use {', '.join(DTYPES)}")
    return device, getattr(torch, dtype)


def load_model(checkpoint: Checkpoint, settings: Settings) -> Any:
    """Load a model in evaluation mode, without its language head, with its adapter merged.

    Raises `EmbedderError`: too little memory, a damaged checkpoint, one that lacks weights.
    """
    body = _load_whole(checkpoint, settings, UNUSED_WEIGHTS).model
    if checkpoint.adapter is not None:
        merge_adapter(body, checkpoint.adapter)
    finish_loading(body, settings)
    return body.eval().requires_grad_(False)


def load_language_model(checkpoint: Checkpoint, settings: Settings) -> Any:
    """Load a model with its language head, `lm_head`; else as `load_model`."""
    model = _load_whole(checkpoint, settings, ())
    if checkpoint.adapter is not None:
        merge_adapter(model.model, checkpoint.adapter)
    finish_loading(model, settings)
    return model.eval().requires_grad_(False)


def _load_whole(checkpoint: Checkpoint, settings: Settings, unused: Sequence[str]) -> Any:
    from transformers import AutoModelForImageTextToText

    with prepare_loading(checkpoint.folder, settings) as placement:
        auto: Any = AutoModelForImageTextToText
        model_type = str(read_config(checkpoint.folder).get("model_type"))
        model, report = auto.from_pretrained(
            checkpoint.folder,
            attn_implementation=choose_attention(auto, model_type, *select_device(settings)),
            output_loading_info=True,
            **placement,
        )
    check_missing_weights(checkpoint.folder, report["missing_keys"], unused)
    return model


@contextmanager
def prepare_loading(folder: Path, settings: Settings) -> Iterator[dict[str, Any]]:
    """Check what a model needs, and yield the arguments of `from_pretrained`.

    Weights that are to be quantized are loaded as they were saved, in main memory; `finish_loading`
    does the rest.

    Raises:
        EmbedderError: Too little memory, no such device, or a damaged checkpoint.
    """
    device, dtype = select_device(settings)
    check_memory(folder, device, dtype, settings.quantize)
    with silence_transformers(), wrap_load_errors(folder):
        yield {
            "dtype": "auto" if settings.quantize else dtype,
            "device_map": {"": "cpu" if settings.quantize else str(device)},
        }


def finish_loading(model: nn.Module, settings: Settings) -> None:
    """Quantize the weights of a model that `prepare_loading` has placed, and move it to its
    device."""
    if settings.quantize:
        from embedder.vlm.quantization import quantize_model

        quantize_model(model, settings.quantize, *select_device(settings))


def merge_adapter(model: nn.Module, folder: Path) -> None:
    """Add a LoRA or DoRA adapter to the weights; raise `EmbedderError` if it does not fit.

    Adapters were saved with older layouts: `model.layers` is `language_model.layers` now, and an
    adapter of the language model alone names only that. Each is put where its names fit.
    """
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    weights = _read_adapter(folder)
    names = {name for name, _ in model.named_modules()}
    mapped = {_map_adapter_key(key, names): tensor for key, tensor in weights.items()}
    if "" in mapped or len(mapped) != len(weights):
        raise EmbedderError(f"the adapter in {folder} was made for another model than its base")
    config = LoraConfig.from_pretrained(str(folder))
    config.target_modules = sorted({_module_name(key) for key in mapped})
    config.inference_mode = True
    with silence_transformers():
        adapted = PeftModel(model, config)
        prefixed = {f"base_model.model.{key}": tensor for key, tensor in mapped.items()}
        result: Any = set_peft_model_state_dict(adapted, prefixed)
        if result.unexpected_keys or any("lora_" in key for key in result.missing_keys):
            raise EmbedderError(f"the adapter in {folder} does not fit its base model")
        adapted.merge_and_unload(safe_merge=True)


def _read_adapter(folder: Path) -> dict[str, torch.Tensor]:
    """Read an adapter's weights as peft saves them, or as versions before 0.6 did."""
    import torch
    from safetensors.torch import load_file

    file, old_file = folder / "adapter_model.safetensors", folder / "adapter_model.bin"
    with wrap_load_errors(folder):
        if file.exists() or not old_file.exists():
            return load_file(file)
        weights: dict[str, torch.Tensor] = torch.load(
            old_file, map_location="cpu", weights_only=True
        )
        return weights


def _module_name(key: str) -> str:
    """Cut `language_model.layers.0.self_attn.q_proj.lora_A.weight` after `q_proj`."""
    return key.split(".lora_", 1)[0]


def _map_adapter_key(key: str, names: Iterable[str]) -> str:
    """Map an adapter's key to the current layout; "" if there is no such module."""
    bare = key.removeprefix("base_model.model.")
    for old, new in (
        ("", ""),
        ("model.", ""),
        ("language_model.model.", "language_model."),
        ("model.", "language_model."),
        ("model.language_model.model.", "language_model."),
        ("", "language_model."),
    ):
        if bare.startswith(old):
            candidate = new + bare[len(old) :]
            if _module_name(candidate) in names:
                return candidate
    return ""


def check_memory(
    folder: Path, device: torch.device, dtype: torch.dtype, quantize: str | None = None
) -> None:
    """Raise `EmbedderError` if the weights do not fit in memory.

    Weights that are to be quantized are first in main memory as they were saved.
    """
    config = read_config(folder)
    saved = {"float32": 4}.get(str(config.get("dtype", config.get("torch_dtype", "float32"))), 2)
    on_disk = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    if quantize:
        _require_memory(folder, "cpu", on_disk * MEMORY_FACTOR)
    size = BYTES_PER_WEIGHT[quantize] if quantize else dtype.itemsize
    if not quantize or device.type == "cuda":
        _require_memory(folder, str(device), on_disk * size / saved * MEMORY_FACTOR)


def _require_memory(folder: Path, device: str, needed: float) -> None:
    import torch

    is_gpu = device.startswith("cuda")
    free = torch.cuda.mem_get_info(device)[0] if is_gpu else read_available_ram()
    if needed > free:
        raise EmbedderError(
            f"{folder.name} needs about {format_bytes(needed)} on {device} and "
            f"{format_bytes(free)} are free; choose a smaller model (embedder models shows which "
            "fit), another --device, --dtype bfloat16, or, for a GPU, --quantize int8"
        )


def check_missing_weights(
    folder: Path, missing: Iterable[str], unused: Sequence[str] = UNUSED_WEIGHTS
) -> None:
    """Raise `EmbedderError` if weights are missing whose names have no part of `unused`."""
    required = sorted(key for key in missing if not any(part in key for part in unused))
    if required:
        raise EmbedderError(
            f"{folder} lacks {len(required)} of the model's weights ({required[0]}, ...); copy or "
            "download it again"
        )


@contextmanager
def wrap_load_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of loading a checkpoint into one sentence."""
    import torch
    from safetensors import SafetensorError

    damaged = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError)
    not_installed = (ImportError, TypeError, AttributeError)
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EmbedderError(f"{folder.name} does not fit in the device's memory") from error
    except (*damaged, *not_installed) as error:
        raise EmbedderError(f"{folder} cannot be loaded: {first_line(error)}") from error


@contextmanager
def check_weights_loaded(folder: Path) -> Iterator[None]:
    """Raise `EmbedderError` if transformers logs that weights are missing and were initialized at
    random: a model loaded by another library reports it only in the log."""
    missing: list[str] = []

    def collect_missing(record: logging.LogRecord) -> bool:
        """Read rows such as `language_model.layers.0.mlp.up_proj.weight | MISSING |`."""
        rows = [row.split("|") for row in record.getMessage().splitlines()]
        missing.extend(row[0].strip() for row in rows if len(row) > 1 and "MISSING" in row[1])
        return False  # not for the terminal

    log = logging.getLogger("transformers.modeling_utils")
    level = log.level
    log.addFilter(collect_missing)
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.removeFilter(collect_missing)
        log.setLevel(level)
    check_missing_weights(folder, missing)


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Silence the reports and future warnings of transformers: the checks here cover them."""
    import transformers

    log: Any = transformers.utils.logging
    verbosity, had_progress_bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.ERROR)
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        log.set_verbosity(verbosity)
        if had_progress_bar:
            log.enable_progress_bar()
