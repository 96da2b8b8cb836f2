"""A sample that is kept, and why one is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from finetune.data.pairs import Pair, Side
from finetune.synthesis.tasks import NEGATIVE, POSITIVE, QUERY


class Rejected(Exception):  # noqa: N818  it is an outcome, not a fault
    """A sample that is not kept: `reason` is counted, `detail` is for who wants to know."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class SampleImage:
    """A point of the collection: its id, its content's id, and a path where it lies."""

    id: str
    content: str
    path: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The revised sample. `texts` and `pictures` are by role: query, positive, negative."""

    task: str
    language: str | None  # None: there are no words beside the instruction
    item: str  # the content id of the picture that was drawn
    instruction: str
    texts: Mapping[str, str]
    pictures: Mapping[str, SampleImage]

    @property
    def to_pair(self) -> Pair:
        """What is trained on."""
        return Pair(
            query=self._side(QUERY, self.instruction),
            positive=self._side(POSITIVE),
            negatives=(self._side(NEGATIVE),),
            language=self.language,
            item=self.item,
            dataset=f"synthetic-{self.task}",
        )

    @property
    def to_dict(self) -> dict[str, Any]:
        """As a journal holds it; `read` is the way back."""
        return asdict(self)

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Sample:
        pictures = {role: SampleImage(**one) for role, one in fields["pictures"].items()}
        return Sample(**{**fields, "pictures": pictures})

    def _side(self, role: str, instruction: str | None = None) -> Side:
        image = self.pictures.get(role)
        return Side(self.texts.get(role), image.path if image else None, instruction)
