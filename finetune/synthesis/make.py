"""One job from its pictures to its sample: one pass of the language model, then the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.synthesis import schema
from finetune.synthesis.checks import check
from finetune.synthesis.journal import Outcome
from finetune.synthesis.plan import Job, Pictures, cast
from finetune.synthesis.prompts import Prompts
from finetune.synthesis.replies import revised
from finetune.synthesis.samples import Picture, Rejected, Sample
from finetune.synthesis.writers import Reply, Request, Writer
from indexer.decode import decode, read
from indexer.skips import Undecodable

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Maker:
    """`side`: pixels on the longer side of the pictures that the model is shown. Thread-safe."""

    pictures: Pictures
    prompts: Prompts
    writer: Writer
    side: int = 768

    def __call__(self, job: Job) -> Outcome:
        """Raises `WriterError`, `LostError`; a sample that is no good is an outcome."""
        reply = Reply("")
        try:
            found = cast(job, self.pictures)
            reply = self.writer.write(self._request(job, found))
            sample = sample_of(job, found, reply)
        except Rejected as why:
            return self._outcome(job, reply, None, why.reason, why.detail)
        return self._outcome(job, reply, sample)

    def _outcome(
        self, job: Job, reply: Reply, sample: Sample | None, reason: str = "", detail: str = ""
    ) -> Outcome:
        return Outcome(
            job.number,
            sample,
            reason,
            detail,
            reply.tokens_in,
            reply.tokens_out,
            by=self.writer.name,
        )

    def _request(self, job: Job, found: dict[str, Picture]) -> Request:
        return Request(
            system=self.prompts.system,
            text=self.prompts.request(job),
            pictures=tuple(shown(picture.path, self.side) for picture in found.values()),
            schema=schema.answer(job.combination),
            seed=job.seed,
        )


def sample_of(job: Job, found: dict[str, Picture], reply: Reply) -> Sample:
    """The revised sample in `reply`, checked; raises `Rejected`."""
    texts = revised(reply, schema.answer(job.combination))
    check(texts, job.combination, job.language)
    instruction = texts.pop(schema.INSTRUCTION)
    return Sample(
        task=job.combination.task,
        language=job.language.code if texts else None,
        item=found[job.combination.drawn].content,
        instruction=instruction,
        texts=texts,
        pictures=found,
    )


def shown(path: str, side: int) -> Image:
    """A picture, upright RGB, at most `side` pixels on its longer side; raises `Rejected`."""
    try:
        image = decode(read(path), side=side).image
    except Undecodable as error:
        raise Rejected("picture is gone", f"{path}: {error}") from error
    image.thumbnail((side, side))
    return image
