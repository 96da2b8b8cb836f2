"""Locates a model's files, detects their family, and computes their fingerprint.

Nothing here imports torch: `indexer ingest` needs a card before it knows whether it needs a model.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.errors import EmbedderError, UnknownModelError
from embedder.extras import find_missing_module, require_extra

ADAPTER_CONFIG = "adapter_config.json"
METADATA_FILE = "polylens.json"  # written beside a fine-tuned model: {"family": ...}
RUN_FILE = "run.json"  # of a fine-tuning run's folder, whose model is in `model`
PROVENANCE_KEYS = ("base", "base_model_name_or_path", "languages", "matryoshka")  # change no vector
DIGESTED_PATTERNS = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja", "*.py")
# "*.bin" has the same weights as the safetensors
DOWNLOAD_PATTERNS = [pattern for pattern in DIGESTED_PATTERNS if pattern != "*.bin"]
DOWNLOAD_PATTERNS.append("adapter_model.bin")  # VLM2Vec's have no other weights
IGNORE_PATTERNS = ["original/*", "onnx/*", "openvino/*"]  # the same weights again, in other forms
BLOCK_SIZE, MAX_BLOCKS = 1 << 16, 256  # what is read of a large file: 16 MiB in all

GME_NAME = "gme-qwen2-vl"  # in the name of its folder

FAMILY_BY_MODEL_TYPE = {
    "qwen2_vl": "vlm2vec",
    "qwen2_5_vl": "vlm2vec",
    "phi3_v": "vlm2vec",
    "mllama": "mme5",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's folder, and the folder of its adapter."""

    folder: Path
    adapter: Path | None = None

    @property
    def trained_dir(self) -> Path:
        """The folder of what was trained: the adapter's, if there is one."""
        return self.adapter or self.folder

    @property
    def metadata(self) -> dict[str, Any]:
        """The content of `polylens.json`, which is beside a fine-tuned model."""
        return read_optional_config(self.trained_dir, METADATA_FILE)

    @property
    def base_model(self) -> str:
        """The name of the model it was made from; "" if unknown."""
        adapted = _read_base_name(self.adapter) if self.adapter else ""
        return str(self.metadata.get("base") or adapted)

    @property
    def digest(self) -> str:
        own = compute_digest(self.folder)
        return compute_fingerprint(own, compute_digest(self.adapter)) if self.adapter else own

    @property
    def commit(self) -> str | None:
        """12 hex digits from the Hugging Face cache, or None."""
        found = re.search(r"/snapshots/([0-9a-f]{12})", self.trained_dir.as_posix())
        return found[1] if found else None


def locate(name: str) -> Checkpoint:
    """Locate the files of a model; raises `EmbedderError`, `UnknownModelError`."""
    folder = resolve_folder(name)
    if not (folder / ADAPTER_CONFIG).exists():
        return Checkpoint(folder)
    return Checkpoint(_locate_base(folder), folder)


def resolve_folder(name: str) -> Path:
    """Return a folder, a run's model, or the folder of a Hugging Face id, downloaded if needed."""
    folder = Path(os.path.expanduser(name))
    if folder.is_dir():
        folder = folder.absolute()
        return _find_run_model(folder) if (folder / RUN_FILE).exists() else folder
    if not is_hub_id(name):
        raise UnknownModelError(f"there is no folder {name!r}; name a model's folder or its id")
    require_extra("models")
    return find_cached(name) or _download(name)


def is_hub_id(name: str) -> bool:
    """Return whether a name that is no folder's is an id of the Hugging Face Hub."""
    return name.count("/") == 1 and not name.startswith(("/", ".", "~"))


def find_local_folder(name: str) -> Path | None:
    """Return what `resolve_folder` returns without a download; None if there is nothing."""
    if Path(os.path.expanduser(name)).is_dir():
        try:
            return resolve_folder(name)
        except EmbedderError:  # a run without a model; loading it says so
            return None
    return find_cached(name) if is_hub_id(name) and not find_missing_module("models") else None


