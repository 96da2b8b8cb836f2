"""A run's model for other programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from embedder.checkpoint import METADATA_FILE, Checkpoint, detect_family, locate, read_config
from embedder.families.sentence_transformer import family
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
MODULES: tuple[
    tuple[str, str, dict[str, Any]], ...
] = (  # sentence-transformers' names of what makes a vector of the last token's state
    ("Transformer", "", {}),
    ("Pooling", "1_Pooling", {"pooling_mode": "lasttoken", "include_prompt": True}),
    ("Normalize", "2_Normalize", {}),
)


def export_adapter(run: Path, out: Path) -> None:
    """Copy the adapter, or the starter's head. Raises `FinetuneError`, `EmbedderError`."""
    home = locate(str(run)).trained_dir
    _create_empty_dir(out)
    shutil.copytree(home, out, dirs_exist_ok=True)


def export_merged(run: Path, out: Path, dtype: str | None) -> None:
    """Write the base with the adapter merged into it, in the form of its checkpoint: transformers,
    sentence-transformers and vLLM load it. `dtype`: of the weights; None: the base's.

    Raises `FinetuneError`, `EmbedderError`.
    """
    checkpoint = locate(str(run))
    if detect_family(checkpoint.trained_dir) == "starter":
        return export_adapter(run, out)  # its head is all there is
    if checkpoint.adapter is None:
        raise FinetuneError(f"{run} holds a whole model already, and no adapter to merge")
    _create_empty_dir(out)
    if detect_family(checkpoint.trained_dir) == "sentence_transformer":
        return _export_merged_sentence_transformer(str(run), checkpoint, dtype, out)
    model = _load_merged(checkpoint, dtype)
    model.save_pretrained(out)
    _copy_other_files(checkpoint.folder, out)
    _write_module_configs(checkpoint, out)
    return None


def _load_merged(checkpoint: Checkpoint, dtype: str | None) -> Any:
    """The model with its language head."""
    from transformers import AutoModelForImageTextToText

    folder, settings = checkpoint.folder, _loading_settings(checkpoint, dtype)
    device, numbers = select_device(settings)
    check_memory(folder, device, numbers)
    with silence_transformers(), wrap_load_errors(folder):
        load: Any = AutoModelForImageTextToText.from_pretrained
        model = load(folder, dtype=numbers, device_map={"": device})
    if checkpoint.adapter:
        merge_adapter(model.model, checkpoint.adapter)
    return model


def _export_merged_sentence_transformer(
    name: str, checkpoint: Checkpoint, dtype: str | None, out: Path
) -> None:
    loaded: Any = family.load(name, _loading_settings(checkpoint, dtype))
    loaded.backbone.sentence_transformer.save_pretrained(str(out), create_model_card=False)
    (out / METADATA_FILE).write_text(json.dumps(checkpoint.metadata, indent=2), "utf-8")


def _loading_settings(checkpoint: Checkpoint, dtype: str | None) -> Settings:
    config = read_config(checkpoint.folder)
    saved = config.get("dtype") or config.get("torch_dtype") or "float32"
    return Settings(device="cpu", dtype=dtype or str(saved))


def _copy_other_files(source: Path, out: Path) -> None:
    """Tokenizer, preprocessor, templates: what is neither weights nor written already."""
    for file in source.iterdir():
        known = file.name.endswith(WEIGHTS) or (out / file.name).exists()
        if file.is_file() and not known:
            shutil.copy2(file, out / file.name)


def _write_module_configs(checkpoint: Checkpoint, out: Path) -> None:
    """`polylens.json`, and sentence-transformers' files: the last token's state, of unit length.
    Prompts are not theirs to add: give them texts as the family's prompt has them."""
    (out / METADATA_FILE).write_text(
        json.dumps(checkpoint.metadata, indent=2, ensure_ascii=False), "utf-8"
    )
    config = read_config(checkpoint.folder)
    dim = config.get("text_config", config).get("hidden_size")
    modules = []
    for index, (name, place_, told) in enumerate(MODULES):
        kind = f"sentence_transformers.models.{name}"
        modules.append({"idx": index, "name": str(index), "path": place_, "type": kind})
        if place_:
            (out / place_).mkdir(exist_ok=True)
        if told:
            inner = {"embedding_dimension": dim, **told}
            (out / place_ / "config.json").write_text(json.dumps(inner, indent=2), "utf-8")
    (out / "modules.json").write_text(json.dumps(modules, indent=2), "utf-8")


def _create_empty_dir(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise FinetuneError(f"{out} is not empty; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
