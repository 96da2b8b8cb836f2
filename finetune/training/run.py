"""`finetune train`, whole: hold out, train, measure before and after, write the run's folder."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState

import embedder
from embedder.types import Settings
from finetune.data.content_keys import ContentKeys
from finetune.data.files import read_pairs, write_pairs
from finetune.data.pairs import Pair
from finetune.data.split import hold_out
from finetune.evaluation.comparison import Comparison
from finetune.evaluation.evaluate import compare, evaluate
from finetune.evaluation.pair_benchmark import benchmark_from_pairs
from finetune.evaluation.report import EvaluationReport
from finetune.run_dir import RunDir, describe_files
from finetune.training.loss_plot import plot_loss
from finetune.training.model_card import count_languages, list_languages, render_model_card
from finetune.training.presets import Recipe
from finetune.training.processes import init_processes, use_local_device
from finetune.training.training import train

HELD_OUT = "held-out"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run is given. `tests` are measured on and never trained on; where there are none,
    `hold_out` of the pairs is kept apart for that."""

    files: Sequence[Path]
    tests: Sequence[Path] = ()
    hold_out: float = 0.1
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of it. `left_out` pairs were about what is measured on; `first` is False in all but
    one of several processes."""

    run: RunDir
    pairs: int
    steps: int
    seconds: float
    left_out: int
    comparison: Comparison | None
    is_main_process: bool = True


def run_training(
    data: TrainingData,
    recipe: Recipe,
    run_dir: RunDir,
    settings: Settings,
    progress: Callable[[str], None],
) -> TrainingResult:
    """Raises `FinetuneError`, `EmbedderError`, `OSError`; `KeyboardInterrupt` once a checkpoint is
    saved. The same call goes on with a run that has ended early."""
    start = time.monotonic()
    content_keys = ContentKeys()
    pairs, tests, left_out = _load_pairs(data, recipe.seed, content_keys)
    base = embedder.describe_model(recipe.model, settings)
    state = init_processes(settings, base.family)
    with state.main_process_first():
        if state.is_main_process:
            run_dir.start(
                recipe,
                {
                    "status": "training",
                    "preset": recipe.preset,
                    "base": {"name": base.name, "fingerprint": base.fingerprint},
                    "data": describe_files([*data.files, *data.tests]),
                    "languages": list_languages(pairs),
                    "pairs": len(pairs),
                },
            )
    try:
        steps = train(pairs, recipe, run_dir, settings, progress, content_keys)
    except KeyboardInterrupt:
        _update_status(state, run_dir, {"status": "stopped"})
        raise
    except BaseException:
        _update_status(state, run_dir, {"status": "failed"})
        raise
    if not state.is_main_process:
        return TrainingResult(
            run_dir, len(pairs), steps, time.monotonic() - start, left_out, None, False
        )
    run_dir.update_metadata({"steps": steps, "seconds": round(time.monotonic() - start)})
    points = [(line["step"], line["loss"]) for line in run_dir.read_log()]
    (run_dir.folder / "loss.svg").write_text(plot_loss(points), "utf-8")
    comparison = (
        _evaluate_before_after(tests, recipe.model, run_dir, use_local_device(settings), progress)
        if tests
        else None
    )
    text = render_model_card(
        run_dir.folder, base, run_dir.read_metadata(), count_languages(pairs), comparison
    )
    (run_dir.folder / "README.md").write_text(text, "utf-8")
    run_dir.update_metadata({"status": "done"})
    return TrainingResult(
        run_dir, len(pairs), steps, time.monotonic() - start, left_out, comparison
    )


def _load_pairs(
    data: TrainingData, seed: int, content_keys: ContentKeys
) -> tuple[list[Pair], list[Pair], int]:
    """Pairs to train on, pairs to measure on, and how many of the first were left out."""
    pairs = [pair for path in data.files for pair in read_pairs(path, data.images)]
    tests = [pair for path in data.tests for pair in read_pairs(path, data.images)]
    if tests:
        kept = exclude_test_items(pairs, tests, content_keys)
        return kept, tests, len(pairs) - len(kept)
    if data.hold_out:
        done = hold_out(pairs, data.hold_out, seed, content_keys)
        return done.train, done.test, 0
    return pairs, [], 0


def exclude_test_items(
    pairs: Sequence[Pair], tests: Sequence[Pair], identities: ContentKeys | None = None
) -> list[Pair]:
    """Those of `pairs` that are about nothing that `tests` are about, by item and by picture."""
    known = identities or ContentKeys()
    items = {known.item_of(pair) for pair in tests}
    seen = {known.hash_file(image) for pair in tests for image in _images(pair)}
    return [
        pair
        for pair in pairs
        if known.item_of(pair) not in items
        and not seen & {known.hash_file(i) for i in _images(pair)}
    ]


def _images(pair: Pair) -> list[str]:
    return [side.image for side in (pair.query, pair.positive) if side.image]


def _evaluate_before_after(
    tests: Sequence[Pair],
    base: str,
    run_dir: RunDir,
    settings: Settings,
    progress: Callable[[str], None],
) -> Comparison:
    """Before and after on the same questions, one model in memory at a time."""
    run_dir.evaluation.mkdir(exist_ok=True)
    write_pairs(run_dir.evaluation / f"{HELD_OUT}.jsonl", tests)
    benchmark = benchmark_from_pairs(tests, HELD_OUT, str(run_dir.evaluation / f"{HELD_OUT}.jsonl"))

    def measure(name: str) -> EvaluationReport:
        made = evaluate(embedder.load(name, settings), benchmark, progress=progress)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return made

    return compare(measure(base), measure(str(run_dir.folder)), run_dir.evaluation / HELD_OUT)


def _update_status(state: PartialState, run_dir: RunDir, changes: dict[str, str]) -> None:
    if state.is_main_process:
        run_dir.update_metadata(changes)
