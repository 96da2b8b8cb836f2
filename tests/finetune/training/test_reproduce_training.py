"""The training commands of docs/reproduce.md, on small imitations of the data in its published
layout, with tiny models of the architectures that the presets start from."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from embedder.vlm.quantization import Nf4Linear
from finetune.run_dir import RunDir
from finetune.training import trainer
from finetune.training.loading import load_trainable
from finetune.training.presets import PRESETS
from tests.programs import ROOT, run_program

SECTION = (ROOT / "docs" / "reproduce.md").read_text("utf-8").split("\n## Train\n")[1]
LINES = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```", SECTION, re.M | re.S)
    for line in block.splitlines()
]
LAUNCHER = ["torchrun", "--nproc-per-node", "8", "-m", "finetune", "train"]
TRAIN = [words[len(LAUNCHER) :] for words in LINES if words[0] == "torchrun"]
TINY = {  # by the base model
    "llava-hf/llama3-llava-next-8b-hf": "e5v",
    "Qwen/Qwen2-VL-2B-Instruct": "vlm2vec-qwen2vl",
    "Qwen/Qwen2-VL-7B-Instruct": "vlm2vec-qwen2vl",
    "llava-hf/llava-v1.6-mistral-7b-hf": "vlm2vec-llava",
    "meta-llama/Llama-3.2-11B-Vision": "mme5",
}
IMAGE = "<|image_1|>\n"
QUESTION = f"{IMAGE}Represent the given image with the following question: What is it?\n"
TARGET = f"{IMAGE}Represent the given image.\n"


def write_table(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def home(tmp_path_factory, photo) -> Path:
    home = tmp_path_factory.mktemp("home")
    sets = home / "sets"
    sets.mkdir()
    lines = [f"a man walks {n},a person moves {n},a man sleeps {n}" for n in range(6)]
    text = "\n".join(["sent0,sent1,hard_neg", *lines])
    (sets / "nli_for_simcse.csv").write_text(text, "utf-8")
    for name in ("OK-VQA", "NIGHTS"):
        for root in (sets / "MMEB-train", sets / "mmE5"):
            for n in range(4):
                photo(root / "images" / name / f"{n}.png", n, (60, 60))
        rows = [make_row(name, n) for n in range(4)]
        for split in ("original", "diverse_instruction", "train"):
            used = rows if split == "original" else rows[:1]
            write_table(sets / "MMEB-train" / name / f"{split}-00000-of-00001.parquet", used)
        hard = [{**row, **make_negatives(name, n)} for n, row in enumerate(rows)]
        write_table(sets / "mmE5-MMEB-hardneg" / name / "train-00000-of-00001.parquet", hard)
    made = [
        {**make_row("OK-VQA", n), **make_negatives("OK-VQA", n), "modality": "image-text"}
        for n in range(4)
    ]
    write_table(sets / "mmE5-synthetic" / "VQA" / "train-00000-of-00001.parquet", made)
    return home


def make_row(name: str, n: int) -> dict[str, str]:
    """A question about an image, or an image that looks like another one."""
    is_target = name == "NIGHTS"
    return {
        "qry": TARGET if is_target else QUESTION,
        "qry_image_path": f"images/{name}/{n}.png",
        "pos_text": TARGET if is_target else f"answer {n}",
        "pos_image_path": f"images/{name}/{(n + 1) % 4}.png" if is_target else "",
    }


def make_negatives(name: str, n: int) -> dict[str, str]:
    """Lists written as Python does: three, or fewer."""
    if name == "NIGHTS":
        paths = [f"images/{name}/{(n + 2) % 4}.png"]
        return {"neg_text": repr([""]), "neg_image_path": repr(paths)}
    texts = [f"it's not {n}", "a boat", "a tree", "a car"]
    return {"neg_text": repr(texts), "neg_image_path": repr([""] * 4)}


def find_values(words: list[str]) -> dict[str, str]:
    values = dict(pairwise(words))
    return {"--model": PRESETS[values["--preset"]].model, **values}


def test_the_page_has_a_command_for_every_paper():
    presets = {find_values(words)["--preset"] for words in TRAIN}
    assert presets == {name for name in PRESETS if name.endswith("-paper")}
    assert {find_values(words)["--model"] for words in TRAIN} == set(TINY)
    assert all(words[:6] == LAUNCHER for words in LINES if words[0] == "torchrun")
    assert [words[:2] for words in LINES if words[0] != "torchrun"] == [["finetune", "export"]]


@pytest.mark.parametrize("words", TRAIN, ids=lambda words: Path(words[-1]).name)
def test_the_commands_train_on_data_as_it_is_published(home, checkpoint, monkeypatch, words):
    """One step of two pairs; everything else is the preset's."""
    models = []

    def load_and_keep(*arguments):
        models.append(load_trainable(*arguments))
        return models[-1]

    monkeypatch.setattr(trainer, "load_trainable", load_and_keep)
    values = find_values(words)
    model = checkpoint(TINY[values["--model"]])
    given = [word.replace("~", str(home)) for word in words] + ["--model", str(model)]
    given += ["--batch", "2", "--steps", "1", "--device", "cpu", "--set", "checkpointing=false"]
    done = run_program("finetune", "train", *given, cwd=home)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
    run, preset = RunDir(home / values["--out"]), values["--preset"]
    about, config = run.read_metadata(), yaml.safe_load((run.folder / "config.yaml").read_text())
    assert (about["status"], about["preset"]) == ("done", preset)
    read = {name: one["pairs"] for name, one in about["datasets"].items() if one["pairs"]}
    if preset.startswith("vlm2vec"):
        assert read == {"NIGHTS": 4, "OK-VQA": 4}
        assert about["data"][0]["split"].startswith("original of 2 data sets (others: diverse_")
        version = json.loads((run.model / "polylens.json").read_text())["version"]
        llava = "llava" in values["--model"]
        assert version == (1 if llava else int(preset[len("vlm2vec-v")]))
    elif preset == "mme5-paper":
        synthetic = {"VQA": 4}
        labeled = {"NIGHTS": 4, "OK-VQA": 4}
        assert read == (synthetic if "zero-shot" in values["--out"] else synthetic | labeled)
    else:
        assert read == {"nli_for_simcse": 6}
        assert any(isinstance(layer, Nf4Linear) for layer in models[0].module.modules())
    lora = PRESETS[preset].lora
    assert config["lora"]["targets"] == [*lora.targets]
    written = json.loads((run.model / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"]) == (lora.rank, lora.alpha)


def test_the_adapter_of_e5v_is_merged(home):
    """The last command, with the run of the first one."""
    (words,) = [words for words in LINES if words[0] == "finetune"]
    done = run_program(*words, cwd=home)
    assert done.returncode == 0, done.stderr
    assert (home / words[words.index("--out") + 1] / "model.safetensors").exists()
