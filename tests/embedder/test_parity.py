"""Vectors equal those of the authors' code: tiny random models, recorded with their versions.

tests/embedder/parity/README.md says how the recordings were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pytest
import tiny

from embedder.families.e5v import join_fashioniq_captions
from embedder.types import Input, normalize

FORMS = [
    (family, form) for family in tiny.FAMILIES for form in tiny.fixture(family)["forms"] or [None]
]
OTHERWISE = {  # where we do something else on purpose; docs/models.md tells users
    "text_empty",  # the authors embed it; here it is refused
    "ask_square",  # the authors cut the end off a long prompt; here a user's words are cut instead
}


def cases(family: str, form: str | None) -> list[dict]:
    recording = [case for case in tiny.fixture(family)["cases"] if case.get("form") == form]
    return [c for c in recording if c["kind"] != "fashioniq" and c["name"] not in OTHERWISE]


def instruction(recording: dict) -> str | None:
    prompt = recording.get("prompt", "")
    if prompt.startswith("fashioniq"):
        return f"fashioniq {recording['category']}"
    return "cirr" if prompt.startswith("cirr") else recording["instruction"]


def as_input(recording: dict) -> Input:
    images = (tiny.picture(recording["picture"]),) if recording["picture"] else ()
    return Input(recording["text"], images)


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_recorded_vectors_one_by_one(model, family, form):
    for recording in cases(family, form):
        vector = model(family, form).embed(
            [as_input(recording)], recording["role"], instruction(recording)
        )[0]
        close(vector, family, recording["name"])


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_recorded_vectors_in_one_call(model, family, form):
    """Texts and images mixed, as the engine batches them, for each role and instruction."""
    key = lambda recording: (recording["role"], instruction(recording) or "")  # noqa: E731
    for (role, instruction_text), group in groupby(sorted(cases(family, form), key=key), key=key):
        some = list(group)
        vectors = model(family, form).embed(
            [as_input(recording) for recording in some], role, instruction_text or None
        )
        for recording, vector in zip(some, vectors, strict=True):
            close(vector, family, recording["name"])


@pytest.mark.parametrize(("family", "form"), FORMS)
def test_token_ids(model, family, form):
    for recording in cases(family, form):
        backbone = model(family, form).backbone
        ready = backbone.prepare(as_input(recording), recording["role"], instruction(recording))
        recorded = tiny.expected(family)[f"{recording['name']}__ids"]
        assert collapsed(ready.ids, family) == collapsed(recorded, family), recording["name"]


def collapsed(ids: Sequence[int], family: str) -> list[int]:
    """An image's tokens as one: the authors' versions expand them in the model or before it."""
    image = tiny.fixture(family)["files"]["config.json"].get("image_token_index")
    runs = groupby(map(int, ids))
    return [i for key, run in runs for i in ([key] if key == image else run)]


def test_fashioniq_sums_both_orders(model):
    """The authors add the states of both orders of a change's captions."""
    recording = case("e5v", "fashioniq_both")
    texts = join_fashioniq_captions(*recording["captions"])
    inputs = [Input(text, (tiny.picture(recording["picture"]),)) for text in texts]
    states = model("e5v", None).states(inputs, "query", instruction(recording))
    close(normalize(states.sum(axis=0, keepdims=True))[0], "e5v", recording["name"])


def case(family: str, name: str) -> dict:
    return next(c for c in tiny.fixture(family)["cases"] if c["name"] == name)


def close(vector: np.ndarray, family: str, name: str) -> None:
    """Equal to what the authors' code gives alone, and to what it gives in a padded batch."""
    recorded = tiny.expected(family)
    np.testing.assert_allclose(vector, recorded[name], atol=1e-5, err_msg=name)
    if f"{name}__batched" in recorded:
        np.testing.assert_allclose(vector, recorded[f"{name}__batched"], atol=1e-5, err_msg=name)
