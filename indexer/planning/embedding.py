"""How long it takes to embed: on GPUs reckoned from operations, with the starter as measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedder import DEFAULT_MODEL, ModelCard
from indexer.planning import constants as of
from indexer.planning.devices import GPUS, MODEL_COSTS, GpuSpec, ModelCost
from indexer.planning.storage import CollectionLoad

SECONDS_PER_DAY = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class EmbeddingHardware:
    """What the machines are that embed: `gpus` of a kind, at a share of their peak."""

    gpu: str
    gpus: int
    utilization: float
    days: float | None  # that it may take


@dataclass(frozen=True, slots=True)
class EmbeddingEstimate:
    """`device_days` are of one device: a GPU, or for the starter a core of a CPU. `days` is for
    all devices of the question; `needed` is how many finish in the days that were asked for.
    `cores` keep one GPU busy. `rate` is pictures a second on one device. `cpu_days` of one core
    decode and make ready what a GPU embeds. `basis` is "measured" or "estimate"."""

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


def estimate_embedding(
    load: CollectionLoad, card: ModelCard | None, hardware: EmbeddingHardware
) -> EmbeddingEstimate | None:
    """None where nothing is known of the model's cost."""
    if card is None:
        return None
    if card.name == DEFAULT_MODEL:
        return _estimate_starter(load, hardware)
    cost = MODEL_COSTS.get(card.name)
    return _estimate_on_gpus(load, card, cost, hardware) if cost else None


def count_operations(load: CollectionLoad, cost: ModelCost) -> float:
    """In 10^12, of everything that is to be embedded; each caption is embedded alone."""
    captions = load.images * load.captions
    text_count = captions + load.texts * cost.passage_factor
    return load.images * cost.image_tflop + text_count * cost.caption_tflop


def images_per_second(cost: ModelCost, gpu: GpuSpec, utilization: float) -> float:
    """Pictures a second = peak x utilisation / operations."""
    return gpu.peak_tflops * utilization / cost.image_tflop


def _estimate_on_gpus(
    load: CollectionLoad, card: ModelCard, cost: ModelCost, hardware: EmbeddingHardware
) -> EmbeddingEstimate:
    gpu = GPUS[hardware.gpu]
    device_days = (
        count_operations(load, cost) / (gpu.peak_tflops * hardware.utilization) / SECONDS_PER_DAY
    )
    rate = images_per_second(cost, gpu, hardware.utilization)
    cpu_seconds = (of.DECODE_MS + cost.preprocess_ms) / 1e3
    return EmbeddingEstimate(
        device=hardware.gpu.upper(),
        devices=hardware.gpus,
        basis="estimate",
        rate=rate,
        device_days=device_days,
        days=device_days / hardware.gpus,
        needed=_count_devices(device_days, hardware.days),
        cpu_days=load.images * cpu_seconds / SECONDS_PER_DAY,
        cores=rate * cpu_seconds,
        fits=card.memory <= gpu.memory,
    )


def _estimate_starter(load: CollectionLoad, hardware: EmbeddingHardware) -> EmbeddingEstimate:
    """Core-seconds = cores / pictures a second, of whole ingests on this project's machine."""
    text_count = load.images * load.captions + load.texts
    seconds = load.images / of.STARTER_IMAGES_PER_SECOND + text_count / of.STARTER_TEXTS_PER_SECOND
    core_days = seconds * of.STARTER_CORES / SECONDS_PER_DAY
    return EmbeddingEstimate(
        device="core",
        devices=of.STARTER_CORES,
        basis="measured",
        rate=of.STARTER_IMAGES_PER_SECOND / of.STARTER_CORES,
        device_days=core_days,
        days=core_days / of.STARTER_CORES,
        needed=_count_devices(core_days, hardware.days),
        cpu_days=core_days,
        cores=1.0,
        fits=True,
    )


def _count_devices(device_days: float, days: float | None) -> int | None:
    return max(1, math.ceil(device_days / days)) if days else None
