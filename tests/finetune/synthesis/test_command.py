"""The command `finetune synthesize`: killed, stopped, dry runs, wrong usage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from finetune.cli import app
from finetune.data.files import read_pairs
from finetune.errors import FinetuneError
from finetune.synthesis.prompt_templates import FILES
from tests.programs import run_program

ROOT = Path(__file__).parents[3]
COUNT = 24


@pytest.fixture
def command(chat, collection, tmp_path):
    """The arguments that tests add to."""
    chat.answer = lambda seen, number: chat.Answer(chat.good(seen, number).text, wait=0.1)
    store, out = str(collection.path.parent), str(tmp_path / "out.jsonl")
    wanted = ["--count", str(COUNT), "--out", out, "--languages", "en", "--no-filter"]
    return ["synthesize", *wanted, "--store", store, "--endpoint", chat.url, "--llm", "a-model"]


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "finetune", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def jobs(folder: Path) -> list[int]:
    """Jobs in the complete lines of the journal."""
    path = folder / "out.journal.jsonl"
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line)["job"] for line in text.split("\n")[1:-1]]


def wait_for(folder: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(jobs(folder)) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_and_run_again(command, chat, tmp_path):
    ours = {"POLYLENS_LLM_API_KEY": "secret", "POLYLENS_LLM_ENDPOINT": chat.url}
    first = start([*command, "--parallel", "3"], **ours)
    wait_for(tmp_path, 5)
    first.kill()
    first.communicate()
    survived = jobs(tmp_path)
    assert 5 <= len(survived) < COUNT
    openai = {"OPENAI_API_KEY": "other", "OPENAI_BASE_URL": chat.url}
    second = run_program("finetune", *command, "--parallel", "3", env=openai)
    assert second.returncode == 0, second.stderr
    assert second.stdout == f"{COUNT} pairs in {tmp_path / 'out.jsonl'}, from {COUNT} samples\n"
    assert f"pictures and prompts go to {chat.url}" in second.stderr
    assert jobs(tmp_path)[: len(survived)] == survived
    assert sorted(jobs(tmp_path)) == list(range(COUNT))
    assert len(read_pairs(tmp_path / "out.jsonl")) == COUNT
    assert len(chat.seen) <= COUNT + 3  # those in flight
    assert {seen.headers["Authorization"] for seen in chat.seen} == {
        "Bearer secret",
        "Bearer other",
    }


def test_first_interrupt_saves_everything(command, chat, tmp_path):
    process = start([*command, "--parallel", "2", "--json"])
    wait_for(tmp_path, 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    report = json.loads(out)
    assert report["status"] == "interrupted"
    assert report["done"] == len(jobs(tmp_path)) == len(chat.seen) < COUNT
    assert len(read_pairs(tmp_path / "out.jsonl")) == report["written"] == report["done"]


def test_second_interrupt_ends_at_once(command, chat, tmp_path):
    """It does not wait for the requests in flight; the journal has what was done."""
    chat.answer = lambda seen, number: chat.Answer(
        chat.good(seen, number).text, wait=60 if number > 2 else 0
    )
    process = start([*command, "--parallel", "2"])
    wait_for(tmp_path, 3)
    process.send_signal(signal.SIGINT)
    assert any("Ctrl-C again" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(jobs(tmp_path)) == 3


def invoke(arguments: list[str]):
    return CliRunner().invoke(app, arguments)


def test_a_dry_run_sends_and_writes_nothing(command, chat, tmp_path):
    prices = ["--price-in", "1", "--price-out", "4"]
    found = invoke([*command[:-4], "--dry-run", *prices, "--json"])
    plain = json.loads(found.stdout)
    assert plain["estimate"]["jobs"] == COUNT
    assert plain["estimate"]["tokens_out"] == 1200 * COUNT
    expected = (plain["estimate"]["tokens_in"] + 4 * 1200 * COUNT) / 1e6
    assert plain["estimate"]["cost"] == pytest.approx(expected)
    assert [job["job"] for job in plain["jobs"]] == [str(number) for number in range(8)]
    assert "{{" not in plain["prompt"]
    assert "--- the first request\nThe task is search" in invoke([*command, "--dry-run"]).stdout
    assert list(tmp_path.glob("out*")) == chat.seen == []


def test_above_the_budget_nothing_is_sent(command, chat, tmp_path):
    money = ["--price-in", "100", "--price-out", "100", "--budget", "0.01"]
    found = invoke([*command, *money])
    assert isinstance(found.exception, FinetuneError)
    assert "above the budget of 0.01; nothing was sent" in str(found.exception)
    assert chat.seen == []
    found = invoke([*command, *money, "--yes"])
    assert (found.exit_code, chat.seen) == (0, [])
    assert "0 pairs" in found.stdout


def test_a_changed_plan_is_refused(command, tmp_path):
    assert invoke([*command, "--count", "2"]).exit_code == 0
    found = invoke([*command, "--seed", "1"])
    assert "belongs to another plan" in str(found.exception)
    assert len(read_pairs(tmp_path / "out.jsonl")) == 2


def test_an_unrelated_file_is_not_overwritten(command, tmp_path):
    (tmp_path / "out.jsonl").write_text("mine\n")
    assert "already exists" in str(invoke(command).exception)
    assert (tmp_path / "out.jsonl").read_text() == "mine\n"


def test_wrong_usage(command, tmp_path):
    assert invoke(["synthesize", "--count", "1"]).exit_code == 2
    assert invoke(command[:-4]).exit_code == 2  # no language model
    assert invoke([*command, "--budget", "1"]).exit_code == 2  # no prices
    assert "klingon" in str(invoke([*command, "--languages", "klingon"]).exception)
    nowhere = invoke([*command, "--store", str(tmp_path / "nowhere")])
    assert "indexer ingest FOLDER" in str(nowhere.exception)


def test_prompts_are_copied(tmp_path):
    found = invoke(["synthesize", "--write-prompts", str(tmp_path / "mine"), "--json"])
    assert len(json.loads(found.stdout)["prompts"]) == len(FILES)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("typed", "sent"), [([], None), (["--llm-api-key", "typed"], "Bearer typed")]
)
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "POLYLENS_LLM_API_KEY"])
def test_a_key_of_the_environment_is_not_for_any_endpoint(command, chat, name, typed, sent):
    command[command.index("--count") + 1] = "1"
    done = run_program("finetune", *command, *typed, env={name: "secret"})
    assert {seen.headers.get("Authorization") for seen in chat.seen} == {sent}, done.stderr


def test_every_option_has_help():
    command = typer.main.get_command(app).commands["synthesize"]
    assert "finetune synthesize" in command.epilog
    assert all(param.help for param in command.params)
