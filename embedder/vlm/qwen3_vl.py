"""Qwen3-VL: an image at about its own resolution, 32 x 32 pixels per token.

https://arxiv.org/abs/2511.21631; transformers' `qwen3_vl`. An image stands between
`<|vision_start|>` and `<|vision_end|>`, and its tokens have positions in three dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.vlm.backbone import Architecture, Size, too_narrow_error

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import Qwen3VLModel

IMAGE_PLACE = "<|vision_start|><|image_pad|><|vision_end|>"
MAX_ASPECT_RATIO = 200


class Qwen3VL(Architecture):
    """The architecture around a loaded model."""

    def __init__(self, model: Qwen3VLModel, folder: Path, min_pixels: int, max_pixels: int) -> None:
        """Images are resized to between `min_pixels` and `max_pixels`."""
        from transformers import Qwen2VLImageProcessorPil

        super().__init__(model, int(model.config.image_token_id))
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(folder, do_resize=False)
        self._factor = self._processor.patch_size * self._processor.merge_size
        self._pixel_range = min_pixels, max_pixels

    def fit_size(self, size: Size) -> Size:
        """Return the size that an image is resized to; see `fit_size`."""
        return fit_size(size, self._factor, *self._pixel_range)

    def count_image_tokens(self, size: Size) -> int:
        width, height = self.fit_size(size)
        return width * height // self._factor**2

    def preprocess_image(self, image: Image) -> Mapping[str, Any]:
        """`pixel_values` (patches, 1536), and `image_grid_thw` (1, 3): frames, patches down and
        across."""
        resized = image.resize(self.fit_size(image.size))  # bicubic, Pillow's default
        processed = self._processor(images=[resized], return_tensors="pt")
        patches = processed["pixel_values"].to(self.model.dtype)
        return {"pixel_values": patches, "image_grid_thw": processed["image_grid_thw"]}

    def compute_hidden_states(self, ids: torch.Tensor, **pixels: Any) -> torch.Tensor:
        kinds = (ids == self.image_token).int()
        return super().compute_hidden_states(ids, mm_token_type_ids=kinds, **pixels)


def fit_size(size: Size, factor: int, min_pixels: int, max_pixels: int) -> Size:
    """Fit an image into a range of pixels as the authors' qwen_vl_utils does.

    Unlike transformers', it gives a side of under half a `factor` one `factor`.

    Args:
        size: Width and height.
        factor: Of which both sides become multiples.
        min_pixels: The least pixels.
        max_pixels: The most pixels.

    Raises:
        EmbedderError: One side is more than 200 times the other.
    """
    if max(size) > MAX_ASPECT_RATIO * min(size):
        raise too_narrow_error(size)
    width, height = (max(factor, round(side / factor) * factor) for side in size)
    if width * height > max_pixels:
        scale = math.sqrt(size[0] * size[1] / max_pixels)
        width, height = (max(factor, math.floor(side / scale / factor) * factor) for side in size)
    elif width * height < min_pixels:
        scale = math.sqrt(min_pixels / (size[0] * size[1]))
        width, height = (math.ceil(side * scale / factor) * factor for side in size)
    return width, height
