"""`finetune train` and `finetune export`, as a user runs them, on tiny random models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import embedder
from embedder.families.e5v import render_prompt
from embedder.types import Input, Settings
from finetune.data.files import read_pairs, write_pairs
from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.errors import DataError, FinetuneError
from finetune.evaluation.render import render_loss_curve
from finetune.run_dir import RunDir
from finetune.training.export import export_adapter, export_merged
from finetune.training.presets import resolve_recipe
from finetune.training.run import TrainingData, exclude_test_items, run_training
from tests.programs import run_program

ROOT = Path(__file__).parents[3]
CPU = Settings(device="cpu")
COLORS = {
    "red": (220, 20, 20),
    "green": (20, 200, 40),
    "blue": (30, 40, 220),
    "grey": (99, 99, 99),
}


@pytest.fixture
def captions(tmp_path) -> Path:
    """Twelve images, each with an English and a German caption."""
    rows = ["image,caption,language"]
    for number in range(3):
        for name, color in COLORS.items():
            path = tmp_path / f"{name}{number}.png"
            image = Image.new("RGB", (60 + 10 * number, 60), color)
            image.paste((255, 255, 255), (10 * number, 5, 10 * number + 9, 30 + len(name)))
            image.save(path)
            rows += [f"{path},{name} {number},en", f"{path},{number} in {name},de"]
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "captions.csv"


@pytest.fixture
def texts(tmp_path) -> Path:
    pairs = [Pair(Side(f"a {c} {n}"), Side(f"{n} {c}")) for n in range(3) for c in COLORS]
    write_pairs(tmp_path / "texts.jsonl", pairs)
    return tmp_path / "texts.jsonl"


@pytest.fixture
def trained(checkpoint, texts, tmp_path) -> Path:
    """The folder of a run on a tiny E5-V, which has moved away from its base."""
    settings = {"preset": "e5v", "model": str(checkpoint("e5v")), "quantize": "none"}
    recipe = resolve_recipe(
        settings | {"batch": 6, "steps": 4, "rate": 3e-3, "warmup": 0, "longest": 8}
    )
    run = RunDir(tmp_path / "run")
    run_training(TrainingData(files=[texts], hold_out=0), recipe, run, CPU, lambda _: None)
    return run.folder


def test_the_command_adapts_a_vision_language_model(checkpoint, captions, tmp_path):
    """The command: train, hold out, measure before and after, write the folder, load it."""
    base, run = checkpoint("vlm2vec-qwen2vl", "V2"), tmp_path / "run"
    words = ["train", captions, "--preset", "vlm2vec", "--model", base, "--out", run, "--json"]
    words += ["--batch", "8", "--set", "sub_batch=0", "--steps", "2", "--rate", "1e-3"]
    words += ["--hold-out", "0.3", "--device", "cpu", "--matryoshka", "8,16"]
    words += ["--set", "log_every=1"]
    done = run_program("finetune", *words)
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)
    assert settings["steps"] == 2 and "Traceback" not in done.stderr
    assert "step 2 of 2, loss" in done.stderr
    held = read_pairs(run / "evaluation" / "held-out.jsonl")
    assert settings["pairs"] + len(held) == 24
    assert {pair.language for pair in held} == {"de", "en"}
    measured = json.loads((run / "evaluation" / "held-out" / "comparison.json").read_text())
    assert measured["before"]["name"] == str(base)
    assert {group["language"] for group in measured["groups"]} == {"de", "en"}
    about = json.loads((run / "run.json").read_text())
    assert (about["status"], about["preset"], about["pairs"]) == (
        "done",
        "vlm2vec",
        settings["pairs"],
    )
    assert about["data"][0]["path"] == str(captions) and len(about["data"][0]["blake3"]) == 32
    assert yaml.safe_load((run / "config.yaml").read_text())["matryoshka"] == [8, 16]
    assert "## Results" in (run / "README.md").read_text()
    assert "<path" in (run / "loss.svg").read_text()
    short = embedder.load(str(run), Settings(device="cpu", dim=8))
    assert short.card.matryoshka == (8, 16) and short.embed([Input("red")], "query").shape == (1, 8)


def test_data_sets_are_limited_and_their_weights_recorded(checkpoint, tmp_path):
    """The first rows of each are used; what is drawn is printed and written down."""
    for name, count in (("shop", 9), ("notes", 4)):
        pairs = [Pair(Side(f"{name} {n}"), Side(f"{n}"), item=f"{name}{n}") for n in range(count)]
        write_pairs(tmp_path / f"{name}.jsonl", [replace(p, dataset=name) for p in pairs])
    recipe = resolve_recipe(
        {"preset": "e5v", "model": str(checkpoint("e5v")), "quantize": "none", "batch": 4},
        {"steps": 2, "warmup": 0, "sub_batch": 0.5},
        {"datasets": {"shop": {"rows": 6, "weight": 3}, "films": {"weight": 1}}},
    )
    files = [tmp_path / f"{name}.jsonl" for name in ("shop", "notes")]
    run, lines = RunDir(tmp_path / "run"), []
    done = run_training(TrainingData(files=files, hold_out=0), recipe, run, CPU, lines.append)
    assert done.pairs == 10
    assert run.read_metadata()["datasets"] == {
        "films": {"pairs": 0},
        "notes": {"pairs": 4, "weight": 0.25},
        "shop": {"pairs": 6, "weight": 0.75},
    }
    assert "pairs of each data set: notes 4 (25.0 %), shop 6 (75.0 %)" in lines
    assert "data sets of the recipe that are not here: films" in lines
    saved = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert resolve_recipe(saved) == recipe


def test_a_merged_model_gives_the_same_vectors(trained, checkpoint, tmp_path):
    """In our own loader, in sentence-transformers, and in transformers alone."""
    export_merged(trained, tmp_path / "merged", None)
    image = Image.new("RGB", (90, 60), "teal")
    inputs = [Input("a cat"), Input(images=(image,)), Input("at night", (image,))]
    adapted = embedder.load(str(trained), CPU).embed(inputs, "query")
    merged = embedder.load(str(tmp_path / "merged"), CPU).embed(inputs, "query")
    np.testing.assert_allclose(merged, adapted, atol=1e-5)
    before = embedder.load(str(checkpoint("e5v")), CPU).embed(inputs, "query")
    assert np.abs(adapted - before).max() > 1e-3
    prompt = "".join(p if isinstance(p, str) else p.text for p in render_prompt(inputs[0], "query"))
    np.testing.assert_allclose(_by_sentences(tmp_path / "merged", prompt), adapted[0], atol=1e-5)
    np.testing.assert_allclose(_by_transformers(tmp_path / "merged", prompt), adapted[0], atol=1e-5)


def _by_sentences(folder: Path, prompt: str) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode([{"text": prompt}])[0]


def _by_transformers(folder: Path, prompt: str) -> np.ndarray:
    """With its language head, as vLLM wants the checkpoint."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt").input_ids
    with torch.inference_mode():
        state = model.model(input_ids=ids).last_hidden_state[0, -1]
    return (state / state.norm()).numpy()


