"""A model that sentence-transformers loads, as a backbone.

Every text is passed as {"text": ...}: sentence-transformers would fetch a plain string that is a
URL, and open one that is the path of an image.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedder.engine import Batch, Bucket
from embedder.errors import EmbedderError
from embedder.families.sentence_transformer.conventions import find_conventions
from embedder.families.sentence_transformer.processors import (
    serialize_tokenizer_calls,
    uses_gemma_tokenizer,
)
from embedder.types import Input, MatchHead, ModelCard, Role
from embedder.vlm.backbone import too_narrow_error
from embedder.vlm.qwen3_vl import fit_size

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

DEFAULT_IMAGE_TOKENS = 1024  # tokens of an image if the processor cannot tell
Features = dict[str, Any]
"""What sentence-transformers makes from inputs for one forward pass."""
ASCII_LOWERCASE = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """A text without special tokens, images, and the prompt before them.

    `tokens` is what all cost, with padding; the others are without it, and without the prompt.
    """

    text: str | None
    images: tuple[Image, ...]
    prompt: str | None
    tokens: int
    text_tokens: int
    image_tokens: int


class SentenceTransformerBackbone:
    """The backbone. A model with a chat template reads texts and images together; without one, the
    unit vectors of an input's parts are added. The rows of a batch have the same prompt."""

    def __init__(
        self,
        card: ModelCard,
        model: Any,
        query_prompt: str = "",
        match_head: MatchHead | None = None,
        resizes_images: bool = False,
    ) -> None:
        """`query_prompt` is for queries, if the SentenceTransformer `model` has none.

        `resizes_images`: as qwen_vl_utils does, before the processor, which rounds otherwise.
        """
        from embedder.vlm.prompts import list_special_tokens

        self.card, self.match_head = card, match_head
        self._model, self._transformer_module, self._query_prompt = model, model[0], query_prompt
        self._resizes_images = resizes_images
        self._tokenizer = self._transformer_module.tokenizer
        self._special_tokens = tuple(list_special_tokens(self._tokenizer.backend_tokenizer))
        self._has_chat_template = "message" in model.modalities
        self._conventions = find_conventions(self._transformer_module.config.to_dict())
        self._lowercases = uses_gemma_tokenizer(self._transformer_module)
        self._fixed_image_tokens = _count_fixed_image_tokens(self._transformer_module)
        self._prompt_tokens: dict[str | None, int] = {}
        serialize_tokenizer_calls(self._tokenizer)

    @property
    def sentence_transformer(self) -> Any:
        """The SentenceTransformer."""
        return self._model

    @property
    def model(self) -> Any:
        """The transformers module, which an adapter is merged into."""
        return self._transformer_module.model

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def prepare(self, item: Input, role: Role, instruction: str | None) -> PreparedInput:
        item.validate()
        text = self._write_text(item, instruction)
        if item.images and "image" not in self.card.modalities:
            raise EmbedderError(
                f"{self.card.name} takes only texts; choose a model that takes images, such as "
                "google/siglip2-base-patch16-256"
            )
        image_tokens = sum(self._count_image_tokens(image.size) for image in item.images)
        prompt = self.select_prompt(role, instruction)
        if text is None and not instruction and not self._conventions.prompts_images:
            prompt = None
        text_tokens = cost = 0
        if text:
            max_tokens = self._max_prompted_tokens(prompt) - image_tokens
            text, text_tokens, cost = self._truncate(self._sanitize(text), max_tokens)
        cost += image_tokens + len(prompt or "") // 4
        return PreparedInput(text, item.images, prompt, cost, text_tokens, image_tokens)

    def _write_text(self, item: Input, instruction: str | None) -> str | None:
        """Return the text of an input, with what the model's authors write beside images."""
        text = item.text if item.has_text else None
        if instruction and self._conventions.instruction_in_text:
            return " ".join(filter(None, (instruction.strip(), text)))
        return text or (self._conventions.image_text if item.images else None) or None

    def count_tokens(self, ready: PreparedInput) -> int:
        """Count the tokens of an input with its prompt; a text is cut where the model cuts it."""
        if self._has_chat_template:
            return ready.image_tokens + ready.text_tokens + self._count_prompt_tokens(ready.prompt)
        if ready.text is None:
            return ready.image_tokens  # images have no prompt
        text_tokens = ready.text_tokens + self._count_prompt_tokens(ready.prompt)
        return ready.image_tokens + min(text_tokens, self._max_text_tokens or text_tokens)

    def _count_prompt_tokens(self, prompt: str | None) -> int:
        """Count the tokens of a prompt, with the special ones and those of the chat template."""
        if prompt not in self._prompt_tokens:
            if self._has_chat_template:
                probe = self._model.preprocess([{"text": "a"}], prompt=prompt)
                count = probe["input_ids"].shape[1] - len(self._tokenize("a")["input_ids"])
            else:
                count = self._tokenizer.num_special_tokens_to_add()
                count += len(self._tokenize(prompt or "")["input_ids"])
            self._prompt_tokens[prompt] = count
        return self._prompt_tokens[prompt]

    def _max_prompted_tokens(self, prompt: str | None) -> int:
        """The most tokens of a text and its images, beside the prompt."""
        length = self._model.get_max_seq_length() if self._has_chat_template else None
        if length is None or length > self._conventions.max_tokens:
            return self._conventions.max_tokens
        return int(length) - self._count_prompt_tokens(prompt)

    @property
    def _max_text_tokens(self) -> int | None:
        """The length to which a model without a chat template pads or cuts its texts."""
        options = self._transformer_module.processing_kwargs.get("text", {})
        length: int | None = options.get("max_length") or self._model.get_max_seq_length()
        return length

    def _tokenize(self, text: str) -> Any:
        return self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )

    def select_prompt(self, role: Role, instruction: str | None) -> str | None:
        """Return the prompt before an input, which is a system turn if the model has a chat
        template. An instruction replaces it there; other models know only their own prompts."""
        saved, template = self._model.prompts, self._conventions.query_template
        if self._conventions.instruction_in_text:
            instruction = None
        if instruction and self._has_chat_template and not template:
            return self._sanitize(_punctuate(instruction))
        if instruction and role == "query" and template:
            return template.format(self._sanitize(instruction.strip()))
        default = saved.get(self._model.default_prompt_name or "", "")
        query_prompt = self._query_prompt if role == "query" else ""
        return saved.get(role) or query_prompt or default or None

    def bucket(self, ready: PreparedInput) -> Bucket:
        parts = bool(ready.images), None if self._has_chat_template else ready.text is not None
        return Bucket((ready.prompt or "", *parts), ready.tokens)

    def process(self, ready: PreparedInput) -> list[Features]:
        """Return the features of each forward pass for the images of an input."""
        if not ready.images:
            return []  # texts are faster all at once
        sizes = [self._fit_size(image.size) for image in ready.images]
        resized = [
            image if image.size == size else image.resize(size)
            for image, size in zip(ready.images, sizes, strict=True)
        ]
        inputs: list[Features] = [{"image": image} for image in resized]
        if self._has_chat_template:  # the order of the keys is that of the parts
            text = {} if ready.text is None else {"text": ready.text}
            images = {"image": resized}
            inputs = [text | images if self._conventions.text_first else images | text]
        return [self._model.preprocess([one], prompt=ready.prompt) for one in inputs]

    def collate(self, items: Sequence[PreparedInput], processed: Sequence[list[Features]]) -> Batch:
        """Return the features of each forward pass, named `pass.feature`, with the row that each of
        its vectors belongs to."""
        import torch

        passes: list[tuple[list[int], Features]] = []
        image_features = [one for row in processed for one in row]
        if image_features:
            rows = [row for row, ones in enumerate(processed) for _ in ones]
            passes.append((rows, collate_features(image_features, self._tokenizer)))
        text_rows = [row for row, item in enumerate(items) if item.text is not None]
        if text_rows and not (image_features and self._has_chat_template):
            texts = [{"text": items[row].text} for row in text_rows]
            passes.append((text_rows, self._model.preprocess(texts, prompt=items[0].prompt)))
        batch: dict[str, Any] = {"count": len(items)}
        for index, (rows, features) in enumerate(passes):
            batch |= {f"{index}.{name}": value for name, value in features.items()}
            batch[f"{index}.rows"] = torch.tensor(rows)
        return batch

    def forward(self, batch: Batch) -> torch.Tensor:
        """Compute (n, dim) on the device, not always of unit norm."""
        count, passes = batch["count"], _unpack_passes(batch)
        rows = [features.pop("rows") for features in passes]
        states = [self._model.forward(features)["sentence_embedding"] for features in passes]
        return states[0] if self._has_chat_template else _sum_parts(count, rows, states)

    def _sanitize(self, text: str) -> str:
        """Lowercase `text` if the model was trained so, and break up special tokens."""
        from embedder.vlm.prompts import neutralize_special_tokens

        # The authors' tf.strings.lower leaves all but A-Z as they are.
        return neutralize_special_tokens(
            text.translate(ASCII_LOWERCASE) if self._lowercases else text, self._special_tokens
        )

    def _truncate(self, text: str, max_tokens: int) -> tuple[str, int, int]:
        """Cut `text` to `max_tokens`, count its tokens, and what they cost with their padding; a
        model without a chat template cuts texts itself."""
        encoding = self._tokenize(text)
        count = len(encoding["input_ids"])
        if not self._has_chat_template:
            length = self._transformer_module.processing_kwargs.get("text", {}).get("max_length")
            return text, count, length or min(count, self._model.get_max_seq_length() or count)
        if count <= max_tokens:
            return text, count, count
        max_tokens = max(max_tokens, 1)
        return text[: encoding["offset_mapping"][max_tokens - 1][1]], max_tokens, max_tokens

    def _count_image_tokens(self, size: tuple[int, int]) -> int:
        """Count the tokens of an image of `size` (width, height); raises `EmbedderError`."""
        processor = self._transformer_module.processor
        images = processor.image_processor
        if hasattr(images, "max_soft_tokens"):
            counted = processor._get_num_multimodal_tokens(image_sizes=[(size[1], size[0])])
            return int(counted.num_image_tokens[0]) + 2  # a token before them, and one behind
        if not hasattr(images, "merge_size"):
            return self._fixed_image_tokens
        size = self._fit_size(size)
        try:
            patches = images.get_number_of_image_patches(size[1], size[0], {})
        except ValueError:
            raise too_narrow_error(size) from None
        return int(patches) // int(images.merge_size) ** 2

    def _fit_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) that an image gets before the processor."""
        if not self._resizes_images:
            return size
        images = self._transformer_module.processor.image_processor
        factor, limits = images.patch_size * images.merge_size, images.size
        fitted = fit_size(size, factor, limits["shortest_edge"], limits["longest_edge"])
        # a strip that is as low as can be may still be too long for a small budget
        longest = max(factor, limits["longest_edge"] // min(fitted) // factor * factor)
        return min(fitted[0], longest), min(fitted[1], longest)


def collate_features(features: Sequence[Features], tokenizer: Any) -> Features:
    """Join the features of single inputs to those of a batch, as if prepared together.

    Pad tensors of the shape of the ids, (1, length), on the tokenizer's side; concatenate other
    tensors; keep other values, which are the same in all.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    out: Features = {}
    ids = features[0].get("input_ids")
    for name, first in features[0].items():
        values = [one[name] for one in features]
        if not isinstance(first, torch.Tensor):
            out[name] = first
        elif ids is not None and first.shape == ids.shape:
            out[name] = pad_sequence(
                [value[0] for value in values],
                batch_first=True,
                padding_value=tokenizer.pad_token_id if name == "input_ids" else 0,
                padding_side=tokenizer.padding_side,
            )
        else:
            out[name] = torch.cat(values)
    return out


