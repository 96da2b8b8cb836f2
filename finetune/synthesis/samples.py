"""Samples: the tasks they belong to, which side has text or an image, and why one is rejected.

The tasks and combinations follow mmE5, section 3 (https://arxiv.org/abs/2502.08468).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from finetune.data.pairs import Pair, Side

QUERY, POSITIVE, NEGATIVE = "query", "positive", "negative"


@dataclass(frozen=True, slots=True)
class Combination:
    """A task with the kinds of its two sides: `i` an image, `t` text, `it` both."""

    task: str
    query: str
    document: str

    @property
    def name(self) -> str:
        """The name as mmE5 writes it: `IT->T`."""
        return f"{self.query}->{self.document}".upper()

    @property
    def image_roles(self) -> tuple[str, ...]:
        """Roles of the images that the language model sees, in order."""
        return self._roles("i")

    @property
    def text_roles(self) -> tuple[str, ...]:
        """Roles of the texts that the language model writes besides the instruction."""
        return self._roles("t")

    @property
    def anchor_role(self) -> str:
        """Role of the image that is drawn at random; the others are its neighbors."""
        return self.image_roles[0]

    def _roles(self, kind: str) -> tuple[str, ...]:
        query = (QUERY,) if kind in self.query else ()
        return query + ((POSITIVE, NEGATIVE) if kind in self.document else ())


COMBINATIONS = {
    task: tuple(Combination(task, *kinds.split(">")) for kinds in names.split())
    for task, names in {
        "classification": "i>t it>t",
        "vqa": "it>t",
        "retrieval": "i>t it>t t>it t>i i>i it>i it>it",
    }.items()
}


class Rejected(Exception):  # noqa: N818  an outcome, not an error
    """A sample that is not kept. `reason` is counted in the report, `detail` is for debugging."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class SampleImage:
    """A point of the collection: its id, the id of its content, and the path of its file."""

    id: str
    content: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A revised sample. `texts` and `pictures` are keyed by role: query, positive, negative.

    The field names are the keys of the journal's JSON.
    """

    task: str
    language: str | None  # None: there is no text besides the instruction
    item: str  # content id of the anchor image
    instruction: str
    texts: Mapping[str, str]
    pictures: Mapping[str, SampleImage]

    def to_pair(self) -> Pair:
        """Convert to the training pair."""
        return Pair(
            query=self._side(QUERY, self.instruction),
            positive=self._side(POSITIVE),
            negatives=(self._side(NEGATIVE),),
            language=self.language,
            item=self.item,
            dataset=f"synthetic-{self.task}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to the journal's JSON; `from_dict` is the inverse."""
        return asdict(self)

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Sample:
        pictures = {role: SampleImage(**image) for role, image in fields["pictures"].items()}
        return Sample(**{**fields, "pictures": pictures})

    def _side(self, role: str, instruction: str | None = None) -> Side:
        image = self.pictures.get(role)
        return Side(self.texts.get(role), image.path if image else None, instruction)
