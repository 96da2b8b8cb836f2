"""A vision-language model as a backbone: prompts of its family, images of its architecture.

Rows are padded on the right without a mask: attention is causal, so a row's last token never sees
the padding, and the fastest kernel runs. The last token's state is the embedding; the language
model's head never runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from embedder.engine import Batch, Bucket
from embedder.errors import EmbedderError
from embedder.types import Input, ModelCard, Role
from embedder.vlm.prompts import Prompt, PromptTokenizer

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Size = tuple[int, int]
"""Width and height in pixels, as in Pillow."""

RenderPrompt = Callable[[Input, Role, "str | None"], Prompt]
"""Builds a family's prompt; raises `EmbedderError` for an input the model cannot take."""


def too_narrow_error(size: Size) -> EmbedderError:
    """Return the error for an image whose aspect ratio the model cannot take."""
    return EmbedderError(
        f"an image of {size[0]} x {size[1]} pixels is too narrow for this model: one side is over "
        "200 times the other; crop it"
    )


class Architecture(Protocol):
    """How a model takes images. All but `compute_hidden_states` runs on the CPU, in threads."""

    @property
    def model(self) -> Any:
        """The torch module."""
        ...

    @property
    def image_token(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def count_image_tokens(self, size: Size) -> int:
        """Return the tokens of an image of `size` in the sequence; raises `EmbedderError`."""
        ...

    @property
    def extra_tokens(self) -> int:
        """What an image costs besides its tokens in the sequence, in tokens."""
        ...

    def batch_key(self, image_count: int) -> Hashable:
        """Return a key for rows with that many images; rows of a batch share it."""
        ...

    def preprocess_image(self, image: Image) -> Mapping[str, Any]:
        """Return the tensors of one image."""
        ...

    def collate_images(self, images: Sequence[Mapping[str, Any]], ids: torch.Tensor) -> Batch:
        """Return the model's arguments for all images of a batch whose rows are `ids`."""
        ...

    def compute_hidden_states(self, ids: torch.Tensor, **pixels: Any) -> torch.Tensor:
        """Return (n, length, dim) after the last norm, of (n, length) int64 ids."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """Token ids with room for the images, and each image with its target size."""

    ids: tuple[int, ...]
    images: tuple[Image, ...]
    sizes: tuple[Size, ...]

    def resize_images(self) -> list[Image]:
        """Resize the images; bicubic, as the families do."""
        pairs = zip(self.images, self.sizes, strict=True)
        return [i if i.size == size else i.resize(size) for i, size in pairs]


class VisionLanguageBackbone:
    """The backbone of a vision-language model."""

    def __init__(
        self,
        card: ModelCard,
        architecture: Architecture,
        prompt_tokenizer: PromptTokenizer,
        render_prompt: RenderPrompt,
        resize: Callable[[Size], Size] = lambda size: size,
    ) -> None:
        """`resize` is the family's own rule, applied before the architecture's."""
        self.card = card
        self.architecture, self.prompt_tokenizer = architecture, prompt_tokenizer
        self.render_prompt, self._resize = render_prompt, resize

    @property
    def model(self) -> Any:
        """The torch module, without a language head."""
        return self.architecture.model

    @property
    def device(self) -> torch.device:
        return self.architecture.device

    def prepare(self, item: Input, role: Role, instruction: str | None) -> PreparedInput:
        item.validate()
        ids = self.prompt_tokenizer.encode(self.render_prompt(item, role, instruction))
        sizes = tuple(self._resize(image.size) for image in item.images)
        token_counts = [self.architecture.count_image_tokens(size) for size in sizes]
        return PreparedInput(
            tuple(self._expand_image_tokens(ids, token_counts)), item.images, sizes
        )

    def _expand_image_tokens(self, ids: Sequence[int], token_counts: Sequence[int]) -> list[int]:
        """Repeat each image token as often as its image has tokens."""
        token, rest, out = self.architecture.image_token, iter(token_counts), list[int]()
        for i in ids:
            out += [i] * (next(rest) if i == token else 1)
        return out

    def bucket(self, ready: PreparedInput) -> Bucket:
        image_count = len(ready.images)
        batch_key, extra_tokens = (
            self.architecture.batch_key(image_count),
            self.architecture.extra_tokens,
        )
        return Bucket(batch_key, len(ready.ids), image_count * extra_tokens)

    def process(self, ready: PreparedInput) -> list[Mapping[str, Any]]:
        return [self.architecture.preprocess_image(image) for image in ready.resize_images()]

    def collate(
        self, items: Sequence[PreparedInput], processed: Sequence[list[Mapping[str, Any]]]
    ) -> Batch:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = pad_sequence([torch.tensor(item.ids) for item in items], batch_first=True)
        last = torch.tensor([len(item.ids) - 1 for item in items])
        images = [image for row in processed for image in row]
        stacked = self.architecture.collate_images(images, ids) if images else {}
        return {"ids": ids, "last": last, **stacked}

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return (n, dim): the state of each row's last token."""
        pixels = {name: value for name, value in batch.items() if name not in ("ids", "last")}
        states = self.architecture.compute_hidden_states(batch["ids"], **pixels)  # (n, length, dim)
        return select_last_token(states, batch["last"])


def select_last_token(states: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Select from (n, length, dim) the state at each row's (n,) `last` position: (n, dim)."""
    import torch

    return states[torch.arange(len(last), device=last.device), last]