def read_adapted_name(folder: Path) -> str:
    """Return the name of the model that an adapter adapts, if that is not beside it; else ""."""
    try:
        name = _read_base_name(folder)
    except EmbedderError:  # no adapter, or a damaged one; loading it says so
        return ""
    return "" if (folder / name).is_dir() else name


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Read a JSON object of a checkpoint; raise `EmbedderError` if it is missing or damaged."""
    found = read_json(folder, name)
    if not isinstance(found, dict):
        raise EmbedderError(f"{folder / name} cannot be read: it is not a JSON object")
    return found


def read_json(folder: Path, name: str) -> Any:
    """Read a JSON file of a checkpoint; raise `EmbedderError` if it is missing or damaged."""
    try:
        return json.loads((folder / name).read_text("utf-8"))
    except FileNotFoundError:
        raise EmbedderError(f"{folder} is not a model: it has no {name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise EmbedderError(f"{folder / name} cannot be read: {error}") from error


def read_optional_config(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of a checkpoint; empty if there is none."""
    return read_config(folder, name) if (folder / name).exists() else {}


def detect_family(folder: Path) -> str:
    """Return the family of the model in `folder`; raise `EmbedderError` if it is unknown."""
    metadata = read_optional_config(folder, METADATA_FILE)
    if "family" in metadata:
        return str(metadata["family"])
    if (folder / ADAPTER_CONFIG).exists():
        return detect_family(_locate_base(folder))
    has_modules = (folder / "modules.json").exists()  # of sentence-transformers
    config = (read_optional_config if has_modules else read_config)(folder, "config.json")
    if _is_reranker(folder, config, has_modules):
        raise EmbedderError(
            f"{folder} is a reranker, which scores pairs and makes no vectors: name it with "
            "--rerank when you search, and an embedding model with --model"
        )
    model_type = str(config.get("model_type"))
    is_cached = folder.parent.name == "snapshots"  # of Hugging Face, below the model's name
    name = (folder.parents[1] if is_cached else folder).name.lower()
    if model_type == "qwen2_vl" and GME_NAME in name:
        return "gme"  # a Qwen2-VL as VLM2Vec is, with modules.json for its own code
    if model_type == "llava_next":  # E5-V is based on Llama 3, VLM2Vec on Mistral
        text = config.get("text_config", {}).get("model_type", "llama")
        family = "e5v" if text == "llama" else "vlm2vec"
    else:
        family = FAMILY_BY_MODEL_TYPE.get(model_type, "sentence_transformer")
    if has_modules and family == "vlm2vec" and "vlm2vec" not in name:
        return "sentence_transformer"
    return family  # mmE5's and E5-V's folders have modules too, of which mmE5's run code


def _is_reranker(folder: Path, config: Mapping[str, Any], has_modules: bool) -> bool:
    """Whether it is a cross encoder, which sentence-transformers would pool all the same."""
    saved = read_optional_config(folder, "config_sentence_transformers.json")
    if "model_type" in saved:
        return bool(saved["model_type"] == "CrossEncoder")
    if has_modules:
        return (folder / "1_LogitScore").is_dir()
    architectures = config.get("architectures") or [""]
    return str(architectures[0]).endswith("ForSequenceClassification")


def compute_digest(folder: Path) -> str:
    """Hash everything that changes vectors, as 32 hex digits: configuration, tokenizer, weights.

    Of a file over 16 MiB, its size and 256 blocks at even distances are read: training changes
    every number of what it changes, and reading 20 GB whole would take longer than loading them.
    `PROVENANCE_KEYS` of a fine-tuned model do not count: its base may be moved.
    """
    from blake3 import blake3

    hasher = blake3()
    patterns = [f"{parent}{name}" for name in DIGESTED_PATTERNS for parent in ("", "[0-9]_*/")]
    files = {file for pattern in patterns for file in folder.glob(pattern)}
    for file in folder.rglob("*.py"):  # what nothing can import, as in .venv, does not count
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            files.add(file)
    for file in sorted(files):
        hasher.update(file.relative_to(folder).as_posix().encode() + b"\0")
        if file.name in (ADAPTER_CONFIG, METADATA_FILE) and (folder / METADATA_FILE).exists():
            config = read_config(folder, file.name).items()
            hasher.update(repr(sorted(i for i in config if i[0] not in PROVENANCE_KEYS)).encode())
            continue
        hasher.update(str(file.stat().st_size).encode() + b"\0")
        for block in _read_blocks(file):
            hasher.update(block)
    return hasher.hexdigest(16)


