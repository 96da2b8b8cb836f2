"""How the Quality page says it: figures, verdicts and directions in words."""

from __future__ import annotations

from app.results import Change

MODALITIES = {"t": "words", "i": "pictures", "it": "pictures with words"}
METRICS = {
    "recall": "the share of what belongs to a query that is among the first {k}",
    "hit": "the share of queries with a right answer among the first {k}",
    "precision": "the share of the first {k} that is right",
    "ndcg": "how well the first {k} are ordered, the best first",
    "map": "the mean precision at each right answer",
    "mrr": "1 over the place of the first right answer",
    "spearman": "how well the order of the similarities agrees with people's",
}
VERDICTS = {
    1: "Better, beyond chance",
    -1: "Worse, beyond chance",
    0: "No difference beyond chance",
}


def format_direction(code: str) -> str:
    """`t2i` -> Words to pictures."""
    query, _, document = code.partition("2")
    if query not in MODALITIES or document not in MODALITIES:
        return code
    return f"{MODALITIES[query].capitalize()} to {MODALITIES[document]}"


def describe_metric(name: str) -> str:
    """What a metric says; empty for one that is not known."""
    kind, _, k = name.partition("@")
    return METRICS.get(kind, "").format(k=k or "ones")


def format_percent(share: float) -> str:
    """0.4321 -> 43.2"""
    return f"{100 * share:.1f}"


def describe_change(name: str, change: Change) -> str:
    """The change of a metric in a sentence."""
    chance = "p < 0.001" if change.p < 0.001 else f"p = {change.p:.3f}"
    return (
        f"{VERDICTS[change.sign]}: {name} {_describe_points(100 * change.difference)}. "
        f"The 95 % interval of the change is {100 * change.low:+.1f} to {100 * change.high:+.1f} "
        f"({chance})."
    )


def _describe_points(points: float) -> str:
    if abs(points) < 0.05:
        return "stayed as it was"
    return f"{'rose' if points > 0 else 'fell'} by {abs(points):.1f} points"


def format_rank(rank: int | None) -> str:
    """The place of the first right answer."""
    return "not found" if rank is None else f"place {rank:,}"
