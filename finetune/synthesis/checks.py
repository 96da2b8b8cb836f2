"""From a language model's answer to a checked sample; each failure raises `Rejected`."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from finetune.synthesis.llm import Reply
from finetune.synthesis.plan import (
    LANGUAGES,
    NEGATIVE,
    POSITIVE,
    QUERY,
    Combination,
    Language,
    Rejected,
)
from finetune.synthesis.prompt_templates import (
    INSTRUCTION,
    REVISED,
    USABLE,
    Schema,
    find_mismatch,
)
from indexer.captions.normalize import normalize_text

MAX_TEXT_CHARS = 20_000  # read of each text, before its length is checked
MAX_CHARS = {INSTRUCTION: 300, QUERY: 600, POSITIVE: 1000, NEGATIVE: 1000}
MAX_DOCUMENT_CHARS = {"classification": 80, "vqa": 300}  # a class name, an answer
MIN_SCRIPT_LETTERS = 12  # a shorter text may be a name in another script
MIN_SCRIPT_SHARE = 0.5  # of the letters: names and brands keep their own script
MAX_KANJI_ONLY_LETTERS = 10  # a longer text without kana is Chinese
ENGLISH_WORDS = frozenset(("the", "and", "with", "this", "that", "what", "which", "from", "there"))
ENGLISH_SHARE = 1 / 6  # of the words
THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
REFUSAL = re.compile(
    r"\W*(?:i(?:'|’)?m (?:very )?(?:sorry|unable)|i am (?:very )?(?:sorry|unable|not able)|sorry|"
    r"i (?:can(?:'|’)?t|cannot|can not|won(?:'|’)?t|will not|must decline)|as an ai\b|"
    r"unfortunately, i)",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(
    r"\{\{|\}\}|\{[a-z_ ]+\}|<\|?[a-z_ ]+\|?>|\[[a-z_ ]+\]|lorem ipsum|(?-i:\bTODO\b)|"
    r"\A\W*(?:string)?\W*\Z",
    re.IGNORECASE,
)
TASK_WORDS = re.compile(
    r"\bpicture [1-3]\b|\bhard negative\b|\b(?:positive|negative) (?:document|sample|picture)\b|"
    r"\brevised (?:sample|version)\b",
    re.IGNORECASE,
)


def parse_revised(reply: Reply, schema: Schema) -> dict[str, str]:
    """Return the texts of the revised sample by name; the rest of the answer is dropped."""
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
        name: " ".join(normalize_text(text, MAX_TEXT_CHARS).split())
        for name, text in answer[REVISED].items()
    }


def _find_json_object(text: str) -> dict[str, Any] | None:
    """Return the object at the first brace, or a later one that holds a revised sample.

    Other later objects are parts of an answer that was cut off.
    """
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


def check_sample(texts: Mapping[str, str], combination: Combination, language: Language) -> None:
    """Check a sample's instruction and texts, by role."""
    _check_content(texts, combination)
    _check_language(texts, language)
    if POSITIVE in texts:
        _check_documents(texts)
    if combination.task != "retrieval":
        _check_leak(texts)


def _check_content(texts: Mapping[str, str], combination: Combination) -> None:
    for role, text in texts.items():
        if not text.strip():
            raise Rejected("empty", role)
        if PLACEHOLDER.search(text):
            raise Rejected("placeholder", f"{role}: {text[:100]}")
        if TASK_WORDS.search(text):
            raise Rejected("speaks of the task", f"{role}: {text[:100]}")
        limit = MAX_CHARS[role]
        if role in {POSITIVE, NEGATIVE}:
            limit = MAX_DOCUMENT_CHARS.get(combination.task, limit)
        if len(text) > limit:
            raise Rejected("too long", f"{role} has {len(text)} characters; the limit is {limit}")


def _check_language(texts: Mapping[str, str], language: Language) -> None:
    if not is_plausible_language(texts[INSTRUCTION], LANGUAGES["en"]):
        raise Rejected(
            "wrong language", f"the instruction is not English: {texts[INSTRUCTION][:80]}"
        )
    written = [text for role, text in texts.items() if role != INSTRUCTION]
    long = [text for text in written if sum(map(str.isalpha, text)) >= MIN_SCRIPT_LETTERS]
    for text in (*long, " ".join(written)):
        if not is_plausible_language(text, language):
            raise Rejected("wrong language", f"not {language.name}: {text[:80]}")


def _check_documents(texts: Mapping[str, str]) -> None:
    positive = fold_text(texts[POSITIVE])
    if positive == fold_text(texts[NEGATIVE]):
        raise Rejected("same as negative", texts[POSITIVE][:100])
    if positive == fold_text(texts.get(QUERY, "")):
        raise Rejected("same as query", texts[POSITIVE][:100])


def _check_leak(texts: Mapping[str, str]) -> None:
    """Reject a class or an answer in the question, unless the question names the negative too, as
    "red or blue?" does."""
    question = fold_text(f"{texts[INSTRUCTION]} {texts.get(QUERY, '')}")
    if _contains(question, texts[POSITIVE]) and not _contains(question, texts[NEGATIVE]):
        raise Rejected("leak", f"{texts[POSITIVE][:60]!r} is in the question")


def _contains(text: str, phrase: str) -> bool:
    """Tell whether `phrase` is in `text`, as whole words if its script has spaces."""
    folded = fold_text(phrase)
    if not folded:
        return False
    if any(unicodedata.name(c, "").startswith(("CJK", "HIRA", "KATA", "THAI")) for c in folded):
        return len(folded) > 1 and folded in text
    return re.search(rf"(?<!\w){re.escape(folded)}(?!\w)", text) is not None


def fold_text(text: str) -> str:
    """Fold `text` for comparison: NFKC, case, single spaces, no punctuation at its ends."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return re.sub(r"^\W+|\W+$", "", folded)


def is_plausible_language(text: str, language: Language) -> bool:
    """Return False if `text` is clearly in another language, judged by its letters.

    Between languages of one script only English is recognized: language models fall back to it.
    A text without letters fits every language.
    """
    scripts = [_get_script(letter) for letter in text if letter.isalpha()]
    if sum(script in language.scripts for script in scripts) < MIN_SCRIPT_SHARE * len(scripts):
        return False
    if language.code == "ja" and len(scripts) > MAX_KANJI_ONLY_LETTERS:
        return not {"HIRAGANA", "KATAKANA"}.isdisjoint(scripts)
    if language.code == "en":
        return True
    words = re.findall(r"[^\W\d_]+", text.lower())
    english = sum(word in ENGLISH_WORDS for word in words)
    return len(words) < 4 or english < ENGLISH_SHARE * len(words)


@lru_cache(maxsize=4096)
def _get_script(letter: str) -> str:
    """Return the first word of the letter's Unicode name: LATIN, CYRILLIC, CJK..."""
    return unicodedata.name(letter, "").split(" ")[0]
