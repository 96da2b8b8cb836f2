"""A complete training run: hold out, train, evaluate before and after, write the run directory."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

import embedder
from embedder.cli.console import get_version
from embedder.types import ModelCard, Settings
from finetune.data.files import read_pairs, write_pairs
from finetune.data.pairs import ContentKeys, Pair
from finetune.data.split import hold_out
from finetune.data.tables import describe_files
from finetune.evaluation.benchmark import benchmark_from_pairs
from finetune.evaluation.evaluate import compare, evaluate
from finetune.evaluation.render import (
    COMPARISON_HEAD,
    comparison_table,
    render,
    render_loss_curve,
)
from finetune.evaluation.report import Comparison, EvaluationReport
from finetune.run_dir import RunDir
from finetune.training.distributed import init_processes, use_local_device
from finetune.training.loading import load_base
from finetune.training.presets import Recipe
from finetune.training.trainer import train

HELD_OUT = "held-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The files of pairs that a run is given."""

    files: Sequence[Path]
    tests: Sequence[Path] = ()  # evaluated on and never trained on
    hold_out: float = 0.1  # without `tests`, the share of the pairs that is held out
    images: Path | None = None  # their folder, where they are elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a run has done."""

    run: RunDir
    pairs: int  # trained on
    steps: int
    seconds: float
    left_out: int  # pairs about what is evaluated on
    comparison: Comparison | None = None  # None where nothing was held out
    is_main_process: bool = True  # False in all but one of several processes


def run_training(
    data: TrainingData,
    recipe: Recipe,
    run_dir: RunDir,
    settings: Settings,
    progress: Callable[[str], None],
) -> TrainingResult:
    """Train a model, or resume a run that ended early.

    Args:
        data: What to train and to evaluate on.
        recipe: How to train.
        run_dir: Where everything is written.
        settings: Device and dtype.
        progress: Called with a line of text now and then.

    Raises:
        FinetuneError: The data, the recipe or the run directory cannot be used.
        EmbedderError: The model cannot be loaded.
        OSError: A file cannot be read or written.
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is saved.
    """
    start = time.monotonic()
    content_keys = ContentKeys()
    pairs, tests, left_out = _load_pairs(data, recipe, content_keys)
    languages = Counter(pair.language or "" for pair in pairs)
    base = embedder.describe_model(recipe.model, settings)
    state = init_processes(settings, base.family)
    with state.main_process_first():
        if state.is_main_process:
            metadata: dict[str, Any] = {
                "status": "training",
                "preset": recipe.preset,
                "base": {"name": base.name, "fingerprint": base.fingerprint},
                "data": describe_files([*data.files, *data.tests], recipe.dataset_split),
                "languages": sorted(filter(None, languages)),
                "pairs": len(pairs),
                "datasets": describe_datasets(pairs, recipe),
            }
            run_dir.start(recipe.to_dict(), metadata)
            for found in metadata["data"]:
                if found["split"]:
                    progress(f"read of {found['path']}: the split {found['split']}")
            for line in _format_datasets(metadata["datasets"]):
                progress(line)
    try:
        steps = train(pairs, recipe, run_dir, settings, progress, content_keys)
    except BaseException as error:
        if state.is_main_process:
            status = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            run_dir.update_metadata({"status": status})
        raise
    comparison = None
    if state.is_main_process:
        run_dir.update_metadata({"steps": steps, "seconds": round(time.monotonic() - start)})
        curve = render_loss_curve(run_dir.read_losses())
        (run_dir.folder / "loss.svg").write_text(curve, "utf-8")
        if tests:
            local = use_local_device(settings)
            comparison = _evaluate_before_after(tests, recipe, run_dir, local, progress)
        card = _render_model_card(run_dir, base, languages, comparison)
        (run_dir.folder / "README.md").write_text(card, "utf-8")
        run_dir.update_metadata({"status": "done"})
    return TrainingResult(
        run=run_dir,
        pairs=len(pairs),
        steps=steps,
        seconds=time.monotonic() - start,
        left_out=left_out,
        comparison=comparison,
        is_main_process=state.is_main_process,
    )


