"""One job from its pictures to its sample: one pass of the language model, then the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedder.images.decode import decode_image, read_file
from finetune.synthesis import schema
from finetune.synthesis.checks import check_sample
from finetune.synthesis.journal import JobOutcome
from finetune.synthesis.llm import LanguageModel, Reply, Request
from finetune.synthesis.plan import ImageSource, SampleJob, choose_images
from finetune.synthesis.prompt_templates import PromptTemplates
from finetune.synthesis.reply_parser import parse_revised
from finetune.synthesis.samples import Rejected, Sample, SampleImage
from indexer.skip_reasons import UnusableFileError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class SampleGenerator:
    """`side`: pixels on the longer side of the pictures that the model is shown. Thread-safe."""

    images: ImageSource
    prompts: PromptTemplates
    llm: LanguageModel
    image_side: int = 768

    def __call__(self, job: SampleJob) -> JobOutcome:
        """Raises `WriterError`, `LostError`; a sample that is no good is an outcome."""
        reply = Reply("")
        try:
            images = choose_images(job, self.images)
            reply = self.llm.generate(self._build_request(job, images))
            sample = parse_sample(job, images, reply)
        except Rejected as rejection:
            return self._outcome(job, reply, None, rejection.reason, rejection.detail)
        return self._outcome(job, reply, sample)

    def _outcome(
        self,
        job: SampleJob,
        reply: Reply,
        sample: Sample | None,
        reason: str = "",
        detail: str = "",
    ) -> JobOutcome:
        return JobOutcome(
            job.number,
            sample,
            reason,
            detail,
            reply.tokens_in,
            reply.tokens_out,
            llm=self.llm.name,
        )

    def _build_request(self, job: SampleJob, images: dict[str, SampleImage]) -> Request:
        return Request(
            system=self.prompts.system,
            text=self.prompts.build_request(job),
            images=tuple(load_image(image.path, self.image_side) for image in images.values()),
            schema=schema.answer_schema(job.combination),
            seed=job.seed,
        )


def parse_sample(job: SampleJob, images: dict[str, SampleImage], reply: Reply) -> Sample:
    """The revised sample in `reply`, checked; raises `Rejected`."""
    texts = parse_revised(reply, schema.answer_schema(job.combination))
    check_sample(texts, job.combination, job.language)
    instruction = texts.pop(schema.INSTRUCTION)
    return Sample(
        task=job.combination.task,
        language=job.language.code if texts else None,
        item=images[job.combination.anchor_role].content,
        instruction=instruction,
        texts=texts,
        pictures=images,
    )


def load_image(path: str, max_side: int) -> Image:
    """A picture, upright RGB, at most `side` pixels on its longer side; raises `Rejected`."""
    try:
        image = decode_image(read_file(path), side=max_side).image
    except UnusableFileError as error:
        raise Rejected("picture is gone", f"{path}: {error}") from error
    image.thumbnail((max_side, max_side))
    return image
