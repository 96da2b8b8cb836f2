"""What a sample can be: its task, and which side has words and which a picture.

mmE5, section 3 (https://arxiv.org/abs/2502.08468).
"""

from __future__ import annotations

from dataclasses import dataclass

QUERY, POSITIVE, NEGATIVE = "query", "positive", "negative"
DEFAULT_TASKS = {"classification": 1.0, "vqa": 1.0, "retrieval": 2.0}


@dataclass(frozen=True, slots=True)
class Combination:
    """A task with the kinds of its two sides: `i` a picture, `t` words, `it` both."""

    task: str
    query: str
    document: str

    @property
    def name(self) -> str:
        """As mmE5 writes it: `IT->T`."""
        return f"{self.query}->{self.document}".upper()

    @property
    def image_roles(self) -> tuple[str, ...]:
        """What the pictures are that the language model is shown, in their order."""
        query = (QUERY,) if "i" in self.query else ()
        return query + ((POSITIVE, NEGATIVE) if "i" in self.document else ())

    @property
    def text_roles(self) -> tuple[str, ...]:
        """What the language model writes beside the instruction."""
        query = (QUERY,) if "t" in self.query else ()
        return query + ((POSITIVE, NEGATIVE) if "t" in self.document else ())

    @property
    def anchor_role(self) -> str:
        """Which picture is drawn at random; the others are retrieved for it."""
        return self.image_roles[0]


def _make_combinations(task: str, *kinds: str) -> tuple[Combination, ...]:
    return tuple(Combination(task, *kind.split(">")) for kind in kinds)


COMBINATIONS = {
    "classification": _make_combinations("classification", "i>t", "it>t"),
    "vqa": _make_combinations("vqa", "it>t"),
    "retrieval": _make_combinations(
        "retrieval", "i>t", "it>t", "t>it", "t>i", "i>i", "it>i", "it>it"
    ),
}


def available_combinations(task: str, num_images: int) -> tuple[Combination, ...]:
    """Those of a task for which a collection of so many pictures is enough."""
    return tuple(c for c in COMBINATIONS[task] if len(c.image_roles) <= num_images)
