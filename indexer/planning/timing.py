"""How long embedding and uploading take: on GPUs by counted operations, the starter as measured.

Operations are the mean over a corpus of 48 images of many shapes and 200 captions
(bench/embed_corpus.py), counted with bench/embed_flops.py on models of the published shapes. CPU
milliseconds are those of preprocessing such an image, measured on one core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from embedder import DEFAULT_MODEL, ModelCard
from indexer.planning import constants as of
from indexer.planning.sizing import ClusterSize, CollectionLoad

DEFAULT_UTILIZATION = 0.4  # of a GPU's peak; an assumption: no GPU was available to measure
SECONDS_PER_DAY = 86_400


class ModelCost(NamedTuple):
    """Operations in 10^12 per image and per caption of about 20 tokens; a chunk of 250 tokens
    costs `passage_factor` captions. `preprocess_ms` is CPU time per image."""

    image_tflop: float
    caption_tflop: float
    preprocess_ms: float
    passage_factor: float = 12.0


MODEL_COSTS: Mapping[str, ModelCost] = {
    "google/siglip2-base-patch16-256": ModelCost(0.0459, 0.0110, 8, passage_factor=1.0),
    "google/embeddinggemma-2": ModelCost(1.07, 0.0062, 34),
    "Qwen/Qwen3-VL-Embedding-2B": ModelCost(7.74, 0.133, 49),
    "Qwen/Qwen3-VL-Embedding-8B": ModelCost(20.8, 0.654, 49),
    "VLM2Vec/VLM2Vec-V2.0": ModelCost(9.84, 0.0474, 40),
    "TIGER-Lab/VLM2Vec-Qwen2VL-2B": ModelCost(14.3, 0.0474, 40),  # each image at the pixel limit
    "TIGER-Lab/VLM2Vec-Qwen2VL-7B": ModelCost(27.9, 0.236, 40),  # the same
    "TIGER-Lab/VLM2Vec-LLaVa-Next": ModelCost(45.2, 0.315, 70),
    "intfloat/mmE5-mllama-11b-instruct": ModelCost(19.9, 0.280, 24),
    "royokong/e5-v": ModelCost(31.5, 0.518, 37),
}


class GpuSpec(NamedTuple):
    """Dense bfloat16 operations per second, in 10^12, and bytes of memory: NVIDIA's data sheets."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingEstimate:
    """The time that embedding takes.

    A device is a GPU, or for the starter a CPU core. `device_days` are of one device, `days` of all
    devices of the request; `needed` devices finish within the requested days. `rate` is images per
    second on one device. `cpu_days` of one core decode and preprocess; `cores` keep one GPU busy.
    `basis` is "measured" or "estimate".
    """

    device: str
    devices: int
    basis: str
    rate: float
    device_days: float
    days: float
    needed: int | None
    cpu_days: float
    cores: float
    fits: bool  # the model fits the device's memory


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadEstimate:
    """Bytes of one upload of the whole collection; `days` of the server alone, without embedding.

    `basis` is "given" or "estimate".
    """

    grpc: float
    rest: float
    between_nodes: float
    points_per_second: float
    days: float
    basis: str


def estimate_embedding(
    load: CollectionLoad,
    card: ModelCard | None,
    *,
    gpu: str,
    gpus: int = 1,
    utilization: float = DEFAULT_UTILIZATION,
    days: float | None = None,
) -> EmbeddingEstimate | None:
    """Estimate the time; None if the cost of the model is not known.

    `utilization` is the share of a GPU's peak that the model reaches; `days` is the time allowed.
    """
    if card is None:
        return None
    if card.name == DEFAULT_MODEL:
        return _estimate_starter(load, days)
    cost = MODEL_COSTS.get(card.name)
    if cost is None:
        return None
    tflops = GPUS[gpu].peak_tflops * utilization
    captions = load.images * load.captions + load.named + load.texts * cost.passage_factor
    tflop = load.images * cost.image_tflop + captions * cost.caption_tflop
    device_days = tflop / tflops / SECONDS_PER_DAY
    rate = tflops / cost.image_tflop
    cpu_seconds = (of.DECODE_MS + cost.preprocess_ms) / 1e3
    return EmbeddingEstimate(
        device=gpu.upper(),
        devices=gpus,
        basis="estimate",
        rate=rate,
        device_days=device_days,
        days=device_days / gpus,
        needed=_count_devices(device_days, days),
        cpu_days=load.images * cpu_seconds / SECONDS_PER_DAY,
        cores=rate * cpu_seconds,
        fits=card.memory <= GPUS[gpu].memory,
    )


def _estimate_starter(load: CollectionLoad, days: float | None) -> EmbeddingEstimate:
    """Use the measured speed of whole ingests: core-seconds = cores / images per second."""
    texts = load.images * load.captions + load.named + load.texts
    seconds = load.images / of.STARTER_IMAGES_PER_SECOND + texts / of.STARTER_TEXTS_PER_SECOND
    core_days = seconds * of.STARTER_CORES / SECONDS_PER_DAY
    return EmbeddingEstimate(
        device="core",
        devices=of.STARTER_CORES,
        basis="measured",
        rate=of.STARTER_IMAGES_PER_SECOND / of.STARTER_CORES,
        device_days=core_days,
        days=core_days / of.STARTER_CORES,
        needed=_count_devices(core_days, days),
        cpu_days=core_days,
        cores=1.0,
        fits=True,
    )


def _count_devices(device_days: float, days: float | None) -> int | None:
    return max(1, math.ceil(device_days / days)) if days else None


def estimate_upload(
    load: CollectionLoad, size: ClusterSize, measured_rate: float | None
) -> UploadEstimate:
    """Estimate the upload: the nodes index while vectors arrive, each copy by itself.

    A node indexes about 4,000 vectors of dim 512 per second; the time grows with dim.
    """
    payload = load.payload * of.WIRE_PAYLOAD_FACTOR
    values = load.vectors * load.dim
    node_rate = of.VECTORS_INDEXED_PER_SECOND * of.INDEXING_BENCHMARK_DIM / load.dim
    vector_rate = node_rate * size.nodes / size.replicas
    rate = measured_rate or vector_rate * load.points / load.vectors
    grpc = values * of.GRPC_BYTES_PER_VALUE + payload
    return UploadEstimate(
        grpc=grpc,
        rest=values * of.REST_BYTES_PER_VALUE + payload,
        between_nodes=grpc * (size.replicas - 1),
        points_per_second=rate,
        days=load.points / rate / SECONDS_PER_DAY,
        basis="given" if measured_rate else "estimate",
    )
