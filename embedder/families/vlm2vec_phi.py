"""VLM2Vec on Phi-3.5-V, whose model is Python code that comes with its weights.

transformers does not include this model, so nothing here runs without `--trust-remote-code`. The
code was written for transformers 4; if it does not run with this version, the error says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import Checkpoint
from embedder.encoding import EmbeddingModel
from embedder.engine import Batch, Bucket
from embedder.errors import EmbedderError
from embedder.types import Input, ModelCard, Role, Settings
from embedder.vlm.backbone import RenderPrompt, select_last_token
from embedder.vlm.prompts import UserText, list_special_tokens, neutralize_special_tokens

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

IMAGE_TOKEN = "<|image_1|>"
NUM_CROPS = 4  # tiles of 336 x 336 besides the whole image, as in the paper
MAX_IMAGE_TOKENS = 757  # for planning batches


def load_phi(
    card: ModelCard, checkpoint: Checkpoint, settings: Settings, render_prompt: RenderPrompt
) -> EmbeddingModel:
    """Load the model; raise `EmbedderError` without permission to run its code, or if it fails."""
    if not settings.trust_remote_code:
        raise EmbedderError(
            f"{card.name} runs Python code that comes with its weights; read that code, then give "
            "--trust-remote-code, or choose another model (see embedder models)"
        )
    from embedder.engine import Engine

    processor, model = _load_remote_code(checkpoint, settings)
    return Engine(PhiBackbone(card, processor, model, render_prompt), settings)


PreparedInput = tuple[str, tuple["Image", ...]]
"""A prompt and its images."""


class PhiBackbone:
    """The checkpoint's own processor and model; the processor takes one row at a time."""

    def __init__(
        self, card: ModelCard, processor: Any, model: Any, render_prompt: RenderPrompt
    ) -> None:
        self.card, self._render_prompt = card, render_prompt
        self._processor, self._model = processor, model
        self._special_tokens = list_special_tokens(self._processor.tokenizer.backend_tokenizer)

    @property
    def model(self) -> Any:
        return self._model

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def prepare(self, item: Input, role: Role, instruction: str | None) -> PreparedInput:
        item.validate(self.card.max_images)
        special = [*self._special_tokens, IMAGE_TOKEN]
        pieces = [
            neutralize_special_tokens(piece.text, special) if isinstance(piece, UserText) else piece
            for piece in self._render_prompt(item, role, instruction)
        ]
        return "".join(pieces), item.images

    def bucket(self, ready: PreparedInput) -> Bucket:
        text, images = ready
        return Bucket(len(images), len(text) // 3 + MAX_IMAGE_TOKENS * len(images))

    def count_tokens(self, ready: PreparedInput) -> int:
        """Count the tokens of the text, and the most that its images may have."""
        text, images = ready
        return len(self._processor.tokenizer(text)["input_ids"]) + MAX_IMAGE_TOKENS * len(images)

    def process(self, ready: PreparedInput) -> Mapping[str, torch.Tensor]:
        text, images = ready
        row: Mapping[str, torch.Tensor]
        row = self._processor(text, list(images) or None, return_tensors="pt")
        return row

    def collate(
        self, items: Sequence[PreparedInput], rows: Sequence[Mapping[str, torch.Tensor]]
    ) -> Batch:
        """Pad rows on the right: `ids`, `last`, and the stacked tensors of the images."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = [row["input_ids"][0] for row in rows]
        batch = {
            "ids": pad_sequence(ids, batch_first=True),
            "last": torch.tensor([len(row) - 1 for row in ids]),
        }
        image_keys = {"pixel_values", "image_sizes"} & set(rows[0])
        return {**batch, **{name: torch.cat([row[name] for row in rows]) for name in image_keys}}

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return (n, dim): the state of each row's last token."""
        import torch

        last = batch["last"]
        image_inputs = {name: value for name, value in batch.items() if name not in ("ids", "last")}
        positions = torch.arange(batch["ids"].shape[1], device=last.device)[None]
        mask = (positions <= last[:, None]).long()
        out = self._model(
            input_ids=batch["ids"],
            attention_mask=mask,
            use_cache=False,
            output_hidden_states=True,
            **image_inputs,
        )
        states: torch.Tensor = out.hidden_states[-1]  # (n, length, dim)
        return select_last_token(states, last)


def _load_remote_code(checkpoint: Checkpoint, settings: Settings) -> tuple[Any, Any]:
    """Load processor and model; whatever their code raises becomes one sentence."""
    import transformers

    from embedder.vlm.loading import select_device

    if settings.quantize:
        raise EmbedderError(
            f"{checkpoint.folder.name} runs remote code, whose weights cannot be quantized; leave "
            "--quantize out"
        )
    transformers_any: Any = transformers
    folder, (device, dtype) = checkpoint.folder, select_device(settings)
    try:
        processor = transformers_any.AutoProcessor.from_pretrained(
            folder, trust_remote_code=True, num_crops=NUM_CROPS
        )
        model = transformers_any.AutoModelForCausalLM.from_pretrained(  # its code knows no sdpa
            folder, trust_remote_code=True, dtype=dtype, attn_implementation="eager"
        )
        if checkpoint.adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, checkpoint.adapter).merge_and_unload()
    except Exception as error:  # code from elsewhere may raise anything
        raise EmbedderError(
            f"the code that comes with {folder.name} does not run with this version of "
            f"transformers ({type(error).__name__}: {error}); serve the model with vLLM, and give "
            "its URL with --model"
        ) from error
    return processor, model.to(device).eval().requires_grad_(False)
