"""From what a language model wrote to the revised sample's texts; everything else is dropped."""

from __future__ import annotations

import json
import re
from typing import Any

from finetune.synthesis.llm import Reply
from finetune.synthesis.samples import Rejected
from finetune.synthesis.schema import REVISED, USABLE, Schema, find_mismatch
from indexer.captions.normalize import normalize_text

MAX_CHARS = 20_000  # characters that are looked at; checks.py allows far fewer

THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
REFUSAL = re.compile(
    r"\W*(?:i(?:'|’)?m (?:very )?(?:sorry|unable)|i am (?:very )?(?:sorry|unable|not able)|sorry|"
    r"i (?:can(?:'|’)?t|cannot|can not|won(?:'|’)?t|will not|must decline)|as an ai\b|"
    r"unfortunately, i)",
    re.IGNORECASE,
)


def parse_revised(reply: Reply, schema: Schema) -> dict[str, str]:
    """The texts of the revised sample by name; raises `Rejected`."""
    if reply.refused:
        raise Rejected("refused", reply.text[:200])
    answer = _find_json_object(THINKING.sub("", reply.text))
    if answer is None:
        if REFUSAL.match(reply.text):
            raise Rejected("refused", reply.text[:200])
        if reply.truncated:
            raise Rejected("cut off", f"after {reply.tokens_out} tokens; see --max-tokens")
        raise Rejected("not JSON", reply.text[:200])
    problem = find_mismatch(answer, schema)
    if problem:
        raise Rejected("schema", problem)
    if not answer[USABLE]:
        raise Rejected("not usable", "by its own evaluation")
    return {
        name: " ".join(normalize_text(text, MAX_CHARS).split())
        for name, text in answer[REVISED].items()
    }


def _find_json_object(text: str) -> dict[str, Any] | None:
    """The object that the first brace opens, or a later one that holds a revised sample: an answer
    that was cut off is not to be taken for one of its own parts."""
    decoder = json.JSONDecoder()
    start = first = text.find("{")
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and (start == first or REVISED in found):
            return found
        start = text.find("{", start + 1)
    return None
