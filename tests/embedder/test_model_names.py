"""Short names of known models, and suggestions for mistyped ones."""

from __future__ import annotations

import pytest

import embedder
from embedder.errors import UnknownModelError
from embedder.families.registry import (
    SHORT_NAMES,
    expand_name,
    find_family,
    shorten_name,
    suggest_names,
)
from indexer.collections.model import make_lazy_embedder
from indexer.config import load_config
from tests.programs import run_program


def test_every_known_model_but_the_starter_has_a_short_name():
    known = {card.name for card in embedder.list_models()} - {"starter"}
    assert set(SHORT_NAMES.values()) == known
    assert all(short == short.lower() and "/" not in short for short in SHORT_NAMES)
    assert {expand_name(shorten_name(full)) for full in known} == known


def test_the_names_that_people_type_first():
    assert {short: expand_name(short) for short in ("siglip2", "qwen3-vl-2b", "vlm2vec")} == {
        "siglip2": "google/siglip2-base-patch16-256",
        "qwen3-vl-2b": "Qwen/Qwen3-VL-Embedding-2B",
        "vlm2vec": "VLM2Vec/VLM2Vec-V2.0",
    }
    # names of earlier versions are still understood
    assert expand_name("siglip2-base") == expand_name("siglip2")


@pytest.mark.parametrize(("short", "full"), SHORT_NAMES.items())
def test_a_short_name_stands_for_the_full_one(short, full):
    assert find_family(short) == find_family(full)
    assert find_family(short.upper())[1] == full
    assert embedder.find_model(short) == embedder.find_model(full)
    family = find_family(full)[0].name
    assert find_family(f"{family}:{short}")[1] == full


def test_a_card_has_the_full_name(monkeypatch):
    """So that a collection does not depend on what its model was called."""
    monkeypatch.setitem(SHORT_NAMES, "star", "starter")
    assert embedder.describe_model("star") == embedder.describe_model("starter")
    assert embedder.load("star").card == embedder.describe_model("starter")


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expand_name("mme5") == "intfloat/mmE5-mllama-11b-instruct"
    (tmp_path / "mme5").mkdir()
    assert expand_name("mme5") == "mme5"


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("siglip2-bas", "siglip2"),
        ("siglp2", "siglip2"),
        ("qwen3-vl-3b", "qwen3-vl-2b"),
        ("strater", "starter"),
        ("E5V", "e5-v"),
        ("qwen3-vl", "qwen3-vl-2b"),
        ("google/siglip2-base-patch16-224", "siglip2"),
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
    message = "no model or folder is called 'siglip2-bas'.*did you mean siglip2\\?"
    with pytest.raises(UnknownModelError, match=message):
        embedder.load("siglip2-bas")
    config = load_config({"store": str(tmp_path), "model": "siglip2-bas"})
    with pytest.raises(UnknownModelError, match=message):
        make_lazy_embedder(config, None)
    done = run_program("indexer", "ingest", tmp_path, "--model", "siglip2-bas", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean siglip2?" in done.stderr


def test_a_mistyped_name_behind_a_family_is_not_a_folder():
    with pytest.raises(UnknownModelError, match=r"did you mean vlm2vec.*known models"):
        embedder.describe_model("vlm2vec:vlm2vec-v3")


def test_commands_know_short_names():
    assert (
        "google/siglip2-base-patch16-256"
        in run_program("embedder", "info", "--model", "siglip2-base").stdout
    )
    plan = run_program("indexer", "plan", "--images", "1M", "--model", "siglip2-base")
    assert "--model google/siglip2-base-patch16-256" in plan.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("indexer", "plan", "--images", "10"),
        ("finetune", "evaluate", "pairs.csv"),
        ("finetune", "mine", "pairs.csv", "--out", "mined.jsonl"),
        ("finetune", "train", "pairs.csv", "--preset", "mme5", "--out", "run"),
    ],
    ids=lambda command: command[1],
)
def test_every_command_suggests_the_nearest_name(command, tmp_path):
    (tmp_path / "pairs.csv").write_text("query,positive\na cat,cats\na dog,dogs\n")
    done = run_program(*command, "--model", "siglp2", cwd=tmp_path)
    assert done.returncode != 0
    assert "did you mean siglip2?" in " ".join(done.stderr.split())