def _unpack_passes(batch: Batch) -> list[dict[str, Any]]:
    passes: dict[str, dict[str, Any]] = {}
    for key, value in batch.items():
        name, dot, feature = key.partition(".")
        if dot:
            passes.setdefault(name, {})[feature] = value
    return list(passes.values())


def _sum_parts(
    count: int, rows: Sequence[torch.Tensor], states: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Sum the unit vectors of every row's parts: (count, dim). Each pass has (m,) `rows` and
    (m, dim) `states`."""
    import torch
    from torch.nn.functional import normalize

    parts = torch.cat([normalize(one.float(), dim=1) for one in states])
    return parts.new_zeros(count, parts.shape[1]).index_add_(0, torch.cat(list(rows)), parts)


def _punctuate(instruction: str) -> str:
    """End an instruction with a punctuation mark, as Qwen3-VL-Embedding's authors do."""
    stripped = instruction.strip()
    is_punctuated = not stripped or unicodedata.category(stripped[-1]).startswith("P")
    return stripped if is_punctuated else stripped + "."


def _count_fixed_image_tokens(transformer: Any) -> int:
    """Count the tokens of an image for a model of fixed resolution."""
    images: Any = getattr(transformer.processor, "image_processor", None)
    vision: Any = getattr(transformer.config, "vision_config", None)
    if hasattr(images, "max_num_patches"):
        return int(images.max_num_patches)
    if hasattr(vision, "image_size") and hasattr(vision, "patch_size"):
        return int((vision.image_size // vision.patch_size) ** 2)
    return DEFAULT_IMAGE_TOKENS