def _load_pairs(
    data: TrainingData, recipe: Recipe, content_keys: ContentKeys
) -> tuple[list[Pair], list[Pair], int]:
    """Pairs to train on, pairs to evaluate on, and how many of the first were left out."""
    split = recipe.dataset_split
    found = (pair for path in data.files for pair in read_pairs(path, data.images, split))
    pairs = limit_rows(found, recipe)
    tests = [pair for path in data.tests for pair in read_pairs(path, data.images, split)]
    if tests:
        remaining = exclude_test_items(pairs, tests, content_keys)
        return remaining, tests, len(pairs) - len(remaining)
    if data.hold_out:
        halves = hold_out(pairs, data.hold_out, recipe.seed, content_keys)
        return halves.train, halves.test, 0
    return pairs, [], 0


def limit_rows(pairs: Iterable[Pair], recipe: Recipe) -> list[Pair]:
    """Keep the first pairs of each data set, as many as the recipe says, as the authors do."""
    counts: Counter[str] = Counter()
    kept = []
    for pair in pairs:
        limit = recipe.limit_rows(pair.dataset)
        if limit is None or counts[pair.dataset] < limit:
            counts[pair.dataset] += 1
            kept.append(pair)
    return kept


def describe_datasets(pairs: Sequence[Pair], recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return the pairs of each data set, and its share of the sub-batches if they are drawn by
    weight; also of those that the recipe names and the data lacks."""
    counts = Counter(pair.dataset for pair in pairs)
    weights = recipe.weigh_datasets(counts)
    named = dict.fromkeys(recipe.datasets, 0) | counts
    return {
        name: {"pairs": count, **({"weight": round(weights[name], 6)} if name in weights else {})}
        for name, count in sorted(named.items())
    }


def _format_datasets(described: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    found = [
        f"{name or '(no name)'} {one['pairs']:,}"
        + (f" ({100 * one['weight']:.1f} %)" if "weight" in one else "")
        for name, one in described.items()
        if one["pairs"]
    ]
    missing = [name for name, one in described.items() if not one["pairs"]]
    if len(found) > 1:
        yield f"pairs of each data set: {', '.join(found)}"
    if missing:
        yield f"data sets of the recipe that are not here: {', '.join(missing)}"


def exclude_test_items(
    pairs: Sequence[Pair], tests: Sequence[Pair], content_keys: ContentKeys
) -> list[Pair]:
    """The `pairs` that share neither an item nor an image with `tests`."""

    def images(pair: Pair) -> set[str]:
        return set(map(content_keys.hash_file, pair.image_paths))

    test_items = {content_keys.item_of(pair) for pair in tests}
    test_images = set[str]().union(*map(images, tests))
    return [
        pair
        for pair in pairs
        if content_keys.item_of(pair) not in test_items and not test_images & images(pair)
    ]


def _evaluate_before_after(
    tests: Sequence[Pair],
    recipe: Recipe,
    run_dir: RunDir,
    settings: Settings,
    progress: Callable[[str], None],
) -> Comparison:
    """Both models on the same queries, one in memory at a time."""
    run_dir.evaluation.mkdir(exist_ok=True)
    path = run_dir.evaluation / f"{HELD_OUT}.jsonl"
    write_pairs(path, tests)
    benchmark = benchmark_from_pairs(tests, HELD_OUT, str(path))

    def evaluate_model(load: Callable[[], Any]) -> EvaluationReport:
        report = evaluate(load(), benchmark, progress=progress)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return report

    before = evaluate_model(lambda: load_base(recipe, settings))
    after = evaluate_model(lambda: embedder.load(str(run_dir.folder), settings))
    return compare(before, after, run_dir.evaluation / HELD_OUT)


def _render_model_card(
    run_dir: RunDir, base: ModelCard, languages: Mapping[str, int], comparison: Comparison | None
) -> str:
    """The run's README.md."""
    is_url = base.source.startswith("https:")
    values: dict[str, Any] = {
        "folder": run_dir.folder,
        "metadata": {"steps": 0, "seconds": 0, **run_dir.read_metadata()},
        "base": base.name,
        "source": quote(base.source, safe="/:?&=%#~+@") if is_url else "",
        "license": f"{base.license}. {base.license_note}".rstrip(". "),
        "version": get_version(),
        "languages": Counter(languages).most_common(),
        "comparison": comparison,
        "head": COMPARISON_HEAD,
        "rows": comparison_table(comparison) if comparison else [],
    }
    return render("model_card.md", **values)
