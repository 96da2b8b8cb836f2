"""The language model as synthesis sees it: a request in, text out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from finetune.errors import FinetuneError
from finetune.synthesis.prompt_templates import Schema

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sample's conversation: the images (upright RGB) in order, then `text`."""

    system: str
    text: str
    images: tuple[Image, ...]
    schema: Schema
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """`truncated`: the answer hit the token limit; `refused`: the model declined to answer."""

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
        """Raises `LanguageModelError` to end the run, `RequestFailedError` to skip the job."""
        ...

    def close(self) -> None: ...


class LanguageModelError(FinetuneError):
    """The language model cannot be used at all: the run ends."""


class RequestFailedError(FinetuneError):
    """One request failed. Its job stays pending for another run."""


class RunStoppedError(FinetuneError):
    """The run was stopped before the request was sent."""
