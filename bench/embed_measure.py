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
from bench.embed_corpus import Corpus, corpus, mixture
from bench.embed_flops import peak, total
from bench.embed_models import PLANS, Built, build
from bench.embed_reference import BATCH, Reference
from bench.embed_watch import Took, watched
from embedder.engine.batches import waste
from embedder.types import Input, Role, Settings

ROLES: dict[str, Role] = {"texts": "document", "images": "document", "composed": "query"}
CHECKED = 2  # inputs of each kind that are compared before anything is timed
AGREE = 0.999  # the least cosine; bf16 alone moves a vector of 30 layers by some 0.0002
MIXED = 2000, 500  # captions, and photographs, half of which have words as well
FEED, FED = 32, 64  # pictures that the indexer brings at once, and in all, at least
Json = dict[str, Any]


def measure(family: str, options: argparse.Namespace) -> Json:
    """Everything about a family, as JSON; exits where ours and the recipe disagree."""
    transformers.logging.set_verbosity_error()
    size = options.size
    if size == "larger" and not PLANS[family].larger:
        raise SystemExit(f"{family} has no larger model; leave it out, or use --size full")
    small = size == "small" and family.startswith("vlm2vec-qwen")
    settings = Settings(device=options.device, pixel_budget=SMALL_PIXELS if small else None)
    found = corpus(options.texts, options.images)
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as folder:
        built = build(family, size, settings, Path(folder) / family)
        reference = Reference(built)
        told = {"family": family, "device": _named(built), **_agreement(built, reference, found)}
        told["kinds"] = {kind: _kind(built, reference, found, kind, options) for kind in ROLES}
        told["mixed"] = _mixed(built)
        told["peak"] = peak(told["device"])
        if options.ingest:
            told["ingest"] = _ingest(built, found.images)
    return told


def _named(built: Built) -> str:
    device = built.engine.backbone.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "a CPU"  # which the section names


def _agreement(built: Built, reference: Reference, found: Corpus) -> Json:
    """The least cosine of ours with the recipe's, and the greatest of two inputs that differ."""
    pairs, nearest = [], -1.0
    for kind, role in ROLES.items():
        some = getattr(found, kind)[:CHECKED]
        ours, theirs = built.engine.embed(some, role), reference.embed(some, role)
        pairs.append((ours * theirs).sum(1))
        nearest = max(nearest, float((ours @ ours.T - 2 * np.eye(len(ours))).max()))
    dtype = str(built.model.dtype).removeprefix("torch.")
    lowest = float(np.concatenate(pairs).min())
    if not lowest >= AGREE:  # also where it is no number
        raise SystemExit(f"{built.family}: ours and the authors' recipe disagree: cosine {lowest}")
    return {"agree": True, "dtype": dtype, "cosine": lowest, "nearest": nearest}


def _kind(
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
        runs["ours"].append(_ours(built, items, role))
        theirs = watched(lambda: reference.embed(items, role), device)
        runs["reference"].append(asdict(theirs))
    print(f"   {kind}", file=sys.stderr, flush=True)
    return {**_constant(built, items, role), **{name: _median(some) for name, some in runs.items()}}


def _ours(built: Built, items: Sequence[Input], role: Role) -> Json:
    return _fed(built, lambda: built.engine.embed(items, role))


def _fed(built: Built, work: Callable[[], object]) -> Json:
    """`fed`: the share of the time in which the device had work, told by the engine."""
    timing = built.engine.timing
    idle = timing.wait + timing.prepare
    took: Took = watched(work, built.engine.backbone.device)
    idle = timing.wait + timing.prepare - idle
    return {**asdict(took), "fed": 1 - idle / took.seconds}


def _median(runs: Sequence[Json]) -> Json:
    told = {name: [run[name] for run in runs if run[name] is not None] for name in runs[0]}
    return {name: statistics.median(some) if some else None for name, some in told.items()}


def _constant(built: Built, items: Sequence[Input], role: Role) -> Json:
    """The count, tokens, operations that are needed, and each way's padding."""
    engine: Any = built.engine
    ready = [engine.backbone.prepare(item, role, None) for item in items]
    buckets = [engine.backbone.bucket(one) for one in ready]
    fixed = [list(range(len(items)))[i : i + BATCH] for i in range(0, len(items), BATCH)]
    return {
        "count": len(items),
        "tokens": sum(bucket.tokens for bucket in buckets),
        "flops": total(built, ready),
        "padding": waste(buckets, engine.plan(buckets)),
        "reference_padding": waste(buckets, fixed),
    }


def _mixed(built: Built) -> float:
    """Padding in one large call of captions, photographs and both, as it would be planned."""
    some = mixture(*MIXED)
    ready = [built.engine.backbone.prepare(item, "document", None) for item in some]
    buckets = [built.engine.backbone.bucket(one) for one in ready]
    return waste(buckets, built.engine.plan(buckets))


def _ingest(built: Built, images: Sequence[Input]) -> Json:
    """Pictures in batches one after another, as the indexer brings them when decoding is quick."""
    some = (list(images) * FEED)[: max(len(images), FED)]
    batches = [some[start : start + FEED] for start in range(0, len(some), FEED)]
    took = _fed(built, lambda: [built.engine.embed(batch, "document") for batch in batches])
    return {"images": len(some), **took}
