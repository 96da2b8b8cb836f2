"""Our vectors are those of the authors' code: tiny random models, recorded with their versions.

tests/embedder/parity/README.md says how the recordings were made.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import embedder
from embedder.engine.engine import Engine
from embedder.families.e5v import fashioniq_texts
from embedder.types import Input, Settings
from embedder.vectors import unit

HERE = Path(__file__).parent / "parity"


def _tiny() -> ModuleType:
    """parity/tiny.py, which is no package's: the recorder runs it under other versions."""
    spec = importlib.util.spec_from_file_location("tiny", HERE / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny"] = module
    spec.loader.exec_module(module)
    return module


tiny = _tiny()
FORMS = [
    (family, form)
    for family in tiny.FAMILIES
    if (HERE / f"{family}.tokenizer.json").exists()
    for form in tiny.fixture(family)["forms"] or [None]
]
BLANK = "text_empty"  # the authors embed it; here it is refused


def cases(family: str, form: str | None) -> list[dict]:
    found = tiny.fixture(family)["cases"]
    return [case for case in found if case.get("form") == form and case["kind"] != "fashioniq" and case["name"] != BLANK]


def instruction(found: dict) -> str | None:
    prompt = found.get("prompt", "")
    if prompt.startswith("fashioniq"):
        return f"fashioniq {found['category']}"
    return "cirr" if prompt.startswith("cirr") else found["instruction"]


def given(found: dict) -> Input:
    images = (tiny.picture(found["picture"]),) if found["picture"] else ()
    return Input(found["text"], images)


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
def model(tmp_path_factory) -> Callable[[str, str | None], Engine]:
    @cache
    def loaded(family: str, form: str | None) -> Engine:
        folder = build(family, form, tmp_path_factory.mktemp(family) / "model")
        return embedder.load(str(folder), Settings(device="cpu"))

    return loaded


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_each_alone(model, family, form):
    for found in cases(family, form):
        vector = model(family, form).embed([given(found)], found["role"], instruction(found))[0]
        close(vector, family, found["name"])


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_all_in_one_call(model, family, form):
    """Texts and pictures mixed, as the engine batches them, for each role and instruction."""
    key = lambda found: (found["role"], instruction(found) or "")  # noqa: E731
    for (role, told), group in groupby(sorted(cases(family, form), key=key), key=key):
        some = list(group)
        vectors = model(family, form).embed([given(found) for found in some], role, told or None)
        for found, vector in zip(some, vectors, strict=True):
            close(vector, family, found["name"])


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_token_ids(model, family, form):
    for found in cases(family, form):
        ready = model(family, form).backbone.prepare(given(found), found["role"], instruction(found))
        recorded = tiny.expected(family)[f"{found['name']}__ids"]
        assert collapsed(ready.ids, family) == collapsed(recorded, family), found["name"]


def collapsed(ids: Sequence[int], family: str) -> list[int]:
    """A picture's places as one: the authors' versions open them out in the model or before it."""
    image = tiny.fixture(family)["files"]["config.json"].get("image_token_index")
    runs = groupby(map(int, ids))
    return [i for key, run in runs for i in ([key] if key == image else run)]


def test_fashioniq_sums_both_orders(model):
    """The authors add the states of both orders of a change's captions."""
    found = case("e5v", "fashioniq_both")
    texts = fashioniq_texts(*found["captions"])
    inputs = [Input(text, (tiny.picture(found["picture"]),)) for text in texts]
    states = model("e5v", None).states(inputs, "query", instruction(found))
    close(unit(states.sum(axis=0, keepdims=True))[0], "e5v", found["name"])


def case(family: str, name: str) -> dict:
    return next(c for c in tiny.fixture(family)["cases"] if c["name"] == name)


def close(vector: np.ndarray, family: str, name: str) -> None:
    """Equal to what the authors' code gives alone, and to what it gives in a padded batch."""
    recorded = tiny.expected(family)
    np.testing.assert_allclose(vector, recorded[name], atol=1e-5, err_msg=name)
    if f"{name}__batched" in recorded:
        np.testing.assert_allclose(vector, recorded[f"{name}__batched"], atol=1e-5, err_msg=name)