def test_export_of_the_adapter(trained, tmp_path):
    export_adapter(trained, tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "polylens.json"}
    one, two = (embedder.load(str(f), CPU) for f in (trained, tmp_path / "adapter"))
    assert one.card.fingerprint == two.card.fingerprint
    with pytest.raises(FinetuneError, match="not empty"):
        export_adapter(trained, tmp_path / "adapter")


def test_the_starter_is_exported_as_its_head(captions, tmp_path):
    recipe = resolve_recipe({"preset": "starter-head", "steps": 3, "batch": 12, "rate": 1e-2})
    run = RunDir(tmp_path / "run")
    done = run_training(
        TrainingData(files=[captions], hold_out=0.4), recipe, run, CPU, lambda _: None
    )
    assert done.steps == 3 and done.comparison.before.name == "starter"
    export_merged(run.folder, tmp_path / "head", None)
    names = {path.name for path in (tmp_path / "head").iterdir()}
    assert names == {"polylens.json", "starter_head.safetensors"}
    inputs = [Input("red"), Input(images=(Image.new("RGB", (90, 60), "teal"),))]
    one, two, base = (
        embedder.load(name, CPU).embed(inputs, "query")
        for name in (str(run.folder), str(tmp_path / "head"), "starter")
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - base).max() > 1e-3


