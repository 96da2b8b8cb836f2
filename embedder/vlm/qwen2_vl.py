"""Qwen2-VL and Qwen2.5-VL: an image at about its own resolution, 28 x 28 pixels per token.

https://arxiv.org/abs/2409.12191, https://arxiv.org/abs/2502.13923; transformers' `qwen2_vl`,
`qwen2_5_vl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.vlm.backbone import Architecture, Size

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import Qwen2_5_VLModel, Qwen2VLModel

ATTENTION_NAME = "polylens_flash_segments"  # transformers passes segments only to names with flash


class Qwen2VL(Architecture):
    """The architecture around a loaded model, with one-dimensional positions.

    VLM2Vec's prompts have the image token without `<|vision_start|>`; the authors' versions then
    found no image and counted positions as for text, so the checkpoints were trained this way.
    """

    def __init__(
        self, model: Qwen2VLModel | Qwen2_5_VLModel, folder: Path, min_pixels: int, max_pixels: int
    ) -> None:
        """Images are resized to between `min_pixels` and `max_pixels`.

        None may have a side over 200 times the other, or of less than 28 pixels.
        """
        from transformers import Qwen2VLImageProcessorPil

        super().__init__(model, int(model.config.image_token_id))
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(
            folder, min_pixels=min_pixels, max_pixels=max_pixels
        )
        self._pixel_range = min_pixels, max_pixels
        install_segment_attention(model.visual)

    def count_image_tokens(self, size: Size) -> int:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        factor = self._processor.patch_size * self._processor.merge_size
        height, width = smart_resize(size[1], size[0], factor, *self._pixel_range)
        return int(height * width) // factor**2

    def preprocess_image(self, image: Image) -> Mapping[str, Any]:
        """`pixel_values` (patches, 1176), and `image_grid_thw` (1, 3): frames, patches down and
        across."""
        processed = self._processor(images=[image], return_tensors="pt")
        patches = processed["pixel_values"].to(self.model.dtype)
        return {"pixel_values": patches, "image_grid_thw": processed["image_grid_thw"]}

    def compute_hidden_states(self, ids: torch.Tensor, **pixels: Any) -> torch.Tensor:
        import torch

        positions = torch.arange(ids.shape[1], device=ids.device).expand(3, *ids.shape)
        return super().compute_hidden_states(ids, position_ids=positions, **pixels)


def install_segment_attention(vision: Any) -> None:
    """Make the vision tower `vision` attend within the segments of a sequence at once.

    transformers attends to the segments (images, and Qwen2.5-VL's windows in them) one by one and
    asks the device for their lengths in every layer: with four large images, Qwen2.5-VL makes 827
    calls in four layers. Here segments of one length are a batch: 20 calls, and the same result.
    """
    from torch.utils.weak import WeakTensorKeyDictionary
    from transformers import AttentionInterface

    groups_by_bounds: Any = WeakTensorKeyDictionary()  # all layers of a batch have the same bounds

    def attention(
        module: object,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: None = None,
        **given: Any,
    ) -> tuple[torch.Tensor, None]:
        bounds = given["cu_seq_lens_q"]
        if bounds not in groups_by_bounds:
            groups_by_bounds[bounds] = group_segments(bounds)
        return attend_segments(query, key, value, groups_by_bounds[bounds], given["scaling"]), None

    AttentionInterface.register(ATTENTION_NAME, attention)
    vision.config._attn_implementation = ATTENTION_NAME


def group_segments(bounds: torch.Tensor) -> list[torch.Tensor]:
    """Group (segments + 1,) bounds by length; each group is (count, length) positions."""
    import torch

    starts, lengths = bounds[:-1], bounds.diff()
    return [
        starts[lengths == length][:, None] + torch.arange(length, device=bounds.device)
        for length in sorted(set(lengths.tolist()))
        if length
    ]


def attend_segments(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: list[torch.Tensor],
    scaling: float,
) -> torch.Tensor:
    """Attend (1, heads, n, dim) within segments, which cover all n; returns (1, n, heads, dim)."""
    from torch.nn.functional import scaled_dot_product_attention

    out = query.new_empty(query.shape[2], query.shape[1], query.shape[3])  # (n, heads, dim)
    for rows in segments:  # (count, length)
        queries, keys, values = (x[0][:, rows].transpose(0, 1) for x in (query, key, value))
        attended = scaled_dot_product_attention(queries, keys, values, scale=scaling)
        out[rows] = attended.transpose(1, 2)  # from (count, heads, length, dim)
    return out[None]
