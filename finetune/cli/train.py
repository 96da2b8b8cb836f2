"""`finetune train` and `export`: adapt a model to pairs, and write it for other programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import (
    Dtype,
    Json,
    complete_model_name,
    pluralize,
    print_line,
    print_note,
    takes_model_settings,
    write_json,
)
from embedder.types import Settings
from finetune.cli._options import DatasetSplit, Images
from finetune.errors import FinetuneError

if TYPE_CHECKING:
    from finetune.training.run import TrainingResult

app = typer.Typer()

PRESETS = "starter-head, e5v, vlm2vec, mme5, e5v-paper, "
PRESETS += "vlm2vec-v1-paper, vlm2vec-v2-paper, mme5-paper"

TRAIN_EXAMPLES = """
Examples:

  finetune train pairs.train.jsonl --test pairs.test.jsonl --out runs/first
  finetune train pairs.jsonl --preset vlm2vec --out runs/shop
  finetune train nli_for_simcse.csv --preset e5v-paper --hold-out 0 --out runs/e5v
  torchrun --nproc-per-node 8 -m finetune train MMEB-train --preset vlm2vec-v2-paper --out runs/v2
"""
EXPORT_EXAMPLES = """
Examples:

  finetune export runs/qwen --out exported/qwen
  finetune export runs/qwen --out exported/qwen-adapter --adapter
"""


@app.command(epilog=TRAIN_EXAMPLES)
@takes_model_settings("device", "dtype", "trust_remote_code")
def train(
    settings: Settings,
    files: Annotated[
        list[Path], Argument(metavar="FILE...", help="Files of pairs; see finetune pairs.")
    ],
    preset: Annotated[
        str | None,
        Option(metavar="NAME", help=f"The preset: {PRESETS}.", show_default="starter-head"),
    ] = None,
    config: Annotated[
        Path | None, Option(metavar="FILE", help="A YAML recipe; the preset fills in the rest.")
    ] = None,
    model: Annotated[
        str | None,
        Option(
            metavar="NAME|FOLDER",
            help="The model to adapt.",
            show_default="the preset's",
            autocompletion=complete_model_name,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="The run's folder; an interrupted run resumes there.",
            show_default="a new one in POLYLENS_RUNS",
        ),
    ] = None,
    test: Annotated[
        list[Path] | None, Option(metavar="FILE", help="Pairs to evaluate on, before and after.")
    ] = None,
    hold_out: Annotated[
        float, Option(min=0, max=0.9, help="Without --test, hold out this share of the pairs.")
    ] = 0.1,
    images: Images = None,
    dataset_split: DatasetSplit = None,
    batch: Annotated[int | None, Option(help="Pairs in a step.", metavar="N")] = None,
    epochs: Annotated[float | None, Option(help="Passes over the pairs.")] = None,
    steps: Annotated[int | None, Option(help="Steps, instead of epochs.", metavar="N")] = None,
    rate: Annotated[float | None, Option(help="The peak learning rate.")] = None,
    matryoshka: Annotated[
        str | None,
        Option(metavar="N,N", help="Dims that vectors may be truncated to, such as 256,512."),
    ] = None,
    lora_targets: Annotated[
        str | None,
        Option(
            metavar="NAME,NAME",
            help="The linear layers that LoRA adapts, such as q_proj,v_proj; or all.",
            show_default="the preset's",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        Option(
            "--set", metavar="NAME=VALUE", help="Any other recipe setting, such as lora.rank=8."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Adapt a model to pairs, and evaluate it before and after on held-out pairs."""
    from embedder.vlm.loading import silence_transformers
    from finetune.run_dir import RunDir
    from finetune.training.run import TrainingData, run_training

    flags: dict[str, Any] = {"preset": preset, "model": model, "batch": batch, "epochs": epochs}
    flags |= {"steps": steps, "rate": rate, "matryoshka": _parse_dims(matryoshka)}
    flags |= {"dataset_split": dataset_split}
    if lora_targets:
        names = [] if lora_targets == "all" else [name.strip() for name in lora_targets.split(",")]
        flags["lora"] = {"targets": names}
    recipe = _resolve_recipe(config, overrides or [], flags)
    run = RunDir(Path(os.path.expanduser(out or _new_run_dir(recipe.preset))).absolute())
    request = TrainingData(files=files, tests=test or [], hold_out=hold_out, images=images)
    with silence_transformers():
        outcome = run_training(request, recipe, run, settings, print_note)
    _print_outcome(outcome, as_json)


