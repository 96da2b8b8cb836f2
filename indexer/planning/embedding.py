"""How long it takes to embed: on GPUs reckoned from operations, with the starter as measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedder import DEFAULT_MODEL, ModelCard
from indexer.planning import figures as of
from indexer.planning.devices import COSTS, GPUS, Cost, Gpu
from indexer.planning.sizes import Load

DAY = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Work:
    """What the machines are that embed: `gpus` of a kind, at a share of their peak."""

    gpu: str
    gpus: int
    utilisation: float
    days: float | None  # that it may take


@dataclass(frozen=True, slots=True)
class Embedding:
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


def embedding(load: Load, card: ModelCard | None, work: Work) -> Embedding | None:
    """None where nothing is known of the model's cost."""
    if card is None:
        return None
    if card.name == DEFAULT_MODEL:
        return _starter(load, work)
    cost = COSTS.get(card.name)
    return _on_gpus(load, card, cost, work) if cost else None


def operations(load: Load, cost: Cost) -> float:
    """In 10^12, of everything that is to be embedded; each caption is embedded alone."""
    captions = load.images * load.captions
    spoken = captions + load.texts * cost.passage
    return load.images * cost.picture + spoken * cost.caption


def picture_rate(cost: Cost, gpu: Gpu, utilisation: float) -> float:
    """Pictures a second = peak x utilisation / operations."""
    return gpu.peak * utilisation / cost.picture


def _on_gpus(load: Load, card: ModelCard, cost: Cost, work: Work) -> Embedding:
    gpu = GPUS[work.gpu]
    total = operations(load, cost) / (gpu.peak * work.utilisation) / DAY
    rate = picture_rate(cost, gpu, work.utilisation)
    cpu = (of.DECODE + cost.ready) / 1e3
    return Embedding(
        device=work.gpu.upper(),
        devices=work.gpus,
        basis="estimate",
        rate=rate,
        device_days=total,
        days=total / work.gpus,
        needed=_needed(total, work.days),
        cpu_days=load.images * cpu / DAY,
        cores=rate * cpu,
        fits=card.memory <= gpu.memory,
    )


def _starter(load: Load, work: Work) -> Embedding:
    """Core-seconds = cores / pictures a second, of whole ingests on this project's machine."""
    spoken = load.images * load.captions + load.texts
    seconds = load.images / of.STARTER_PICTURES + spoken / of.STARTER_TEXTS
    total = seconds * of.STARTER_CORES / DAY
    return Embedding(
        device="core",
        devices=of.STARTER_CORES,
        basis="measured",
        rate=of.STARTER_PICTURES / of.STARTER_CORES,
        device_days=total,
        days=total / of.STARTER_CORES,
        needed=_needed(total, work.days),
        cpu_days=total,
        cores=1.0,
        fits=True,
    )


def _needed(device_days: float, days: float | None) -> int | None:
    return max(1, math.ceil(device_days / days)) if days else None
