"""`finetune evaluate` and `finetune compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from finetune.cli import app
from finetune.data.files import write_pairs
from finetune.data.pairs import Pair, Side
from tests.programs import run_program

ROOT = Path(__file__).parents[3]
ASKED = (
    ("a ginger cat", "en", "chelsea"),
    ("eine Kuh", "de", "cow"),
    ("un delfín", "es", "dolphin"),
)


def run_command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def pairs(tmp_path):
    animals = ROOT / "samples" / "animals"
    found = [
        Pair(Side(text=words), Side(image=str(next(animals.glob(f"{name}.*")))), language=language)
        for words, language, name in ASKED
    ]
    write_pairs(tmp_path / "pairs.jsonl", found)
    return tmp_path / "pairs.jsonl"


def test_evaluate_and_compare(pairs, tmp_path, checkpoint):
    """The starter against a random model: they are compared from their folders, and afresh."""
    first, second = tmp_path / "starter", tmp_path / "random"
    done = run_command("evaluate", pairs, "--out", first)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith("all\t3\t")
    assert (first / "report.html").exists()
    small = checkpoint("vlm2vec-qwen2vl", "v2")
    words = ("--model", small, "--out", second, "--device", "cpu", "--json")
    report = json.loads(run_command("evaluate", pairs, *words).stdout)
    assert report["benchmark"]["queries"] == 3
    assert report["out"] == str(second)
    done = run_command("compare", second, first, "--out", tmp_path / "both")
    assert done.exit_code == 0, done.output
    assert "recall@10 100.0 before, 100.0 after: no difference beyond chance" in done.stdout
    assert (tmp_path / "both" / "after" / "report.json").exists()
    again = json.loads(run_command("compare", "starter", "starter", pairs, "--json").stdout)
    assert again["overall"]["recall@1"]["p"] == 1
    assert again["after"]["name"] == "starter"


def test_an_error_is_one_line(pairs, tmp_path):
    def failed(*arguments):
        done = run_program("finetune", *arguments)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        (line,) = done.stderr.strip().splitlines()
        return line

    assert "unknown benchmark 'crr'" in failed("evaluate", pairs, "--benchmark", "crr")
    assert "holds no evaluation" in failed("compare", tmp_path, tmp_path)


def test_cirr_submission(tmp_path):
    names = [f"test1-{n}-0-img1" for n in range(3)]
    for folder in ("captions", "image_splits", "img_raw/test1"):
        (tmp_path / "cirr" / folder).mkdir(parents=True)
    for name, color in zip(names, ("red", "green", "blue"), strict=True):
        Image.new("RGB", (32, 32), color).save(tmp_path / "cirr/img_raw/test1" / f"{name}.png")
    paths = {name: f"./test1/{name}.png" for name in names}
    (tmp_path / "cirr/image_splits/split.rc2.test1.json").write_text(json.dumps(paths))
    change = {"pairid": 7, "reference": names[0], "caption": "green", "img_set": {"members": names}}
    (tmp_path / "cirr/captions/cap.rc2.test1.json").write_text(json.dumps([change]))
    words = ("evaluate", tmp_path / "cirr", "--benchmark", "cirr-test")
    done = run_program("finetune", *words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert [path.name for path in paths] == [
        "cirr-test-recall.json",
        "cirr-test-recall-subset.json",
    ]
    assert sorted(json.loads(paths[0].read_text())["7"]) == names[1:]
    assert "upload them to https://" in done.stderr
    assert run_command(*words).exit_code == 2  # without --out
    assert run_command(*words, "--out", tmp_path / "out", "--limit", "1").exit_code == 2
    assert run_command("compare", "starter", "starter", *words[1:]).exit_code == 2


def test_limit_counts_queries(pairs):
    report = json.loads(run_command("evaluate", pairs, "--limit", "2", "--json").stdout)
    assert report["benchmark"]["queries"] == 2
    assert report["benchmark"]["documents"] == 3


def test_options_that_do_not_apply_are_wrong_usage(pairs):
    assert run_command("evaluate", pairs, "--benchmark", "cirr", "--reverse").exit_code == 2
    assert run_command("compare", "a", "b", "--limit", "5").exit_code == 2
    assert run_command("evaluate", pairs, "--limit", "0").exit_code == 2
