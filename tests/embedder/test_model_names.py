"""Short names of known models, and suggestions for mistyped ones."""

from __future__ import annotations

import pytest

import embedder
from embedder.errors import UnknownModelError
from embedder.families.registry import SHORT_NAMES, expand_name, find_family, suggest_names
from indexer.collections.model import make_lazy_embedder
from indexer.config import load_config
from tests.programs import run_program


def test_every_known_model_but_the_starter_has_one_short_name():
    known = {card.name for card in embedder.list_models()} - {"starter"}
    assert sorted(SHORT_NAMES.values()) == sorted(known)
    assert all(short == short.lower() and "/" not in short for short in SHORT_NAMES)


@pytest.mark.parametrize(("short", "full"), SHORT_NAMES.items())
def test_a_short_name_stands_for_the_full_one(short, full):
    assert find_family(short) == find_family(full)
    assert find_family(short.upper())[1] == full
    assert embedder.find_model(short) == embedder.find_model(full)
    family = find_family(full)[0].name
    assert find_family(f"{family}:{short}")[1] == full


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expand_name("mme5") == "intfloat/mmE5-mllama-11b-instruct"
    (tmp_path / "mme5").mkdir()
    assert expand_name("mme5") == "mme5"


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("siglip2-bas", "siglip2-base"),
        ("siglip2", "siglip2-base"),
        ("strater", "starter"),
        ("E5V", "e5-v"),
        ("qwen3-vl", "qwen3-vl-embedding-2b"),
        ("google/siglip2-base-patch16-224", "siglip2-base"),
        ("vlm2vec-qwen2-vl-2b", "vlm2vec-qwen2vl-2b"),
    ],
)
def test_the_nearest_name_is_suggested(typed, suggested):
    assert suggested in suggest_names(typed)


def test_nothing_is_suggested_for_another_name():
    assert suggest_names("my-own-model") == []
    assert suggest_names("x") == []


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_current_folder(name):
    with pytest.raises(UnknownModelError, match="is empty"):
        embedder.describe_model(name)


def test_an_unknown_name_is_one_error_everywhere(tmp_path):
    """From Python, from a setting, and on the command line."""
    message = "no model or folder is called 'siglip2-bas'.*did you mean siglip2-base\\?"
    with pytest.raises(UnknownModelError, match=message):
        embedder.load("siglip2-bas")
    config = load_config({"store": str(tmp_path), "model": "siglip2-bas"})
    with pytest.raises(UnknownModelError, match=message):
        make_lazy_embedder(config, None)
    done = run_program("indexer", "ingest", tmp_path, "--model", "siglip2-bas", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean siglip2-base?" in done.stderr


def test_commands_know_short_names():
    assert (
        "google/siglip2-base-patch16-256"
        in run_program("embedder", "info", "--model", "siglip2-base").stdout
    )
    plan = run_program("indexer", "plan", "--images", "1M", "--model", "siglip2-base")
    assert "--model google/siglip2-base-patch16-256" in plan.stdout