def test_a_model_of_sentence_transformers_is_merged(qwen, captions, tmp_path):
    settings = {"preset": "vlm2vec", "model": str(qwen), "sub_batch": 0, "batch": 6, "steps": 2}
    run = RunDir(tmp_path / "run")
    recipe = resolve_recipe(settings | {"rate": 1e-3, "warmup": 0})
    run_training(TrainingData(files=[captions], hold_out=0), recipe, run, CPU, lambda _: None)
    export_merged(run.folder, tmp_path / "merged", None)
    inputs = [Input("red"), Input(images=(Image.new("RGB", (90, 60), "teal"),))]
    adapted, merged = (
        embedder.load(str(f), CPU).embed(inputs, "document")
        for f in (run.folder, tmp_path / "merged")
    )
    np.testing.assert_allclose(merged, adapted, atol=1e-5)


def test_a_finished_or_different_run_is_not_resumed(trained, texts, checkpoint):
    settings = {"preset": "e5v", "model": str(checkpoint("e5v")), "quantize": "none"}
    recipe = resolve_recipe(
        settings | {"batch": 6, "steps": 4, "rate": 3e-3, "warmup": 0, "longest": 8}
    )
    with pytest.raises(FinetuneError, match="is done; choose another --out"):
        run_training(
            TrainingData(files=[texts], hold_out=0), recipe, RunDir(trained), CPU, lambda _: None
        )
    RunDir(trained).update_metadata({"status": "stopped"})
    other = resolve_recipe(settings | {"batch": 4, "steps": 4})
    with pytest.raises(FinetuneError, match=r"started with other settings .*batch"):
        run_training(
            TrainingData(files=[texts], hold_out=0), other, RunDir(trained), CPU, lambda _: None
        )


def test_a_folder_with_other_files_is_refused(texts, checkpoint):
    settings = {"preset": "e5v", "model": str(checkpoint("e5v")), "quantize": "none"}
    with pytest.raises(FinetuneError, match="not a run directory"):
        run_training(
            TrainingData(files=[texts], hold_out=0),
            resolve_recipe(settings),
            RunDir(texts.parent),
            CPU,
            lambda _: None,
        )


def test_test_items_are_excluded_from_training(captions):
    """By item and by image, whatever the caption says."""
    pairs = read_pairs(captions)
    tests = [pair for pair in pairs if "red0" in pair.positive.image and pair.language == "en"]
    kept = exclude_test_items(pairs, tests, ContentKeys())
    assert len(kept) == 22
    assert not any("red0" in pair.positive.image for pair in kept)


def test_a_text_only_recipe_refuses_images(captions, checkpoint, tmp_path):
    recipe = resolve_recipe({"preset": "e5v", "model": str(checkpoint("e5v")), "quantize": "none"})
    with pytest.raises(DataError, match=r"24 of 24 pairs have images.*--texts"):
        run_training(
            TrainingData(files=[captions], hold_out=0),
            recipe,
            RunDir(tmp_path / "run"),
            CPU,
            lambda _: None,
        )
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_loss_curve():
    drawn = render_loss_curve([(1, 2.0), (10, 1.0), (20, 0.5)])
    assert 'aria-label="Loss from 2 to 0.5 in 20 steps"' in drawn
    points = drawn.split('<path d="')[1].split('"')[0].split()
    heights = [float(y) for y in points[1::2]]
    assert heights == sorted(heights) and len(heights) == 3  # down the page: less loss
    assert "<svg" in render_loss_curve([]) and "<svg" in render_loss_curve([(1, float(1))])
