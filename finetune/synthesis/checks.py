"""What a revised sample must not be; each check raises `Rejected` with its reason."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from finetune.synthesis.languages import LANGUAGES, Language
from finetune.synthesis.samples import Rejected
from finetune.synthesis.schema import INSTRUCTION
from finetune.synthesis.scripts import plausible
from finetune.synthesis.tasks import NEGATIVE, POSITIVE, QUERY, Combination

LONGEST = {INSTRUCTION: 300, QUERY: 600, POSITIVE: 1000, NEGATIVE: 1000}  # characters
LONGEST_CLASS, LONGEST_ANSWER = 80, 300  # of a document that is a class's name, or an answer
NAME = 12  # letters: a shorter text may be a name, in a script of its own
UNFILLED = re.compile(
    r"\{\{|\}\}|\{[a-z_ ]+\}|<\|?[a-z_ ]+\|?>|\[[a-z_ ]+\]|lorem ipsum|(?-i:\bTODO\b)|"
    r"\A\W*(?:string)?\W*\Z",
    re.IGNORECASE,
)
FURNITURE = re.compile(
    r"\bpicture [1-3]\b|\bhard negative\b|\b(?:positive|negative) (?:document|sample|picture)\b|"
    r"\brevised (?:sample|version)\b",
    re.IGNORECASE,
)


def check(texts: Mapping[str, str], combination: Combination, language: Language) -> None:
    """All that can be told of a sample by itself; `texts` are the instruction and the texts by
    role."""
    _whole(texts)
    _lengths(texts, combination)
    _language(texts, language)
    if POSITIVE in texts:
        _documents(texts)
    _leak(texts, combination)


def _whole(texts: Mapping[str, str]) -> None:
    for role, text in texts.items():
        if not text.strip():
            raise Rejected("empty", role)
        if UNFILLED.search(text):
            raise Rejected("placeholder", f"{role}: {text[:100]}")
        if FURNITURE.search(text):
            raise Rejected("speaks of the task", f"{role}: {text[:100]}")


def _lengths(texts: Mapping[str, str], combination: Combination) -> None:
    short = {"classification": LONGEST_CLASS, "vqa": LONGEST_ANSWER}.get(combination.task)
    for role, text in texts.items():
        most = short if short and role in {POSITIVE, NEGATIVE} else LONGEST[role]
        if len(text) > most:
            raise Rejected("too long", f"{role} has {len(text)} characters, {most} are allowed")


def _language(texts: Mapping[str, str], language: Language) -> None:
    if not plausible(texts[INSTRUCTION], LANGUAGES["en"]):
        raise Rejected(
            "wrong language", f"the instruction is not English: {texts[INSTRUCTION][:80]}"
        )
    rest = {role: text for role, text in texts.items() if role != INSTRUCTION}
    long = [text for text in rest.values() if sum(map(str.isalpha, text)) >= NAME]
    for text in (*long, " ".join(rest.values())):
        if not plausible(text, language):
            raise Rejected("wrong language", f"not {language.name}: {text[:80]}")


def _documents(texts: Mapping[str, str]) -> None:
    positive, negative = normal(texts[POSITIVE]), normal(texts[NEGATIVE])
    if positive == negative:
        raise Rejected("same as negative", texts[POSITIVE][:100])
    if positive == normal(texts.get(QUERY, "")):
        raise Rejected("same as query", texts[POSITIVE][:100])


def _leak(texts: Mapping[str, str], combination: Combination) -> None:
    """A class or an answer in the question; "red or blue?" names both, and gives nothing away."""
    if combination.task == "retrieval":
        return
    asked = normal(f"{texts[INSTRUCTION]} {texts.get(QUERY, '')}")
    if _says(asked, texts[POSITIVE]) and not _says(asked, texts[NEGATIVE]):
        raise Rejected("leak", f"{texts[POSITIVE][:60]!r} is in the question")


def _says(text: str, words: str) -> bool:
    """Whether `words` are in `text`, as whole words where the script has spaces."""
    found = normal(words)
    if not found:
        return False
    if any(unicodedata.name(c, "").startswith(("CJK", "HIRA", "KATA", "THAI")) for c in found):
        return len(found) > 1 and found in text
    return re.search(rf"(?<!\w){re.escape(found)}(?!\w)", text) is not None


def normal(text: str) -> str:
    """`text` for comparison: NFKC, small letters, no punctuation at its ends, single spaces."""
    return re.sub(
        r"^\W+|\W+$", "", " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    )
