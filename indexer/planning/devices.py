"""What models cost to run: operations counted from their shapes, and what devices can do.

Operations are the mean over a corpus of 48 pictures of many shapes and 200 captions
(bench/embed_corpus.py), counted with bench/embed_flops.py on models of the published shapes. CPU
milliseconds are those of making such a picture ready for the model, measured on one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_UTILIZATION = 0.4  # of a device's peak; an assumption: no GPU was there to measure


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Operations in 10^12 of a picture, of a caption of some 20 tokens, and how many times that a
    passage of 250 tokens costs; CPU ms to make a picture ready."""

    image_tflop: float
    caption_tflop: float
    preprocess_ms: float
    passage_factor: float = 12.0


MODEL_COSTS: Mapping[str, ModelCost] = {
    "google/siglip2-base-patch16-256": ModelCost(0.0459, 0.0110, 8, passage_factor=1.0),
    "Qwen/Qwen3-VL-Embedding-2B": ModelCost(6.11, 0.133, 49),
    "Qwen/Qwen3-VL-Embedding-8B": ModelCost(17.0, 0.654, 49),
    "VLM2Vec/VLM2Vec-V2.0": ModelCost(9.84, 0.0474, 40),
    "TIGER-Lab/VLM2Vec-Qwen2VL-2B": ModelCost(14.3, 0.0474, 40),  # every picture at the most cells
    "TIGER-Lab/VLM2Vec-Qwen2VL-7B": ModelCost(27.9, 0.236, 40),  # the same
    "TIGER-Lab/VLM2Vec-LLaVa-Next": ModelCost(45.2, 0.315, 70),
    "intfloat/mmE5-mllama-11b-instruct": ModelCost(19.9, 0.280, 24),
    "royokong/e5-v": ModelCost(31.5, 0.518, 37),
}


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """Dense bfloat16 operations a second, in 10^12, and bytes of memory: NVIDIA's data sheets."""

    peak_tflops: float
    memory: int


GPUS: Mapping[str, GpuSpec] = {
    "h200": GpuSpec(989, 141 * 10**9),
    "h100": GpuSpec(989, 80 * 10**9),
    "a100": GpuSpec(312, 80 * 10**9),
    "l40s": GpuSpec(362, 48 * 10**9),
    "rtx4090": GpuSpec(165, 24 * 10**9),
    "a10": GpuSpec(125, 24 * 10**9),
    "l4": GpuSpec(121, 24 * 10**9),
}
