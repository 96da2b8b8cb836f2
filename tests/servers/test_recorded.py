"""The stand-in answers as a real server did: 127 questions to Qdrant 1.19.0, and its answers.

They were asked in this order of an empty server. `time` and `usage` are left out of the answers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ranking import assert_same_ranking

RECORDED = Path(__file__).with_name("recorded") / "rest-1.19.0.jsonl"
EXCHANGES = [json.loads(line) for line in RECORDED.read_text().splitlines()]
CONTRADICTION = 48  # the line whose filter contradicts itself: the server counts 4, and 0 is right
FUSED_TIES = 76  # fused of ranks among equal scores, 1, 4 and 7: only the first two are certain
UNMEASURED = {"time", "usage"}
IGNORED = {  # values that differ from one server to another; the fields must be there
    "commit": "of the server's source",
    "operation_id": "a number in the server's own log",
    "version": "of the server, as it is asked for; of a point, again a number in its log",
    "indexed_vectors_count": "how far its optimizer has come",
    "segments_count": "how it divides a collection on disk",
    "result.name": "of a snapshot: the peer's number and the time",
    "result.creation_time": "of a snapshot",
    "result.size": "of a snapshot",
    "result.checksum": "of a snapshot",
}
UNORDERED = {"aliases": "alias_name", "collections": "name"}  # listed in any order; by what to sort
SYNTAX = "Format error in JSON body: "  # what follows is the words of the server's JSON library


def answer(client: httpx.Client, exchange: dict[str, Any]) -> httpx.Response:
    method, _, path = exchange["request"].partition(" ")
    body = exchange["body"]
    content = None if body is None else body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "application/json"}
    return client.request(method, path, content=content, headers=headers)


@pytest.fixture(scope="module")
def answers(qdrant_process) -> list[httpx.Response]:
    """All, asked in order."""
    if qdrant_process.faults is None:
        pytest.skip("the answers are those of a real server")
    qdrant_process.reset()
    with httpx.Client(base_url=qdrant_process.url) as client:
        found = [answer(client, exchange) for exchange in EXCHANGES]
    qdrant_process.reset()
    return found


@pytest.mark.parametrize(
    "number",
    range(1, len(EXCHANGES) + 1),
    ids=[f"{n}-{exchange['request'][:40]}" for n, exchange in enumerate(EXCHANGES, 1)],
)
def test_as_recorded(answers, number):
    found, exchange = answers[number - 1], EXCHANGES[number - 1]
    wanted = exchange["answer"]
    assert found.status_code == exchange["status"], found.text
    if number == CONTRADICTION:
        assert wanted["result"] == {"count": 4}
        assert found.json()["result"] == {"count": 0}
    elif number == FUSED_TIES:
        points, theirs = found.json()["result"]["points"], wanted["result"]["points"]
        assert {point["id"] for point in points[:2]} == {point["id"] for point in theirs[:2]}
        assert [point.keys() for point in points] == [point.keys() for point in theirs]
    elif isinstance(wanted, str):  # of which the first 400 characters were recorded
        assert found.text[: len(wanted) or 1] == wanted
    elif exchange["status"] == 200:
        compare(found.json(), wanted)
    else:
        compare_errors(found.json()["status"]["error"], wanted["status"]["error"])


def compare_errors(found: str, wanted: str) -> None:
    if wanted.startswith(SYNTAX):
        assert found.startswith(SYNTAX)
    else:
        assert found == wanted


def compare(found: Any, wanted: Any, path: str = "") -> None:
    """The same keys and the same values, except for what is IGNORED."""
    key = path.rpartition(".")[2]
    if path in IGNORED or key in IGNORED:
        return
    if isinstance(wanted, dict):
        assert found.keys() - UNMEASURED == wanted.keys(), path
        for part, value in wanted.items():
            compare(found[part], value, f"{path}.{part}".strip("."))
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), path
        if wanted and isinstance(wanted[0], dict) and "score" in wanted[0]:
            assert_same_ranking(ranking(found), ranking(wanted))
            found, wanted = (sorted(p, key=lambda point: point["id"]) for p in (found, wanted))
        if by := UNORDERED.get(key):
            found, wanted = (sorted(p, key=lambda one: one[by]) for p in (found, wanted))
        for ours, theirs in zip(found, wanted, strict=True):
            compare(ours, theirs, path)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-6), path
    else:
        assert (type(found), found) == (type(wanted), wanted), path


def ranking(points: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(point["id"], point["score"]) for point in points]
