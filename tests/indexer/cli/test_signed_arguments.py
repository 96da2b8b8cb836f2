"""Any part may begin with a minus, and options stay options."""

from __future__ import annotations

import json
from itertools import permutations

import pytest

from indexer.cli.search import put_options_first

FLAGS, VALUED = {"--json", "-v", "-h", "--fold", "--no-fold"}, {"--limit", "-n", "--where"}


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
        (["-40 degrees", "+sky", "-a.jpg^2"], [], ["-40 degrees", "+sky", "-a.jpg^2"]),
        (["-nature"], [], ["-nature"]),  # not -n ature
        (["-n5", "sea", "-n5th"], ["-n5"], ["sea", "-n5th"]),
        (["-люди", "-ناس", "-🌅"], [], ["-люди", "-ناس", "-🌅"]),
        (["-~/a.jpg", "-/a.jpg", "-./a.jpg"], [], ["-~/a.jpg", "-/a.jpg", "-./a.jpg"]),
        (["a", "-h"], ["-h"], ["a"]),
        (["--", "-h"], [], ["-h"]),
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


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (["a red wall", "-blue"], ["a red wall", "-blue"]),
        (["a", "red", "wall", "-blue"], ["a red wall", "-blue"]),
        (["a red wall -blue"], ["a red wall", "-blue"]),
        (["red", "-nature"], ["red", "-nature"]),
        (["red", "-dark blue", "light green^2"], ["red", '-"dark blue"', '"light green"^2']),
        (["red", "--", "-v", "-n", "--json"], ["red --json", "-v", "-n"]),
        (["2:red"], ["2:red"]),
        (["red", "-", "blue"], ["red - blue"]),
        (["-blue"], ["-blue"]),
    ],
)
def test_what_the_program_understands(library, line, parts):
    answer = json.loads(library("search", "-n", "1", "--json", *line).stdout)
    assert answer["query"]["parts"] == parts


@pytest.mark.parametrize("command", ["search", "similar", "status"])
def test_h_is_help(indexer, command):
    done = indexer(command, "-h")
    assert done.returncode == 0
    assert f"Usage: indexer {command}" in done.stdout
    assert done.stdout == indexer(command, "--help").stdout


def test_similar_has_options_that_are_spelled_exactly(library):
    done = library("similar", "-nature")
    assert done.returncode == 1
    assert "'-nature' is neither a point's id nor a file" in done.stderr


def test_a_query_of_negative_terms_is_explained(library):
    done = library("search", "-red")
    assert "says only what not to find" in done.stderr
    assert not done.stdout.splitlines()[0].endswith("a red wall")
