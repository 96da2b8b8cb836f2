"""Any part may begin with a minus, and options stay options."""

from __future__ import annotations

from itertools import permutations

import pytest

from indexer.cli.search import put_options_first

FLAGS, VALUED = {"--json", "-v", "--fold", "--no-fold"}, {"--limit", "-n", "--where"}


def split(*arguments: str) -> tuple[list[str], list[str]]:
    found = put_options_first(arguments, FLAGS, VALUED)
    at = found.index("--")
    return found[:at], found[at + 1 :]


@pytest.mark.parametrize("order", [*permutations(["beach", "-people", "--limit=5", "--json"])])
def test_any_order(order):
    options, parts = split(*order)
    assert set(options) == {"--limit=5", "--json"}
    assert parts == [part for part in order if part in ("beach", "-people")]


@pytest.mark.parametrize(
    ("arguments", "options", "parts"),
    [
        (["-people"], [], ["-people"]),
        (["--", "-people"], [], ["-people"]),
        (["--", "--json"], [], ["--json"]),
        (["a", "--", "-v", "--", "b"], [], ["a", "-v", "--", "b"]),
        (["-vase"], [], ["-vase"]),  # -v is an option, and so are -n and --limit
        (["-night", "-n", "3"], ["-n", "3"], ["-night"]),
        (["-v", "sea"], ["-v"], ["sea"]),
        (["--where", "-x=1", "-y"], ["--where", "-x=1"], ["-y"]),
        (["--limit", "--json"], ["--limit", "--json"], []),
        (["-2:sea", "+sky", "-0.5:a.jpg"], [], ["-2:sea", "+sky", "-0.5:a.jpg"]),
        (["-"], [], ["-"]),
        (["-大海", "--json"], ["--json"], ["-大海"]),
        (["--limt", "5"], ["--limt"], ["5"]),  # the parser says what is wrong
    ],
)
def test_options_and_parts_are_distinguished(arguments, options, parts):
    assert split(*arguments) == (options, parts)


def test_an_option_without_its_value_stays_last():
    assert put_options_first(["sea", "--limit"], FLAGS, VALUED) == ["--limit"]


@pytest.mark.parametrize(
    "line",
    [
        "red -blue --limit 2 --json",
        "--json -blue red -n 2",
        "-n 2 -blue --json red",
        "--limit 2 --json -- -blue red",
        "--json --limit=2 red -- -blue",
    ],
)
def test_the_program_accepts_them(library, line):
    import json

    done = library("search", *line.split())
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert sorted(answer["query"]["parts"]) == ["-blue", "red"]
    assert answer["query"]["limit"] == 2
    weights = {part["label"]: part["weight"] for part in answer["hits"][0]["why"]["parts"]}
    assert weights == {"red": 1.0, "blue": -1.0}
    assert answer["hits"][0]["path"].endswith("red.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sea", "--limt", "5"], "--limt"),
        (["sea", "--limit"], "--limit"),
        (["sea", "--limit", "many"], "--limit"),
        (["sea", "--limit", "0"], "--limit"),
        ([], "what to look for"),
    ],
)
def test_a_mistake_is_wrong_usage(indexer, arguments, message):
    done = indexer("search", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
