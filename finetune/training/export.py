"""Exports the model of a run for other programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from embedder.checkpoint import METADATA_FILE, detect_family, locate, read_config
from embedder.families import sentence_transformer
from embedder.files import sync_tree
from embedder.types import Settings
from embedder.vlm.loading import (
    check_memory,
    merge_adapter,
    select_device,
    silence_transformers,
    wrap_load_errors,
)
from finetune.errors import FinetuneError

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".safetensors.index.json")


def export_adapter(run: Path, out: Path) -> None:
    """Copy the adapter, or the starter's head; raises `FinetuneError`, `EmbedderError`."""
    trained_dir = locate(str(run)).trained_dir
    _create_empty_dir(out)
    shutil.copytree(trained_dir, out, dirs_exist_ok=True)
    sync_tree(out)


def export_merged(run: Path, out: Path, dtype: str | None) -> None:
    """Write the base with the adapter merged into it, in the format of its checkpoint.

    transformers, sentence-transformers and vLLM load it.

    Args:
        run: A run directory.
        out: A new or empty folder.
        dtype: Of the weights; None for the base's.

    Raises:
        FinetuneError: The run has no adapter, or `out` is not empty.
        EmbedderError: The base cannot be loaded.
    """
    checkpoint = locate(str(run))
    family = detect_family(checkpoint.trained_dir)
    if family == "starter":
        export_adapter(run, out)  # its head is the complete model
        return
    if checkpoint.adapter is None:
        raise FinetuneError(f"{run} holds a complete model already, and no adapter to merge")
    _create_empty_dir(out)
    config = read_config(checkpoint.folder)
    saved = config.get("dtype") or config.get("torch_dtype") or "float32"
    settings = Settings(device="cpu", dtype=dtype or str(saved))
    if family == "sentence_transformer":
        loaded: Any = sentence_transformer.load(str(run), settings)
        loaded.backbone.sentence_transformer.save_pretrained(str(out), create_model_card=False)
    else:
        _load_merged(checkpoint.folder, checkpoint.adapter, settings).save_pretrained(out)
        _copy_other_files(checkpoint.folder, out)
        _write_sentence_transformers_files(config, out)
    text = json.dumps(checkpoint.metadata, indent=2, ensure_ascii=False)
    (out / METADATA_FILE).write_text(text, "utf-8")
    sync_tree(out)


def _load_merged(folder: Path, adapter: Path, settings: Settings) -> Any:
    """The model with its language head, which vLLM needs."""
    from transformers import AutoModelForImageTextToText

    device, dtype = select_device(settings)
    check_memory(folder, device, dtype)
    with silence_transformers(), wrap_load_errors(folder):
        load: Any = AutoModelForImageTextToText.from_pretrained
        model = load(folder, dtype=dtype, device_map={"": device})
    merge_adapter(model.model, adapter)
    return model


def _copy_other_files(source: Path, out: Path) -> None:
    """Copy the tokenizer, preprocessor and templates: what is neither weights nor written yet."""
    for file in source.iterdir():
        skip = file.name.endswith(WEIGHTS) or (out / file.name).exists()
        if file.is_file() and not skip:
            shutil.copy2(file, out / file.name)


def _write_sentence_transformers_files(config: dict[str, Any], out: Path) -> None:
    """Write sentence-transformers' modules: the last token's state, normalized.

    They do not add the family's prompt; texts must be given with it.
    """
    dim = config.get("text_config", config).get("hidden_size")
    pooling = {"embedding_dimension": dim, "pooling_mode": "lasttoken", "include_prompt": True}
    modules = []
    names = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    for index, (name, folder) in enumerate(names.items()):
        kind = f"sentence_transformers.models.{name}"
        modules.append({"idx": index, "name": str(index), "path": folder, "type": kind})
        (out / folder).mkdir(exist_ok=True)
    (out / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=2), "utf-8")
    (out / "modules.json").write_text(json.dumps(modules, indent=2), "utf-8")


def _create_empty_dir(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise FinetuneError(f"{out} is not empty; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
