"""Llama 3.2 Vision (Mllama): text attends to the tiles of an image in separate layers.

https://arxiv.org/abs/2407.21783; transformers' `mllama`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.engine import Batch
from embedder.vlm.backbone import Architecture, Size, too_narrow_error

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import MllamaModel


VISION_COST_DIVISOR = 4  # a patch costs about a quarter of what a token costs the language model


class Mllama(Architecture):
    """The architecture around a loaded model, for at most one image per input.

    Texts and images never share a batch: rows of text would attend to the image of another row.
    transformers 4.54 and later record the vision encoder's states after each layer, not before
    it, so the layers that the model was trained to read are one further on; they are set back
    by one (see transformers' pull request 39785).
    """

    def __init__(self, model: MllamaModel, folder: Path) -> None:
        from transformers import MllamaImageProcessorPil

        super().__init__(model, int(model.config.image_token_id))
        self._processor: Any = MllamaImageProcessorPil.from_pretrained(folder)
        vision = model.vision_model
        vision.intermediate_layers_indices = [i - 1 for i in vision.intermediate_layers_indices]
        patches = int(vision.num_patches) * int(vision.config.max_num_tiles)
        self.extra_tokens = patches // VISION_COST_DIVISOR

    def batch_key(self, image_count: int) -> int:
        return image_count

    def count_image_tokens(self, size: Size) -> int:
        if max(size) > 200 * min(size):
            raise too_narrow_error(size)
        return 1  # the tiles are not in the sequence

    def preprocess_image(self, image: Image) -> Mapping[str, Any]:
        """`pixel_values` (1, 1, tiles, 3, side, side), and what describes the tiles."""
        processed = self._processor(images=[[image]], return_tensors="pt")
        pixels = processed["pixel_values"].to(self.model.dtype)
        tiles = {name: processed[name] for name in ("aspect_ratio_ids", "aspect_ratio_mask")}
        return {"pixel_values": pixels, **tiles}

    def collate_images(self, images: Sequence[Mapping[str, Any]], ids: torch.Tensor) -> Batch:
        """Stack the images, one row each, with `cross_attention_mask` (n, length, 1, tiles): text
        sees the image from its token on."""
        import torch

        stacked = super().collate_images(images, ids)
        sees_image = (ids == self.image_token).cumsum(1) > 0  # (n, length)
        tiles = stacked["aspect_ratio_mask"] > 0  # (n, 1, tiles)
        mask = (sees_image[:, :, None, None] & tiles[:, None]).to(torch.int64)
        return {**stacked, "cross_attention_mask": mask}