def _resolve_recipe(config: Path | None, settings: list[str], flags: dict[str, Any]) -> Any:
    from finetune.training.presets import parse_setting, read_recipe, resolve_recipe

    try:
        sources = [{"preset": "starter-head"}, *([read_recipe(config)] if config else [])]
        sources += [{k: v for k, v in flags.items() if v is not None}]
        return resolve_recipe(*sources, *map(parse_setting, settings))
    except FinetuneError as error:
        raise typer.BadParameter(str(error)) from None


def _parse_dims(text: str | None) -> list[int] | None:
    try:
        return [int(dim) for dim in text.split(",")] if text else None
    except ValueError:
        raise typer.BadParameter(f"--matryoshka takes dims such as 256,512, not {text!r}") from None


def _new_run_dir(preset: str) -> Path:
    from datetime import datetime

    import torch

    from indexer.config import load_config

    if torch.distributed.is_torchelastic_launched():
        raise typer.BadParameter("several processes need the same folder: pass it with --out")

    return Path(load_config().runs) / f"{preset}-{datetime.now():%Y-%m-%d-%H%M%S}"


def _print_outcome(outcome: TrainingResult, as_json: bool) -> None:
    from finetune.evaluation.report import comparison_to_dict

    folder, measured = outcome.run.folder, outcome.comparison
    if not outcome.is_main_process:
        return
    if as_json:
        summary = {"run": str(folder), "pairs": outcome.pairs, "steps": outcome.steps}
        summary |= {"seconds": round(outcome.seconds, 1), "left_out": outcome.left_out}
        write_json({**summary, "measured": comparison_to_dict(measured) if measured else None})
        return
    if outcome.left_out:
        print_note(
            f"left out, as their items are in the test pairs: {pluralize(outcome.left_out, 'pair')}"
        )
    if measured:
        change = measured.overall[measured.main]
        gain, low, high = (100 * x for x in (change.difference, change.low, change.high))
        print_line(
            f"{measured.main} {100 * change.before:.1f} before, {100 * change.after:.1f} after: "
            f"{gain:+.1f} ({low:+.1f} to {high:+.1f}), {change.verdict}"
        )
    size = f"{pluralize(outcome.pairs, 'pair')}, {pluralize(outcome.steps, 'step')}"
    print_line(f"{size}, {outcome.seconds:,.0f} s: {folder}")
    print_note(f"to use it, run: indexer reindex --model {folder}")


@app.command(epilog=EXPORT_EXAMPLES)
def export(
    run: Annotated[Path, Argument(metavar="RUN", help="A run's folder.")],
    out: Annotated[Path, Option(metavar="FOLDER", help="Where to write it; a new folder.")],
    adapter: Annotated[
        bool, Option("--adapter", help="Write only the adapter, without its base.")
    ] = False,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Write a run's model for other programs: merged into its base, or only the adapter."""
    from embedder.vlm.loading import silence_transformers
    from finetune.training.export import export_adapter, export_merged

    with silence_transformers():
        if adapter:
            export_adapter(run, out)
        else:
            export_merged(run, out, dtype)
    if as_json:
        write_json({"out": str(out.absolute()), "merged": not adapter})
    else:
        print_note(f"wrote {out}; to use it, run: indexer reindex --model {out}")
