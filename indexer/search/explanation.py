"""Says in plain terms why a hit was found: which part of the query matched what."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache

from indexer.captions.names import describe_paths
from indexer.collections.schema import BM25, IMAGE, NAME, TEXT
from indexer.search.retrieval import Candidate, EmbeddedQuery, PartEvidence, QueryPart
from indexer.search.tokenizer import split_document, tokenize_query
from indexer.types import (
    Explanation,
    PartExplanation,
    Payload,
    Reason,
    RemovedByPart,
    RerankExplanation,
    Reranking,
)

MIN_Z = 1.5  # what one of 15 unrelated points has; less is no reason
WHOLE_TOKEN = 0.5  # of a query's weights; less is for a character and a particle
MAX_TAGS = 3
MAX_TEXT = 80  # characters of a caption in a phrase
NO_REASON = "nothing stands out"
SUBJECTS = {
    "image": "the picture",
    "caption": "the caption",
    "tag": "the tag",
    "name": "the name",
    "text": "the text",
}


def explain_candidate(
    candidate: Candidate, query: EmbeddedQuery, dropped: Sequence[int], payload: Payload
) -> Explanation:
    """Explain why `candidate` was found, and what the unwanted parts removed.

    Args:
        candidate: The evidence of each part.
        query: The query that found it.
        dropped: How many points each unwanted part removed.
        payload: Of the point.
    """
    pulls = [
        one.part.weight * max(own.z, 0.0)
        for one, own in zip(query.wanted, candidate.wanted, strict=True)
    ]
    total = sum(pulls)
    parts = tuple(
        PartExplanation(
            label=one.part.label,
            weight=one.part.weight,
            share=round(pull / total if total else 1 / len(pulls), 4),
            reasons=find_reasons(one.part.text or "", payload, _to_z(one, own)),
        )
        for one, own, pull in zip(query.wanted, candidate.wanted, pulls, strict=True)
    )
    removed = tuple(
        RemovedByPart(label=one.part.label, weight=one.part.weight, count=count)
        for one, count in zip(query.unwanted, dropped, strict=True)
    )
    return Explanation(parts, removed)


def find_reasons(query: str, payload: Payload, z: Mapping[str, float]) -> tuple[Reason, ...]:
    """Find what of a point one part of a query matches, the strongest first.

    Args:
        query: The part's text; empty for an image or a point.
        payload: Of the point.
        z: Channel -> z of the part; BM25 only where a word matches.

    Returns:
        The words that match, with the caption, tags or name that have them, and the picture, the
        captions, the name or the text where their meaning fits.
    """
    by_words = _find_words(query, payload) if BM25 in z else []
    channels = [name for name in (IMAGE, TEXT, NAME) if z.get(name, 0.0) >= MIN_Z]
    by_meaning = [
        _describe_channel(name, payload) for name in sorted(channels, key=lambda name: -z[name])
    ]
    named = {reason.kind for reason in by_words}
    others = [reason for reason in by_meaning if reason.kind not in named]
    is_by_sight = z.get(IMAGE, 0.0) > max(z.get(name, 0.0) for name in (TEXT, NAME, BM25))
    return (*others, *by_words) if is_by_sight else (*by_words, *others)


def format_explanation(explanation: Explanation) -> list[str]:
    """Make a line for each part of a query, with its label and share where there are several, and
    one for a reranker."""
    lines = []
    several = len(explanation.parts) > 1
    for part in explanation.parts:
        reasons = "; ".join(map(format_reason, part.reasons)) or NO_REASON
        lines.append(f"{part.label} ({part.share:.0%}): {reasons}" if several else reasons)
    if explanation.rerank:
        lines.append(format_rerank(explanation.rerank))
    return lines


def format_rerank(rerank: RerankExplanation) -> str:
    """Make a phrase: `the reranker scored it 0.93; the search had it in place 7`."""
    if rerank.score is None:
        return "the reranker had nothing to read, and left it in its place"
    return f"the reranker scored it {rerank.score:.3g}; the search had it in place {rerank.place}"


def format_reranking(reranking: Reranking, with_model: bool = False) -> str:
    """Make a phrase: `19 of the best 50 reranked by NAME in 640 ms`."""
    scored, seen, took_ms = reranking.scored, reranking.seen, reranking.took_ms
    by = f" by {reranking.model}" if with_model else ""
    if not scored:
        return f"none of the best {seen} reranked{by}: they have no captions to read"
    best = f"the best {seen}" if scored == seen else f"{scored} of the best {seen}"
    took = f"{took_ms / 1e3:.1f} s" if took_ms >= 1e3 else f"{took_ms:.0f} ms"
    return f"{best} reranked{by} in {took}"


def format_removed(explanation: Explanation) -> str:
    """Say what the unwanted parts of a query removed; "" if there are none."""
    removed = [f"{part.count} with “{part.label}”" for part in explanation.removed]
    return f"Left out: {', '.join(removed)}." if removed else ""


def format_reason(reason: Reason) -> str:
    """Make a phrase: `the picture looks like it`, `the caption “two cats” (en) has “cats”`."""
    if reason.kind == "image":
        return "the picture looks like it"
    if reason.kind in {"caption", "name"} and not reason.text:
        return f"its {reason.kind}s mean something like it"
    subject = "the file name" if reason.kind == "name" and reason.words else SUBJECTS[reason.kind]
    if reason.text:
        text = " ".join(reason.text.split())
        subject += f" “{text[:MAX_TEXT] + '…' * (len(text) > MAX_TEXT)}”"
    if reason.language:
        subject += f" ({reason.language})"
    if not reason.words:
        return f"{subject} means something like it"
    words = ", ".join(f"“{word}”" for word in reason.words)
    return f"{subject} is the word" if words == f"“{reason.text}”" else f"{subject} has {words}"


def _to_z(part: QueryPart, evidence: PartEvidence) -> dict[str, float]:
    """The z of each channel that counts for a part."""
    scores, fusion = evidence.channel_scores, part.fusion
    counted = {IMAGE} if IMAGE in scores and not fusion.uses_text else scores.keys()
    z = {c: fusion.distributions[c].z(scores[c]) for c in counted - {BM25}}
    if BM25 in counted and scores[BM25] > 0:
        z[BM25] = math.sqrt(2 * scores[BM25])
    return z


def _describe_channel(channel: str, payload: Payload) -> Reason:
    """What fits by its meaning; which of several captions or names fits best is not known."""
    if channel == IMAGE:
        return Reason(kind="image")
    if channel == NAME:
        return Reason(kind="name", text=_describe_only_name(tuple(payload["paths"])))
    if payload["kind"] == "text":
        return Reason(kind="text")
    captions = payload["captions"]
    only = captions[0] if len(captions) == 1 else {}
    return Reason(kind="caption", text=only.get("text"), language=only.get("language"))


@lru_cache(maxsize=1024)  # the next searches find many of the same points
def _describe_only_name(paths: tuple[str, ...]) -> str | None:
    names = describe_paths(paths)
    return names[0] if len(names) == 1 else None


def _find_words(query: str, payload: Payload) -> list[Reason]:
    """The caption with most of the query's words, the tags and the name that have some."""
    asked = _list_tokens(query)
    languages = [c["language"] for c in payload["captions"] if c["language"]]
    reasons = []
    if payload["kind"] == "text":
        words, _ = _match(asked, payload["text"], None, languages)
        reasons += [Reason(kind="text", words=words)] if words else []
    found = [
        (weight, Reason(kind="caption", text=c["text"], language=c["language"], words=words))
        for c in payload["captions"]
        for words, weight in [_match(asked, c["text"], c["language"], languages)]
        if words
    ]
    reasons += [max(found, key=lambda item: item[0])[1]] if found else []
    tags = [(tag, _match(asked, tag, None, languages)[0]) for tag in payload["tags"]]
    matched = [Reason(kind="tag", text=tag, words=words) for tag, words in tags if words]
    reasons += matched[:MAX_TAGS]
    stem = os.path.splitext(payload["name"])[0]  # noqa: PTH122
    words, _ = _match(asked, stem, None, languages)
    return [*reasons, Reason(kind="name", text=payload["name"], words=words)] if words else reasons


@lru_cache(maxsize=64)
def _list_tokens(query: str) -> frozenset[str]:
    return frozenset(t for t, weight in tokenize_query(query).items() if weight >= WHOLE_TOKEN)


def _match(
    asked: frozenset[str], text: str, language: str | None, others: Sequence[str]
) -> tuple[tuple[str, ...], float]:
    """The words of a text that have one of the tokens `asked`, as written, and their weight.

    Bigrams that overlap are joined: カメ, メラ -> カメラ.
    """
    found: list[str] = []
    total, previous = 0.0, ""
    for word in split_document(text, language, others):
        weight = sum(share for token, share in word.tokens if token in asked)
        if not weight or (word.is_extra and any(word.text in each for each in found)):
            previous = ""
            continue
        total += weight
        if previous and word.is_bigram and previous[-1] == word.text[0]:
            found[-1] += word.text[1]
        elif word.text not in found:
            found.append(word.text)
        previous = word.text if word.is_bigram else ""
    return tuple(found), total
