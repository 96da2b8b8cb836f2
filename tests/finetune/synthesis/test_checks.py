"""Answers: what is read from them, and the reasons to reject them."""

from __future__ import annotations

import json

import pytest

from finetune.synthesis.checks import check_sample, is_plausible_language, parse_revised
from finetune.synthesis.llm import Reply
from finetune.synthesis.plan import COMBINATIONS, LANGUAGES, Rejected
from finetune.synthesis.prompt_templates import EVALUATION, INTERPRETATION, answer_schema

CLASSES, VQA = COMBINATIONS["classification"][0], COMBINATIONS["vqa"][0]
SEARCH = COMBINATIONS["retrieval"][1]  # IT->T
GOOD = {
    "instruction": "Answer the question about the picture.",
    "query": "What is the man on the bench holding?",
    "positive": "A folded newspaper",
    "negative": "A paper bag",
}
DRAFT = {name: f"draft of {name}" for name in GOOD}
WHOLE = {
    "interpretation": dict.fromkeys(INTERPRETATION, "a man"),
    "draft": DRAFT,
    "evaluation": dict.fromkeys(EVALUATION, "well"),
    "revised": GOOD,
    "usable": True,
}


def texts(written: str, **reply) -> dict[str, str]:
    return parse_revised(Reply(written, 10, 20, **reply), answer_schema(VQA))


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "```json\n{}\n```",
        "Here it is:\n\n{}\n\nI hope that helps {{ok}}",
        "<think>{{'draft': 1}} or {{\"a\": 1}}?</think>{}",
    ],
    ids=["bare", "fenced", "prose", "thought"],
)
def test_only_the_revised_sample_is_kept(around):
    assert texts(around.format(json.dumps(WHOLE))) == GOOD


def test_whitespace_and_control_characters_are_removed():
    sample = {**GOOD, "positive": "  A folded\n\tnewspaper\u0000 \ud83d "}
    found = texts(json.dumps({**WHOLE, "revised": sample}))
    assert found["positive"] == "A folded newspaper"


@pytest.mark.parametrize(
    ("written", "reply", "reason"),
    [
        ("", {}, "not JSON"),
        ("A man sits on a bench.", {}, "not JSON"),
        ('{"interpretation": {"general": "a m', {}, "not JSON"),
        ('{"interpretation": {"general": "a m', {"truncated": True}, "cut off"),
        ("I'm sorry, but I can't help with that.", {}, "refused"),
        ("", {"refused": True}, "refused"),
        (json.dumps(GOOD), {}, "schema"),
        (json.dumps([WHOLE]), {"truncated": True}, None),
        (json.dumps({**WHOLE, "usable": False}), {}, "not usable"),
        (json.dumps({**WHOLE, "revised": {**GOOD, "query": 3}}), {}, "schema"),
        ("[" * 100_000, {}, "not JSON"),
    ],
)
def test_rejected_answers(written, reply, reason):
    if reason is None:
        assert texts(written, **reply) == GOOD
        return
    with pytest.raises(Rejected) as caught:
        texts(written, **reply)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"positive": "  "}, "empty"),
        ({"positive": "a paper BAG."}, "same as negative"),
        ({"positive": GOOD["query"]}, "same as query"),
        ({"query": "What does [object] hold?"}, "placeholder"),
        ({"negative": "{answer}"}, "placeholder"),
        ({"negative": "..."}, "placeholder"),
        ({"negative": "string"}, "placeholder"),
        ({"query": "What differs between Picture 1 and the others?"}, "speaks of the task"),
        ({"negative": "the hard negative: a bag"}, "speaks of the task"),
        ({"positive": "a" * 301}, "too long"),
        ({"instruction": "Answer. " * 50}, "too long"),
        ({"query": "Who holds a folded newspaper?"}, "leak"),
        ({"instruction": "Say whether it is a folded newspaper."}, "leak"),
        ({"query": "Is it a folded newspaper or a paper bag?"}, None),
        ({"query": "Was hält der Mann auf der Bank?"}, None),  # one script, so not recognized
        ({"query": "男性は何を持っていますか、ベンチの上で"}, "wrong language"),
        ({"instruction": "写真について質問に答えてください。"}, "wrong language"),
        ({"positive": "42", "negative": "43"}, None),
    ],
)
def test_checks(changes, reason):
    sample = {**GOOD, **changes}
    if reason is None:
        check_sample(sample, VQA, LANGUAGES["en"])
        return
    with pytest.raises(Rejected) as caught:
        check_sample(sample, VQA, LANGUAGES["en"])
    assert caught.value.reason == reason


def test_class_length_and_repeated_words():
    sample = {k: v for k, v in GOOD.items() if k != "query"}
    check_sample(sample, CLASSES, LANGUAGES["en"])
    with pytest.raises(Rejected, match="too long"):
        check_sample({**sample, "positive": "a b " * 21}, CLASSES, LANGUAGES["en"])
    check_sample({**GOOD, "query": "Who holds a folded newspaper?"}, SEARCH, LANGUAGES["en"])


@pytest.mark.parametrize(
    ("text", "code", "holds"),
    [
        ("Ein Mann sitzt auf der Bank", "de", True),
        ("The man sits on the bench with a hat", "de", False),
        ("the", "de", True),
        ("ベンチに座っている男性", "ja", True),
        ("長椅子に座る男性", "ja", True),
        ("坐在长椅上的一个男人正在看报纸", "ja", False),
        ("坐在长椅上的一个男人正在看报纸", "zh", True),
        ("A man on a bench", "zh", False),
        ("Nikon D850で撮影された路面電車の写真です", "ja", True),
        ("Мужчина на скамейке", "ru", True),
        ("Мужчина на скамейке", "el", False),
        ("رجل على مقعد", "ar", True),
        ("बेंच पर बैठा आदमी", "hi", True),
        ("ชายคนหนึ่งบนม้านั่ง", "th", True),
        ("벤치에 앉은 남자", "ko", True),
        ("17:45", "ja", True),
    ],
)
def test_plausible_languages(text, code, holds):
    assert is_plausible_language(text, LANGUAGES[code]) == holds
