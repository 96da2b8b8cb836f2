"""A vision-language model as a backbone: prompts of its family, images of its architecture.

Rows are padded on the right without a mask: attention is causal, so a row's last token never sees
the padding, and the fastest kernel runs. The last token's state is the embedding; the language
model's head never runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


class Architecture:
    """How a model takes images. All but what computes states runs on the CPU, in threads."""

    extra_tokens = 0
    """What an image costs besides its tokens in the sequence, in tokens."""

    def __init__(self, model: Any, image_token: int) -> None:
        self.model: Any = model  # the torch module
        self.image_token = image_token

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def batch_key(self, image_count: int) -> Hashable:
        """Return a key for rows with that many images; rows of a batch share it."""
        return "any"  # rows with and without images do not affect each other

    def count_image_tokens(self, size: Size) -> int:
        """Return the tokens of an image of `size` in the sequence; raises `EmbedderError`."""
        raise NotImplementedError

    def preprocess_image(self, image: Image) -> Mapping[str, Any]:
        """Return the tensors of one image."""
        raise NotImplementedError

    def collate_images(self, images: Sequence[Mapping[str, Any]], ids: torch.Tensor) -> Batch:
        """Return the model's arguments for all images of a batch whose rows are `ids`."""
        import torch

        return {name: torch.cat([image[name] for image in images]) for name in images[0]}

    def collate(
        self, rows: Sequence[tuple[int, ...]], processed: Sequence[Sequence[Mapping[str, Any]]]
    ) -> Batch:
        """Pad rows of token ids on the right, and add what their preprocessed images need."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        last = torch.tensor([len(row) - 1 for row in rows])
        images = [image for row in processed for image in row]
        stacked = self.collate_images(images, ids) if images else {}
        return {"ids": ids, "last": last, **stacked}

    def compute_last_states(self, batch: Batch) -> torch.Tensor:
        """Return (n, dim): the state of the last token of each row of `collate`'s batch."""
        pixels = {name: value for name, value in batch.items() if name not in ("ids", "last")}
        states = self.compute_hidden_states(batch["ids"], **pixels)  # (n, length, dim)
        return select_last_token(states, batch["last"])

    def compute_hidden_states(self, ids: torch.Tensor, **pixels: Any) -> torch.Tensor:
        """Return (n, length, dim) after the last norm, of (n, length) int64 ids."""
        out = self.model(input_ids=ids, use_cache=False, **pixels)
        states: torch.Tensor = out.last_hidden_state
        return states


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """Token ids with room for the images, and each image with its target size."""

    ids: tuple[int, ...]
    images: tuple[Image, ...]
    sizes: tuple[Size, ...]


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
        item.validate(self.card.max_images)
        ids = self.prompt_tokenizer.encode(self.render_prompt(item, role, instruction))
        sizes = tuple(self._resize(image.size) for image in item.images)
        token_counts = iter([self.architecture.count_image_tokens(size) for size in sizes])
        expanded: list[int] = []  # each image token as often as its image has tokens
        for token in ids:
            is_image = token == self.architecture.image_token
            expanded += [token] * (next(token_counts, 1) if is_image else 1)
        if len(item.images) > 1:
            self._check_length(len(expanded), len(item.images))
        return PreparedInput(tuple(expanded), item.images, sizes)

    def _check_length(self, tokens: int, images: int) -> None:
        """Raise `EmbedderError` for more tokens than the model has positions for."""
        longest = self.model.config.get_text_config().max_position_embeddings
        if tokens > longest:
            raise EmbedderError(
                f"an input with {images} images has {tokens:,} tokens, and this model reads "
                f"{longest:,}: give it fewer images, or set a pixel budget"
            )

    def bucket(self, ready: PreparedInput) -> Bucket:
        architecture, image_count = self.architecture, len(ready.images)
        extra_tokens = image_count * architecture.extra_tokens
        key = architecture.batch_key(image_count)
        if not image_count and architecture.image_token in ready.ids:
            key = "image token without image"  # in a batch it would get the image of another row
        return Bucket(key, len(ready.ids), extra_tokens)

    def count_tokens(self, ready: PreparedInput) -> int:
        return len(ready.ids)

    def process(self, ready: PreparedInput) -> list[Mapping[str, Any]]:
        """Resize the images, bicubic as the families do, and preprocess them."""
        pairs = zip(ready.images, ready.sizes, strict=True)
        resized = [i if i.size == size else i.resize(size) for i, size in pairs]
        return [self.architecture.preprocess_image(image) for image in resized]

    def collate(
        self, items: Sequence[PreparedInput], processed: Sequence[list[Mapping[str, Any]]]
    ) -> Batch:
        return self.architecture.collate([item.ids for item in items], processed)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return (n, dim): the state of each row's last token."""
        return self.architecture.compute_last_states(batch)


def select_last_token(states: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Select from (n, length, dim) the state at each row's (n,) `last` position: (n, dim)."""
    import torch

    return states[torch.arange(len(last), device=last.device), last]
