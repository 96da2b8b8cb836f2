"""From what a language model wrote to the revised sample's texts; everything else is dropped."""

from __future__ import annotations

import json
import re
from typing import Any

from finetune.synthesis.samples import Rejected
from finetune.synthesis.schema import REVISED, USABLE, Schema, mismatch
from finetune.synthesis.writers import Reply
from indexer.wording import clean

MOST = 20_000  # characters that are looked at; checks.py allows far fewer

THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
REFUSAL = re.compile(
    r"\W*(?:i(?:'|’)?m (?:very )?(?:sorry|unable)|i am (?:very )?(?:sorry|unable|not able)|sorry|"
    r"i (?:can(?:'|’)?t|cannot|can not|won(?:'|’)?t|will not|must decline)|as an ai\b|"
    r"unfortunately, i)",
    re.IGNORECASE,
)


def revised(reply: Reply, schema: Schema) -> dict[str, str]:
    """The texts of the revised sample by name; raises `Rejected`."""
    if reply.refused:
        raise Rejected("refused", reply.text[:200])
    found = _json_object(THOUGHT.sub("", reply.text))
    if found is None:
        if REFUSAL.match(reply.text):
            raise Rejected("refused", reply.text[:200])
        if reply.cut:
            raise Rejected("cut off", f"after {reply.tokens_out} tokens; see --max-tokens")
        raise Rejected("not JSON", reply.text[:200])
    problem = mismatch(found, schema)
    if problem:
        raise Rejected("schema", problem)
    if not found[USABLE]:
        raise Rejected("not usable", "by its own evaluation")
    return {name: " ".join(clean(text, MOST).split()) for name, text in found[REVISED].items()}


def _json_object(text: str) -> dict[str, Any] | None:
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