def compute_fingerprint(*parts: object) -> str:
    """Hash `parts` to 32 hex digits."""
    from blake3 import blake3

    return blake3(json.dumps([str(part) for part in parts]).encode()).hexdigest(16)


def _find_run_model(run: Path) -> Path:
    """Return the folder of a fine-tuning run's model; raise `EmbedderError` if there is none."""
    model = run / "model"
    if any((model / name).exists() for name in (METADATA_FILE, ADAPTER_CONFIG, "config.json")):
        return model
    state = read_config(run, RUN_FILE).get("status", "of unknown state")
    raise EmbedderError(f"{run} is a fine-tuning run ({state}) without a model; let it finish")


def _locate_base(folder: Path) -> Path:
    """Return the folder of the model that the adapter in `folder` adapts."""
    name = _read_base_name(folder)
    sibling = folder / name
    try:
        base = resolve_folder(str(sibling) if sibling.is_dir() else name)
    except UnknownModelError as error:
        raise EmbedderError(
            f"{folder} is an adapter of {name}, which is missing: restore that model, or write "
            f"its new place as base_model_name_or_path into {folder / ADAPTER_CONFIG}"
        ) from error
    if (base / ADAPTER_CONFIG).exists():
        raise EmbedderError(
            f"{folder} is an adapter of {name}, which is an adapter itself: merge that one into "
            f"its model (finetune export), and name the merged folder in {folder / ADAPTER_CONFIG}"
        )
    return base


def _read_base_name(folder: Path) -> str:
    name = read_config(folder, ADAPTER_CONFIG).get("base_model_name_or_path")
    if not name:
        raise EmbedderError(f"{folder / ADAPTER_CONFIG} does not say what it adapts")
    return str(name)


def _read_blocks(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= BLOCK_SIZE * MAX_BLOCKS:
            yield stream.read()
            return
        for index in range(MAX_BLOCKS):
            stream.seek(index * (size - BLOCK_SIZE) // (MAX_BLOCKS - 1))
            yield stream.read(BLOCK_SIZE)


def find_cached(name: str) -> Path | None:
    """Return the folder of a Hugging Face id whose weights are on this machine, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(name, local_files_only=True, allow_patterns=DOWNLOAD_PATTERNS)
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return Path(found) if _has_all_weights(Path(found)) else None


def _has_all_weights(folder: Path) -> bool:
    """Return whether all weights are there: a download may have been interrupted."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    parts = read_config(folder, index.name).get("weight_map")
    return isinstance(parts, dict) and all((folder / str(part)).exists() for part in parts.values())


def _download(name: str) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    try:
        patterns: Any = {"allow_patterns": DOWNLOAD_PATTERNS, "ignore_patterns": IGNORE_PATTERNS}
        return Path(snapshot_download(name, **patterns))
    except hub.GatedRepoError:
        raise EmbedderError(
            f"{name} can be downloaded only after you accept its terms: accept them at "
            f"https://huggingface.co/{name}, then type: hf auth login"
        ) from None
    except (hub.RepositoryNotFoundError, hub.HFValidationError):
        raise UnknownModelError(
            f"Hugging Face has no model {name!r} for you; `embedder models` lists names"
        ) from None
    except Exception as error:  # requests, httpx, hub and OS errors: no network, in many words
        raise EmbedderError(
            f"{name} is not on this machine and cannot be downloaded ({first_line(error)}); with a "
            f"network, type: hf download {name}; or name the folder of a copy"
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
