"""Finds and loads rerankers by name. A line of `FAMILIES` per kind."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.checkpoint import Checkpoint, is_hub_id, locate, read_config, read_optional_config
from embedder.errors import EmbedderError, UnknownModelError
from embedder.extras import require_extra
from embedder.types import Settings

if TYPE_CHECKING:
    from embedder.rerankers.reranker import Reranker, RerankerCard

FAMILIES = {  # name -> a module with `describe` and `load`
    "qwen3_vl": "embedder.rerankers.qwen3_vl",
    "cross_encoder": "embedder.rerankers.cross_encoder",
}
SHORT_NAMES = {
    "qwen3-vl-reranker-2b": "Qwen/Qwen3-VL-Reranker-2B",
    "qwen3-vl-reranker-8b": "Qwen/Qwen3-VL-Reranker-8B",
}
"""For people who type; cards have the full name."""


def list_rerankers() -> list[RerankerCard]:
    """Return the cards of the rerankers that have a name here; no weights are loaded."""
    from embedder.rerankers.qwen3_vl import CARDS

    return list(CARDS)


def load_reranker(
    name: str,
    settings: Settings | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    pixel_budget: int | None = None,
    trust_remote_code: bool | None = None,
) -> Reranker:
    """Load a reranker, on one device.

    Args:
        name: A short name ("qwen3-vl-reranker-2b"), a Hugging Face id or a folder: of a
            Qwen3-VL-Reranker, or of any cross encoder of sentence-transformers.
        settings: All settings at once; of several devices the first. The keywords below replace
            single ones.
        device: "cpu" or "cuda:1".
        dtype: "bfloat16", "float16" or "float32".
        pixel_budget: The most pixels per image: fewer are faster and show less.
        trust_remote_code: Run Python code that comes with the weights.

    Raises:
        UnknownModelError: There is no model of that name.
        MissingExtraError: It needs packages that are not installed.
        EmbedderError: The model cannot be loaded; the message says why.
    """
    require_extra("models")
    settings = (settings or Settings()).override(
        device=device,
        dtype=dtype,
        pixel_budget=pixel_budget,
        trust_remote_code=trust_remote_code,
    )
    if settings.quantize:
        raise EmbedderError(
            "rerankers are loaded with all bits of their weights; leave quantize out"
        )
    if settings.device:
        settings = replace(settings, device=settings.device.split(",")[0].strip())
    full_name = expand_reranker_name(name)
    checkpoint = _locate(full_name)
    module = import_module(FAMILIES[_detect_family(checkpoint)])
    try:
        reranker: Reranker = module.load(full_name, checkpoint, settings)
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise EmbedderError(
            f"{name} is not a reranker: a value in its files is of another kind than expected: "
            f"{error}"
        ) from error
    return reranker


def expand_reranker_name(name: str) -> str:
    """Return the full name of a short one; any other name, and that of a folder, as it is."""
    full_name = SHORT_NAMES.get(name.lower())
    return full_name if full_name and not Path(name).is_dir() else name


def _locate(name: str) -> Checkpoint:
    if not name.strip():  # would be the current folder
        raise UnknownModelError("the name of a reranker is empty")
    try:
        return locate(name)
    except EmbedderError as error:
        typed = name.lower().rpartition("/")[2]
        near = get_close_matches(typed, SHORT_NAMES, n=2, cutoff=0.75)
        known = f"known rerankers: {', '.join(SHORT_NAMES)}, and folders of cross encoders"
        hint = f"did you mean {' or '.join(near)}?" if near else known
        if Path(name).expanduser().is_dir() or name in SHORT_NAMES.values():
            raise
        if is_hub_id(name):
            if not near:
                raise
            raise UnknownModelError(f"{error}; {hint}") from error
        raise UnknownModelError(f"no reranker or folder is called {name!r}; {hint}") from error


def _detect_family(checkpoint: Checkpoint) -> str:
    """Qwen3-VL with its language head is read as its authors do; all else by its files."""
    folder = checkpoint.folder
    config = read_config(folder)
    architectures = config.get("architectures") or [""]
    generates = str(architectures[0]).endswith("ForConditionalGeneration")
    if config.get("model_type") != "qwen3_vl" or not generates:
        return "cross_encoder"
    head = read_optional_config(folder, "1_LogitScore/config.json")
    own_head = (folder / "modules.json").exists() and not head
    return "cross_encoder" if own_head else "qwen3_vl"
