"""A family's figures: ours and the authors' recipe in turns, over one corpus."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from bench.embed_configs import SMALL_PIXELS
from bench.embed_corpus import Corpus, make_corpus, make_mixture
from bench.embed_flops import peak_flops, total_flops
from bench.embed_models import PLANS, Built, build
from bench.embed_reference import BATCH, Reference
from bench.resource_usage import ResourceUsage, measure_usage
from embedder.engine import Bucket, count_tokens
from embedder.types import Input, Role, Settings

ROLES: dict[str, Role] = {"texts": "document", "images": "document", "composed": "query"}
NUM_CHECKED = 2  # inputs of each kind that are compared before anything is timed
MIN_COSINE = 0.999  # the least cosine; bf16 alone moves a vector of 30 layers by some 0.0002
MIXTURE_SIZE = 2000, 500  # captions, and photographs, half of which have words as well
INGEST_BATCH, MIN_INGEST_IMAGES = (
    32,
    64,
)  # pictures that the indexer brings at once, and in all, at least
Json = dict[str, Any]


def measure(family: str, options: argparse.Namespace) -> Json:
    """Everything about a family, as JSON; exits where ours and the recipe disagree."""
    transformers.logging.set_verbosity_error()
    size = options.size
    if size == "larger" and not PLANS[family].larger:
        raise SystemExit(f"{family} has no larger model; leave it out, or use --size full")
    small = size == "small" and family.startswith("vlm2vec-qwen")
    settings = Settings(device=options.device, pixel_budget=SMALL_PIXELS if small else None)
    found = make_corpus(options.texts, options.images)
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as folder:
        built = build(family, size, settings, Path(folder) / family)
        reference = Reference(built)
        figures = {
            "family": family,
            "device": _device_name(built),
            **_check_agreement(built, reference, found),
        }
        figures["kinds"] = {
            kind: _measure_kind(built, reference, found, kind, options) for kind in ROLES
        }
        figures["mixed"] = _mixed_padding(built)
        figures["peak"] = peak_flops(figures["device"])
        if options.ingest:
            figures["ingest"] = _measure_ingest(built, found.images)
    return figures


def _device_name(built: Built) -> str:
    device = built.engine.backbone.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "a CPU"  # which the section names


def _check_agreement(built: Built, reference: Reference, found: Corpus) -> Json:
    """The least cosine of ours with the recipe's, and the greatest of two inputs that differ."""
    pairs, nearest = [], -1.0
    for kind, role in ROLES.items():
        some = getattr(found, kind)[:NUM_CHECKED]
        ours, theirs = built.engine.embed(some, role), reference.embed(some, role)
        pairs.append((ours * theirs).sum(1))
        nearest = max(nearest, float((ours @ ours.T - 2 * np.eye(len(ours))).max()))
    dtype = str(built.model.dtype).removeprefix("torch.")
    lowest = float(np.concatenate(pairs).min())
    if not lowest >= MIN_COSINE:  # also where it is no number
        raise SystemExit(f"{built.family}: ours and the authors' recipe disagree: cosine {lowest}")
    return {"agree": True, "dtype": dtype, "cosine": lowest, "nearest": nearest}


def _measure_kind(
    built: Built, reference: Reference, found: Corpus, kind: str, options: argparse.Namespace
) -> Json:
    """One kind of input: the medians of both, and what does not change from run to run."""
    items, role = getattr(found, kind), ROLES[kind]
    if not items:
        raise SystemExit("--texts and --images are at least 1")
    device = built.engine.backbone.device
    runs: dict[str, list[Json]] = {"ours": [], "reference": []}
    if options.repeats > 1:  # warm up; a single turn is only to see that all works
        built.engine.embed(items, role)
        reference.embed(items, role)
    start = time.perf_counter()
    while len(runs["ours"]) < options.repeats or time.perf_counter() - start < options.seconds:
        runs["ours"].append(_measure_ours(built, items, role))
        theirs = measure_usage(lambda: reference.embed(items, role), device)
        runs["reference"].append(asdict(theirs))
    print(f"   {kind}", file=sys.stderr, flush=True)
    return {
        **_describe_inputs(built, items, role),
        **{name: _median(some) for name, some in runs.items()},
    }


def _measure_ours(built: Built, items: Sequence[Input], role: Role) -> Json:
    return _measure_busy(built, lambda: built.engine.embed(items, role))


def _measure_busy(built: Built, work: Callable[[], object]) -> Json:
    """`fed`: the share of the time in which the device had work, as the engine counts it."""
    timing = built.engine.timing
    idle = timing.wait + timing.prepare
    took: ResourceUsage = measure_usage(work, built.engine.backbone.device)
    idle = timing.wait + timing.prepare - idle
    return {**asdict(took), "fed": 1 - idle / took.seconds}


def _median(runs: Sequence[Json]) -> Json:
    figures = {name: [run[name] for run in runs if run[name] is not None] for name in runs[0]}
    return {name: statistics.median(some) if some else None for name, some in figures.items()}


def _describe_inputs(built: Built, items: Sequence[Input], role: Role) -> Json:
    """The count, tokens, operations that are needed, and each way's padding."""
    engine: Any = built.engine
    ready = [engine.backbone.prepare(item, role, None) for item in items]
    buckets = [engine.backbone.bucket(one) for one in ready]
    fixed = [list(range(len(items)))[i : i + BATCH] for i in range(0, len(items), BATCH)]
    return {
        "count": len(items),
        "tokens": sum(bucket.tokens for bucket in buckets),
        "flops": total_flops(built, ready),
        "padding": compute_padding_ratio(buckets, engine.runner.plan_batches(buckets)),
        "reference_padding": compute_padding_ratio(buckets, fixed),
    }


def compute_padding_ratio(buckets: Sequence[Bucket], batches: Sequence[Sequence[int]]) -> float:
    """Compute padding as a share of all that `batches` compute."""
    computed = sum(count_tokens([buckets[i] for i in batch]) for batch in batches)
    wanted = sum(bucket.tokens + bucket.extra_tokens for bucket in buckets)
    return 1 - wanted / computed if computed else 0.0


def _mixed_padding(built: Built) -> float:
    """Padding in one large call of captions, photographs and both, as it would be planned."""
    some = make_mixture(*MIXTURE_SIZE)
    ready = [built.engine.backbone.prepare(item, "document", None) for item in some]
    buckets = [built.engine.backbone.bucket(one) for one in ready]
    return compute_padding_ratio(buckets, built.engine.runner.plan_batches(buckets))


def _measure_ingest(built: Built, images: Sequence[Input]) -> Json:
    """Pictures in batches one after another, as the indexer brings them when decoding is quick."""
    some = (list(images) * INGEST_BATCH)[: max(len(images), MIN_INGEST_IMAGES)]
    batches = [some[start : start + INGEST_BATCH] for start in range(0, len(some), INGEST_BATCH)]
    took = _measure_busy(
        built, lambda: [built.engine.embed(batch, "document") for batch in batches]
    )
    return {"images": len(some), **took}
