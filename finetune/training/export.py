"""A run's model for other programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from embedder.checkpoint import OURS, Checkpoint, family_of, find, read_config
from embedder.families import sentence_transformer
from embedder.types import Settings
from embedder.vlm.loading import check_room, merge, place, quiet, readable
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
    home = find(str(run)).home
    _new(out)
    shutil.copytree(home, out, dirs_exist_ok=True)


def export_merged(run: Path, out: Path, dtype: str | None) -> None:
    """Write the base with the adapter merged into it, in the form of its checkpoint: transformers,
    sentence-transformers and vLLM load it. `dtype`: of the weights; None: the base's.

    Raises `FinetuneError`, `EmbedderError`.
    """
    checkpoint = find(str(run))
    if family_of(checkpoint.home) == "starter":
        return export_adapter(run, out)  # its head is all there is
    if checkpoint.adapter is None:
        raise FinetuneError(f"{run} holds a whole model already, and no adapter to merge")
    _new(out)
    if family_of(checkpoint.home) == "sentence_transformer":
        return _merged_sentences(str(run), checkpoint, dtype, out)
    model = _merged(checkpoint, dtype)
    model.save_pretrained(out)
    _copy_rest(checkpoint.folder, out)
    _describe(checkpoint, out)
    return None


def _merged(checkpoint: Checkpoint, dtype: str | None) -> Any:
    """The model with its language head."""
    from transformers import AutoModelForImageTextToText

    folder, settings = checkpoint.folder, _settings(checkpoint, dtype)
    device, numbers = place(settings)
    check_room(folder, device, numbers)
    with quiet(), readable(folder):
        load: Any = AutoModelForImageTextToText.from_pretrained
        model = load(folder, dtype=numbers, device_map={"": device})
    if checkpoint.adapter:
        merge(model.model, checkpoint.adapter)
    return model


def _merged_sentences(name: str, checkpoint: Checkpoint, dtype: str | None, out: Path) -> None:
    loaded: Any = sentence_transformer.load(name, _settings(checkpoint, dtype))
    loaded.backbone.sentences.save_pretrained(str(out), create_model_card=False)
    (out / OURS).write_text(json.dumps(checkpoint.told, indent=2), "utf-8")


def _settings(checkpoint: Checkpoint, dtype: str | None) -> Settings:
    config = read_config(checkpoint.folder)
    saved = config.get("dtype") or config.get("torch_dtype") or "float32"
    return Settings(device="cpu", dtype=dtype or str(saved))


def _copy_rest(source: Path, out: Path) -> None:
    """Tokenizer, preprocessor, templates: what is neither weights nor written already."""
    for file in source.iterdir():
        known = file.name.endswith(WEIGHTS) or (out / file.name).exists()
        if file.is_file() and not known:
            shutil.copy2(file, out / file.name)


def _describe(checkpoint: Checkpoint, out: Path) -> None:
    """`polylens.json`, and sentence-transformers' files: the last token's state, of unit length.
    Prompts are not theirs to add: give them texts as the family's prompt has them."""
    (out / OURS).write_text(json.dumps(checkpoint.told, indent=2, ensure_ascii=False), "utf-8")
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


def _new(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise FinetuneError(f"{out} is not empty; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
