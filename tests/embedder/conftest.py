"""Tiny random models of the real architectures, loaded from a folder as a user's would be."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import embedder
from embedder.engine.engine import Engine
from embedder.types import Settings

HERE = Path(__file__).parent / "parity"


def _tiny() -> ModuleType:
    """parity/tiny.py, which belongs to no package: the recorder runs it under other versions."""
    spec = importlib.util.spec_from_file_location("tiny", HERE / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny"] = module
    spec.loader.exec_module(module)
    return module


tiny = _tiny()


def build(family: str, form: str | None, folder: Path) -> Path:
    """The checkpoint, and beside it what a checkpoint of one's own says of how it was trained."""
    tiny.build(family, folder)
    told = tiny.fixture(family)["forms"].get(form, {})
    if told:
        square = (told["resize"] or [0])[0]
        pixels = [told.get("min_pixels", 0), told.get("max_pixels", 0)]
        ours = {"family": "vlm2vec", "version": int(form[1]), "square": square, "pixels": pixels}
        (folder / "polylens.json").write_text(json.dumps(ours))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[..., Path]:
    """The folder of a family's tiny model."""

    @cache
    def built(family: str, form: str | None) -> Path:
        return build(family, form, tmp_path_factory.mktemp(family) / "model")

    return lambda family, form=None: built(family, form)


@pytest.fixture(scope="session")
def model(checkpoint) -> Callable[..., Engine]:
    """A family's tiny model, loaded once."""

    @cache
    def loaded(family: str, form: str | None) -> Engine:
        return embedder.load(str(checkpoint(family, form)), Settings(device="cpu"))

    return lambda family, form=None: loaded(family, form)
