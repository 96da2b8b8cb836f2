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
from finetune.data.files import read_pairs, write_pairs
from finetune.data.identity import Identities
from finetune.data.pairs import Pair
from finetune.data.splitting import divide
from finetune.evaluation.comparison import Comparison
from finetune.evaluation.evaluating import compare, evaluate
from finetune.evaluation.held_out import from_pairs
from finetune.evaluation.report import Report
from finetune.training.card import card, counted, names
from finetune.training.curve import curve
from finetune.training.processes import here, processes
from finetune.training.recipe import Recipe
from finetune.training.run import Run, described
from finetune.training.training import train

HELD_OUT = "held-out"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is given. `tests` are measured on and never trained on; where there are none,
    `hold_out` of the pairs is kept apart for that."""

    files: Sequence[Path]
    tests: Sequence[Path] = ()
    hold_out: float = 0.1
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `left_out` pairs were about what is measured on; `first` is False in all but
    one of several processes."""

    run: Run
    pairs: int
    steps: int
    seconds: float
    left_out: int
    measured: Comparison | None
    first: bool = True


def adapt(
    asked: Asked, recipe: Recipe, run: Run, settings: Settings, progress: Callable[[str], None]
) -> Outcome:
    """Raises `FinetuneError`, `EmbedderError`, `OSError`; `KeyboardInterrupt` once a checkpoint is
    saved. The same call goes on with a run that has ended early."""
    start = time.monotonic()
    known = Identities()
    pairs, tests, left_out = _gathered(asked, recipe.seed, known)
    base = embedder.describe(recipe.model, settings)
    alone = processes(settings, base.family)
    with alone.main_process_first():
        if alone.is_main_process:
            run.begin(
                recipe,
                {
                    "status": "training",
                    "preset": recipe.preset,
                    "base": {"name": base.name, "fingerprint": base.fingerprint},
                    "data": described([*asked.files, *asked.tests]),
                    "languages": names(pairs),
                    "pairs": len(pairs),
                },
            )
    try:
        steps = train(pairs, recipe, run, settings, progress, known)
    except KeyboardInterrupt:
        _note(alone, run, {"status": "stopped"})
        raise
    except BaseException:
        _note(alone, run, {"status": "failed"})
        raise
    if not alone.is_main_process:
        return Outcome(run, len(pairs), steps, time.monotonic() - start, left_out, None, False)
    run.note({"steps": steps, "seconds": round(time.monotonic() - start)})
    points = [(line["step"], line["loss"]) for line in run.logged()]
    (run.folder / "loss.svg").write_text(curve(points), "utf-8")
    measured = _measured(tests, recipe.model, run, here(settings), progress) if tests else None
    text = card(run.folder, base, run.told(), counted(pairs), measured)
    (run.folder / "README.md").write_text(text, "utf-8")
    run.note({"status": "done"})
    return Outcome(run, len(pairs), steps, time.monotonic() - start, left_out, measured)


def _gathered(asked: Asked, seed: int, known: Identities) -> tuple[list[Pair], list[Pair], int]:
    """Pairs to train on, pairs to measure on, and how many of the first were left out."""
    pairs = [pair for path in asked.files for pair in read_pairs(path, asked.images)]
    tests = [pair for path in asked.tests for pair in read_pairs(path, asked.images)]
    if tests:
        kept = apart(pairs, tests, known)
        return kept, tests, len(pairs) - len(kept)
    if asked.hold_out:
        done = divide(pairs, asked.hold_out, seed, known)
        return done.train, done.test, 0
    return pairs, [], 0


def apart(
    pairs: Sequence[Pair], tests: Sequence[Pair], identities: Identities | None = None
) -> list[Pair]:
    """Those of `pairs` that are about nothing that `tests` are about, by item and by picture."""
    known = identities or Identities()
    items = {known.item(pair) for pair in tests}
    seen = {known.content(image) for pair in tests for image in _images(pair)}
    return [
        pair
        for pair in pairs
        if known.item(pair) not in items and not seen & {known.content(i) for i in _images(pair)}
    ]


def _images(pair: Pair) -> list[str]:
    return [side.image for side in (pair.query, pair.positive) if side.image]


def _measured(
    tests: Sequence[Pair],
    base: str,
    run: Run,
    settings: Settings,
    progress: Callable[[str], None],
) -> Comparison:
    """Before and after on the same questions, one model in memory at a time."""
    run.evaluation.mkdir(exist_ok=True)
    write_pairs(run.evaluation / f"{HELD_OUT}.jsonl", tests)
    benchmark = from_pairs(tests, HELD_OUT, str(run.evaluation / f"{HELD_OUT}.jsonl"))

    def measure(name: str) -> Report:
        made = evaluate(embedder.load(name, settings), benchmark, tell=progress)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return made

    return compare(measure(base), measure(str(run.folder)), run.evaluation / HELD_OUT)


def _note(alone: PartialState, run: Run, news: dict[str, str]) -> None:
    if alone.is_main_process:
        run.note(news)
