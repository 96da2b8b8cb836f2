"""Qwen3-VL-Reranker: texts, images, and both together.

https://github.com/QwenLM/Qwen3-VL-Embedding (src/models/qwen3_vl_reranker.py),
https://arxiv.org/abs/2601.04720. The model reads an instruction, the query and a document, images
before the text of each, and answers "yes" or "no"; the score is the probability of "yes" against
"no", from the logits of the first token of its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import Checkpoint, compute_fingerprint
from embedder.engine import Batch, Bucket
from embedder.errors import EmbedderError
from embedder.rerankers.reranker import Reranker, RerankerCard
from embedder.types import Input, Settings
from embedder.vlm.prompts import PromptTokenizer, UserText
from embedder.vlm.qwen3_vl import IMAGE_PLACE, MAX_ASPECT_RATIO

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from embedder.vlm.qwen3_vl import Qwen3VL

FAMILY = "qwen3_vl"
VERSION = 1  # increase when the prompt or the preprocessing changes
PIXELS_PER_TOKEN = 32 * 32
MIN_PIXELS, MAX_PIXELS = 4 * PIXELS_PER_TOKEN, 1800 * PIXELS_PER_TOKEN  # the authors', of an image
MAX_TOKENS = 10_240  # before the end of the prompt
END_TOKENS = 5  # of the end of the prompt, which is never cut
SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
START = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<Instruct>: "
END = "<|im_end|>\n<|im_start|>assistant\n"

CARDS = tuple(
    RerankerCard(
        name=f"Qwen/Qwen3-VL-Reranker-{size}",
        family=FAMILY,
        modalities=("text", "image"),
        license="Apache-2.0",
        image_side=isqrt(MAX_PIXELS),
        parameters=parameters,
        memory=memory,
    )
    for size, parameters, memory in (
        ("2B", 2_130_000_000, 7_000_000_000),
        ("8B", 8_770_000_000, 20_000_000_000),
    )
)


def describe(name: str, checkpoint: Checkpoint, settings: Settings) -> RerankerCard:
    """Return the card of the model in `checkpoint`."""
    budget = settings.pixel_budget or MAX_PIXELS
    preset = next((card for card in CARDS if card.name == name), None)
    card = preset or replace(CARDS[0], name=name, license="see its page", parameters=0, memory=0)
    fingerprint = compute_fingerprint(FAMILY, VERSION, checkpoint.digest, budget)
    return replace(card, image_side=isqrt(budget), fingerprint=fingerprint)


def load(name: str, checkpoint: Checkpoint, settings: Settings) -> Reranker:
    """Load a model; raises `EmbedderError`."""
    from embedder.vlm.loading import load_language_model
    from embedder.vlm.qwen3_vl import Qwen3VL

    card = describe(name, checkpoint, settings)
    model = load_language_model(checkpoint, settings)
    tokenizer = PromptTokenizer.read(checkpoint.folder)
    yes, no = (_find_token(tokenizer, word, checkpoint) for word in ("yes", "no"))
    head = model.lm_head.weight
    direction = head[yes].float() - head[no].float()  # (dim,): logit of yes - logit of no
    max_pixels = settings.pixel_budget or MAX_PIXELS
    min_pixels = min(MIN_PIXELS, max_pixels)
    architecture = Qwen3VL(model.model, checkpoint.folder, min_pixels, max_pixels)
    return Reranker(Qwen3VLPairs(card, architecture, tokenizer, direction), settings)


def _find_token(tokenizer: PromptTokenizer, word: str, checkpoint: Checkpoint) -> int:
    ids = tokenizer.encode([word])
    if len(ids) != 1:
        raise EmbedderError(f"the tokenizer in {checkpoint.folder} has no token {word!r}")
    return ids[0]


@dataclass(frozen=True, slots=True)
class PreparedPair:
    """Token ids with room for the images, which are in the order of the prompt."""

    ids: tuple[int, ...]
    images: tuple[Image, ...]


class Qwen3VLPairs:
    """The model, for pairs of a query and a document.

    Rows are padded on the right without a mask, as in `embedder.vlm.backbone`.
    """

    def __init__(
        self,
        card: RerankerCard,
        architecture: Qwen3VL,
        tokenizer: PromptTokenizer,
        direction: torch.Tensor,
    ) -> None:
        """`direction` (dim,) float32 times the state of the last token is the logit of "yes"."""
        self.card, self.architecture = card, architecture
        self._tokenizer, self._direction = tokenizer, direction
        self._special_ids = frozenset(tokenizer.special_tokens.values())

    @property
    def device(self) -> torch.device:
        return self.architecture.device

    def can_read(self, image: Image) -> bool:
        return max(image.size) <= MAX_ASPECT_RATIO * min(image.size)

    def prepare(self, query: Input, candidate: Input, instruction: str | None) -> PreparedPair:
        prompt: list[str | UserText] = [START, UserText(instruction or INSTRUCTION)]
        for prefix, item in (("<Query>:", query), ("\n<Document>:", candidate)):
            prompt += [prefix, IMAGE_PLACE * len(item.images)]
            prompt += [UserText(item.text)] if item.text and item.has_text else []
        ids = self._tokenizer.encode([*prompt, END])
        images = (*query.images, *candidate.images)
        counts = iter([self.architecture.count_image_tokens(image.size) for image in images])
        expanded: list[int] = []  # each image token as often as its image has tokens
        for token in ids:
            is_image = token == self.architecture.image_token
            expanded += [token] * (next(counts) if is_image else 1)
        return PreparedPair(tuple(self._truncate(expanded)), images)

    def _truncate(self, ids: Sequence[int]) -> list[int]:
        """Leave out the last tokens of texts before the end of the prompt, but no special ones."""
        body, end = ids[:-END_TOKENS], ids[-END_TOKENS:]
        excess = len(body) - MAX_TOKENS
        plain = [at for at, token in enumerate(body) if token not in self._special_ids]
        cut = frozenset(plain[-excess:] if excess > 0 else ())
        return [*(token for at, token in enumerate(body) if at not in cut), *end]

    def bucket(self, ready: PreparedPair) -> Bucket:
        return Bucket("any", len(ready.ids))

    def process(self, ready: PreparedPair) -> list[Mapping[str, Any]]:
        return [self.architecture.preprocess_image(image) for image in ready.images]

    def collate(
        self, items: Sequence[PreparedPair], processed: Sequence[list[Mapping[str, Any]]]
    ) -> Batch:
        return self.architecture.collate([item.ids for item in items], processed)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return (n, 1): the probability of "yes" against "no"."""
        logits = self.architecture.compute_last_states(batch).float() @ self._direction
        return logits.sigmoid()[:, None]
