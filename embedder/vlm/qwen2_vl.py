"""Qwen2-VL and Qwen2.5-VL: an image at about its own resolution, 28 x 28 pixels per token.

https://arxiv.org/abs/2409.12191, https://arxiv.org/abs/2502.13923; transformers' `qwen2_vl`,
`qwen2_5_vl`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.engine.backbone import Batch
from embedder.vlm import segment_attention
from embedder.vlm.backbone import Size, too_narrow_error

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import Qwen2_5_VLModel, Qwen2VLModel


class Qwen2VL:
    """The architecture around a loaded model, with one-dimensional positions.

    VLM2Vec's prompts have the image token without `<|vision_start|>`; the authors' versions then
    found no image and counted positions as for text, so the checkpoints were trained this way.
    """

    extra_tokens = 0  # all tokens of an image are in the sequence

    def __init__(
        self, model: Qwen2VLModel | Qwen2_5_VLModel, folder: Path, min_pixels: int, max_pixels: int
    ) -> None:
        """Images are resized to between `min_pixels` and `max_pixels`."""
        from transformers import Qwen2VLImageProcessorPil

        self.image_token = int(model.config.image_token_id)
        self.model = model
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(
            folder, min_pixels=min_pixels, max_pixels=max_pixels
        )
        self._pixel_range = min_pixels, max_pixels
        segment_attention.install_segment_attention(model.visual)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def batch_key(self, image_count: int) -> str:
        return "any"

    def count_image_tokens(self, size: Size) -> int:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        factor = self._processor.patch_size * self._processor.merge_size
        try:
            height, width = smart_resize(size[1], size[0], factor, *self._pixel_range)
        except ValueError:
            raise too_narrow_error(size) from None
        return int(height * width) // factor**2

    def preprocess_image(self, image: Image) -> Mapping[str, Any]:
        """`pixel_values` (patches, 1176), and `image_grid_thw` (1, 3): frames, patches down and
        across."""
        processed = self._processor(images=[image], return_tensors="pt")
        patches = processed["pixel_values"].to(self.model.dtype)
        return {"pixel_values": patches, "image_grid_thw": processed["image_grid_thw"]}

    def collate_images(self, images: Sequence[Mapping[str, Any]], ids: torch.Tensor) -> Batch:
        import torch

        return {name: torch.cat([p[name] for p in images]) for name in images[0]}

    def compute_hidden_states(self, ids: torch.Tensor, **pixels: Any) -> torch.Tensor:
        import torch

        positions = torch.arange(ids.shape[1], device=ids.device).expand(3, *ids.shape)
        out = self.model(input_ids=ids, position_ids=positions, use_cache=False, **pixels)
        states: torch.Tensor = out.last_hidden_state
        return states
