"""What a revised sample must not be; each check raises `Rejected` with its reason."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from finetune.synthesis.languages import LANGUAGES, Language
from finetune.synthesis.samples import Rejected
from finetune.synthesis.schema import INSTRUCTION
from finetune.synthesis.script_detection import is_plausible_language
from finetune.synthesis.tasks import NEGATIVE, POSITIVE, QUERY, Combination

MAX_CHARS = {INSTRUCTION: 300, QUERY: 600, POSITIVE: 1000, NEGATIVE: 1000}  # characters
MAX_CLASS_CHARS, MAX_ANSWER_CHARS = 80, 300  # of a document that is a class's name, or an answer
MIN_SCRIPT_LETTERS = 12  # letters: a shorter text may be a name, in a script of its own
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


def check_sample(texts: Mapping[str, str], combination: Combination, language: Language) -> None:
    """All that can be told of a sample by itself; `texts` are the instruction and the texts by
    role."""
    _check_complete(texts)
    _check_lengths(texts, combination)
    _check_language(texts, language)
    if POSITIVE in texts:
        _check_documents(texts)
    _check_leak(texts, combination)


def _check_complete(texts: Mapping[str, str]) -> None:
    for role, text in texts.items():
        if not text.strip():
            raise Rejected("empty", role)
        if PLACEHOLDER.search(text):
            raise Rejected("placeholder", f"{role}: {text[:100]}")
        if TASK_WORDS.search(text):
            raise Rejected("speaks of the task", f"{role}: {text[:100]}")


def _check_lengths(texts: Mapping[str, str], combination: Combination) -> None:
    document_limit = {"classification": MAX_CLASS_CHARS, "vqa": MAX_ANSWER_CHARS}.get(
        combination.task
    )
    for role, text in texts.items():
        limit = (
            document_limit if document_limit and role in {POSITIVE, NEGATIVE} else MAX_CHARS[role]
        )
        if len(text) > limit:
            raise Rejected("too long", f"{role} has {len(text)} characters, {limit} are allowed")


def _check_language(texts: Mapping[str, str], language: Language) -> None:
    if not is_plausible_language(texts[INSTRUCTION], LANGUAGES["en"]):
        raise Rejected(
            "wrong language", f"the instruction is not English: {texts[INSTRUCTION][:80]}"
        )
    written = {role: text for role, text in texts.items() if role != INSTRUCTION}
    long_texts = [
        text for text in written.values() if sum(map(str.isalpha, text)) >= MIN_SCRIPT_LETTERS
    ]
    for text in (*long_texts, " ".join(written.values())):
        if not is_plausible_language(text, language):
            raise Rejected("wrong language", f"not {language.name}: {text[:80]}")


def _check_documents(texts: Mapping[str, str]) -> None:
    positive, negative = fold_text(texts[POSITIVE]), fold_text(texts[NEGATIVE])
    if positive == negative:
        raise Rejected("same as negative", texts[POSITIVE][:100])
    if positive == fold_text(texts.get(QUERY, "")):
        raise Rejected("same as query", texts[POSITIVE][:100])


def _check_leak(texts: Mapping[str, str], combination: Combination) -> None:
    """A class or an answer in the question; "red or blue?" names both, and gives nothing away."""
    if combination.task == "retrieval":
        return
    question = fold_text(f"{texts[INSTRUCTION]} {texts.get(QUERY, '')}")
    if _contains_phrase(question, texts[POSITIVE]) and not _contains_phrase(
        question, texts[NEGATIVE]
    ):
        raise Rejected("leak", f"{texts[POSITIVE][:60]!r} is in the question")


def _contains_phrase(text: str, phrase: str) -> bool:
    """Whether `words` are in `text`, as whole words where the script has spaces."""
    folded = fold_text(phrase)
    if not folded:
        return False
    if any(unicodedata.name(c, "").startswith(("CJK", "HIRA", "KATA", "THAI")) for c in folded):
        return len(folded) > 1 and folded in text
    return re.search(rf"(?<!\w){re.escape(folded)}(?!\w)", text) is not None


def fold_text(text: str) -> str:
    """`text` for comparison: NFKC, small letters, no punctuation at its ends, single spaces."""
    return re.sub(
        r"^\W+|\W+$", "", " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    )
