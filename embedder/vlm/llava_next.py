"""LLaVA-NeXT: an image as a small overview and a grid of tiles (any resolution).

https://llava-vl.github.io/blog/2024-01-30-llava-next/; transformers' `llava_next`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from embedder.engine import Batch
from embedder.vlm.backbone import Architecture, Size

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import LlavaNextModel


class LlavaNext(Architecture):
    """The architecture around a loaded model.

    `legacy_layout`: lay out tiles as transformers 4.41 did, which swapped the height and width of
    the grid, cut patches of padding without rounding, and had margins one pixel too small. E5-V was
    trained this way, and its vectors differ without it.
    """

    def __init__(
        self,
        model: LlavaNextModel,
        folder: Path,
        *,
        legacy_layout: bool,
        pixel_budget: int | None = None,
    ) -> None:
        config: Any = model.config
        super().__init__(model, int(config.image_token_id))
        self._legacy_layout = legacy_layout
        self._processor = _load_processor(folder, legacy_layout)
        self._tile_size = int(config.vision_config.image_size)
        self._patches_per_side = self._tile_size // int(config.vision_config.patch_size)
        self._grids = filter_grids(config.image_grid_pinpoints, self._tile_size, pixel_budget)
        config.image_grid_pinpoints = self._grids
        self._processor.image_grid_pinpoints = self._grids
        self.model.pack_image_features = MethodType(self._pack_image_features, model)
        if self.image_token >= self.model.get_input_embeddings().num_embeddings:
            # Old checkpoints have no row for it. Its values do not matter: images replace it.
            model.resize_token_embeddings(self.image_token + 1, mean_resizing=False)

    def count_image_tokens(self, size: Size) -> int:
        top, left, rows, columns = self._compute_layout(size)
        kept = (rows - 2 * top) * (columns - 2 * left + 1)  # a newline ends each row of patches
        return self._patches_per_side**2 + kept

    def _compute_layout(self, size: Size) -> tuple[int, int, int, int]:
        """Return patches of padding at the top and left, and the rows and columns of the grid."""
        width, height = size
        down, across = self._select_grid(size)
        rows, columns = down * self._patches_per_side, across * self._patches_per_side
        if width / height > columns / rows:
            return (rows - self._round_patches(height * (columns / width))) // 2, 0, rows, columns
        return 0, (columns - self._round_patches(width * (rows / height))) // 2, rows, columns

    def _round_patches(self, patches: float) -> int:
        return int(patches) if self._legacy_layout else int(round(patches, 7))

    def _select_grid(self, size: Size) -> tuple[int, int]:
        """Return the rows and columns of tiles."""
        from transformers.image_processing_utils import select_best_resolution

        height, width = select_best_resolution((size[1], size[0]), self._grids)
        down, across = height // self._tile_size, width // self._tile_size
        return (across, down) if self._legacy_layout else (down, across)

    def preprocess_image(self, image: Image) -> Mapping[str, Any]:
        """`pixel_values` (tiles, 3, side, side), and `image_size` (height, width)."""
        tiles = self._processor(images=[image], return_tensors="pt")["pixel_values"][0]
        size = (image.height, image.width)  # stays on the host
        return {"pixel_values": tiles.to(self.model.dtype), "image_size": size}

    def collate_images(self, images: Sequence[Mapping[str, Any]], ids: torch.Tensor) -> Batch:
        """`pixel_values` (tiles of all, 3, side, side), and `image_sizes`."""
        import torch

        return {
            "pixel_values": torch.cat([image["pixel_values"] for image in images]),
            "image_sizes": [image["image_size"] for image in images],
        }

    def _pack_image_features(
        self,
        model: LlavaNextModel,
        image_features: Sequence[torch.Tensor],
        image_sizes: Sequence[Sequence[int]],
        vision_feature_select_strategy: str,
        image_newline: torch.Tensor,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Flatten the (tiles, side * side, dim) of each image to (tokens, dim): the overview, then
        the rows of patches without padding, each ended by the newline."""
        import torch

        packed = []
        for features, (height, width) in zip(image_features, image_sizes, strict=True):
            top, left, rows, columns = self._compute_layout((width, height))
            side, dim = self._patches_per_side, features.shape[-1]
            tiles = features[1:].view(rows // side, columns // side, side, side, dim)
            patches = tiles.transpose(1, 2).reshape(rows, columns, dim)
            patches = patches[top : rows - top, left : columns - left]
            newline = image_newline.to(patches.dtype).expand(len(patches), 1, dim)
            lines = torch.cat([patches, newline], dim=1).reshape(-1, dim)
            packed.append(torch.cat([features[0], lines]))
        return packed, torch.tensor([len(p) for p in packed], device=packed[0].device)


def _load_processor(folder: Path, legacy_layout: bool) -> Any:
    """Load the checkpoint's image processor. In 4.41, a margin of an odd number of pixels was one
    pixel too small, and so was the last tile, which was then stretched."""
    from transformers import LlavaNextImageProcessorPil

    class Old(LlavaNextImageProcessorPil):
        def _get_padding_size(self, original: Size, target: Size) -> tuple[Size, Size]:
            top, left = (target[0] - original[0]) // 2, (target[1] - original[1]) // 2
            return (top, top), (left, left)

    return (Old if legacy_layout else LlavaNextImageProcessorPil).from_pretrained(folder)


def filter_grids(
    grids: Sequence[Sequence[int]], tile_size: int, budget: int | None
) -> list[list[int]]:
    """Keep the grids (height, width in pixels) within `budget` pixels, or one tile."""
    kept = [list(grid) for grid in grids if budget is None or grid[0] * grid[1] <= budget]
    return kept or [[tile_size, tile_size]]
