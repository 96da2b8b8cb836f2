"""What a multimodal language model is to the synthesis: a request in, words out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from finetune.errors import FinetuneError
from finetune.synthesis.schema import Schema

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Request:
    """One sample's conversation: the pictures in their order, upright RGB, then `text`."""

    system: str
    text: str
    images: tuple[Image, ...]
    schema: Schema
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """`cut` where the model was stopped at the most tokens, `refused` where it would not answer."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    truncated: bool = False
    refused: bool = False


class LanguageModel(Protocol):
    """A multimodal language model. Thread-safe."""

    @property
    def name(self) -> str: ...

    def generate(self, request: Request) -> Reply:
        """Raises `WriterError` where no answer came; `LostError` where this job alone is lost."""
        ...

    def close(self) -> None: ...


class LanguageModelError(FinetuneError):
    """The language model cannot be used at all: the run ends."""


class RequestFailedError(FinetuneError):
    """No answer to one request. The job stays to be done, in another run."""


class RunStoppedError(FinetuneError):
    """The run was stopped before the request was made."""
