"""Steps of training on a model with random weights, timed in this process."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bench.embed_corpus import draw_caption, draw_photograph
from bench.embed_models import build
from embedder.families import e5v
from embedder.types import Settings
from embedder.vlm.backbone import VisionLanguageBackbone
from embedder.vlm.prompts import PromptTokenizer
from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.training.data_loading import Collator
from finetune.training.loading import TextOnlyModel
from finetune.training.losses import CachedContrastiveLoss, KnownPositives
from finetune.training.presets import PRESETS
from finetune.training.trainable import (
    LoraAdapter,
    TrainableModule,
    enable_gradient_checkpointing,
)
from finetune.training.trainer import STEP_TOKENS

NO_LIMIT = 1 << 40  # tokens: a mini-batch that holds every batch


def measure(recipe: str, family: str, options: Namespace) -> dict[str, Any] | None:
    """Median seconds of a step, and the peak of memory in MB; None where memory ran out."""
    batch = options.batch[0]
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        adapter = _make_adapter(recipe, family, options, Path(scratch))
        pairs = _make_pairs(recipe, batch, Path(scratch))
        try:
            return _measure_steps(recipe, options, adapter, pairs)
        except torch.OutOfMemoryError:
            return None


def _measure_steps(
    recipe: str, options: Namespace, adapter: LoraAdapter, pairs: list[Pair]
) -> dict[str, Any]:
    preset, device = PRESETS[recipe], adapter.backbone.device
    tokens = STEP_TOKENS[device.type] if options.way == "cached" else NO_LIMIT
    content_keys = ContentKeys()
    collate = Collator(pairs, adapter.backbone, content_keys, preset.hard_negatives, tokens)
    model = SentenceTransformer(modules=[TrainableModule(adapter)], device=str(device))
    loss = CachedContrastiveLoss(
        model,
        KnownPositives(pairs, content_keys),
        adapter.penalty,
        preset,
        autocast=torch.bfloat16 if device.type == "cuda" else None,
    )
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    step = _move_to_device(collate([{"row": row} for row in range(len(pairs))]), device)
    model.train()
    seconds = []
    for _ in range(options.steps + 1):
        start = time.perf_counter()
        loss(step).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds[1:]), "peak": _peak_memory(device)}


def _make_adapter(recipe: str, family: str, options: Namespace, folder: Path) -> LoraAdapter:
    built = build(family, options.size, Settings(device=options.device), folder / "model")
    backbone: Any = built.engine.backbone
    if PRESETS[recipe].text_only:
        language = TextOnlyModel(backbone.model.language_model)
        renderer = PromptTokenizer.read(built.folder)
        backbone = VisionLanguageBackbone(backbone.card, language, renderer, e5v.render_prompt)
        del built.model.model.vision_tower
    enable_gradient_checkpointing(backbone.model)
    return LoraAdapter(backbone, backbone.model, "random", {}, PRESETS[recipe].lora)


def _make_pairs(recipe: str, count: int, folder: Path) -> list[Pair]:
    """Captions with each other, and one that is wrong; or captions with photographs."""
    random = np.random.default_rng(0)
    texts = [f"{number} {draw_caption(random)}" for number in range(3 * count)]
    if PRESETS[recipe].text_only:
        thirds = zip(texts[::3], texts[1::3], texts[2::3], strict=True)
        return [Pair(Side(a), Side(b), (Side(c),)) for a, b, c in thirds]
    pairs = []
    for number, text in enumerate(texts[:count]):
        path = folder / f"{number}.jpg"
        draw_photograph(random).save(path, quality=85)
        pairs.append(Pair(Side(text), Side(image=str(path)), dataset=str(number % 4)))
    return pairs


def _move_to_device(step: Any, device: torch.device) -> Any:
    """As the trainer moves a step: its mini-batches stay until their turn."""
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in step.items()}


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
