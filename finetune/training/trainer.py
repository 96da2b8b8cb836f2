"""Trains a model on pairs: sentence-transformers' trainer with our batches and our model files."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
from transformers import PrinterCallback, TrainerCallback, set_seed

from embedder.errors import EmbedderError
from embedder.families.registry import find_family_name
from embedder.files import sync_tree
from embedder.types import Settings
from finetune.data.pairs import ContentKeys, Pair
from finetune.errors import DataError, FinetuneError
from finetune.run_dir import RunDir
from finetune.training.data_loading import Collator, InterleavedBatchSampler
from finetune.training.distributed import (
    any_rank,
    average_gradients,
    init_processes,
    use_local_device,
    world_size,
)
from finetune.training.loading import load_trainable
from finetune.training.losses import CachedContrastiveLoss, KnownPositives
from finetune.training.presets import Recipe
from finetune.training.trainable import Trainable, TrainableModule

STEP_TOKENS = {"cuda": 16_384, "cpu": 4_096}  # of a mini-batch
GPU_WORKERS = 4  # processes that prepare batches for a GPU
REPEAT_SECONDS = 2.0  # torchrun sends its processes a second copy of the terminal's signal


def train(
    pairs: Sequence[Pair],
    recipe: Recipe,
    run_dir: RunDir,
    settings: Settings,
    progress: Callable[[str], None],
    content_keys: ContentKeys,
) -> int:
    """Train, resuming from the run's last checkpoint if it has one, and write `run_dir.model`.

    Returns the number of steps. Raises `FinetuneError`, `EmbedderError`, and `KeyboardInterrupt`
    after Ctrl-C, once the current step is done and a checkpoint is saved.
    """
    validate_pairs(pairs, recipe)
    init_processes(settings, find_family_name(recipe.model))
    settings = use_local_device(settings)
    set_seed(recipe.seed)  # LoRA's initial weights are random
    languages = sorted({pair.language for pair in pairs if pair.language})
    model = load_trainable(recipe, settings, run_dir.folder / "cache", languages)
    sides = (side for pair in pairs for side in (pair.query, pair.positive, *pair.negatives))
    model.precompute(sorted({side.text for side in sides if side.text}))
    tokens = recipe.step_tokens or STEP_TOKENS.get(model.backbone.device.type, 4_096)
    interrupts = InterruptCallback()
    checkpoint = run_dir.last_checkpoint()
    try:
        trainer = ContrastiveTrainer(model, pairs, recipe, run_dir, settings, content_keys, tokens)
        trainer.add_callback(LogCallback(run_dir, progress))
        trainer.add_callback(interrupts)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise FinetuneError(
            f"the device has too little memory for mini-batches of {tokens} tokens; add --set "
            f"step_tokens={tokens // 2}, which computes the same batch in smaller pieces"
        ) from error
    except (DataError, EmbedderError) as error:
        *traceback, last = str(error).strip().splitlines()  # of a worker process, if any
        raise type(error)(last.split(": ", 1)[-1] if traceback else last) from None
    finally:
        interrupts.restore_handlers()
    if interrupts.stopped:
        raise KeyboardInterrupt
    if PartialState().is_main_process:
        model.save(run_dir.model)
        sync_tree(run_dir.model)
    PartialState().wait_for_everyone()
    return int(trainer.state.global_step)


def validate_pairs(pairs: Sequence[Pair], recipe: Recipe) -> None:
    """Raise `DataError` for data that the recipe cannot use."""
    if len(pairs) < 2:
        raise DataError(f"{len(pairs)} pairs are too few to train on; at least 2 are needed")
    if recipe.text_only:
        with_images = sum(
            any(side.image for side in (pair.query, pair.positive, *pair.negatives))
            for pair in pairs
        )
        if with_images:
            raise DataError(
                f"{with_images} of {len(pairs)} pairs have images, and {recipe.preset} learns from "
                "texts alone; make pairs of texts (finetune pairs --texts), or add "
                "--set text_only=false --set quantize=none"
            )


class ContrastiveTrainer(SentenceTransformerTrainer):
    """Takes batches from `InterleavedBatchSampler`. Several processes average their gradients once
    a step, so that each may cut its share into mini-batches of its own."""

    def __init__(
        self,
        model: Trainable,
        pairs: Sequence[Pair],
        recipe: Recipe,
        run_dir: RunDir,
        settings: Settings,
        content_keys: ContentKeys,
        tokens: int,
    ) -> None:
        """`tokens`: of a mini-batch."""
        device, processes = model.backbone.device, PartialState().num_processes
        if recipe.batch % processes:
            raise FinetuneError(
                f"a batch of {recipe.batch} pairs cannot be shared by {processes} processes; give "
                f"a --batch that {processes} divides"
            )
        size = max(1, min(recipe.batch, len(pairs)) // processes)
        datasets = [pair.dataset for pair in pairs]
        self._trainable = model
        weights = recipe.weigh_datasets(dict.fromkeys(datasets))
        self._sampler = InterleavedBatchSampler(
            datasets, size, recipe.sub_batch_size, recipe.seed, weights
        )
        wrapped = SentenceTransformer(modules=[TrainableModule(model)], device=str(device))
        collator = Collator(
            pairs,
            model.backbone,
            content_keys,
            recipe.hard_negatives,
            tokens,
            negatives=recipe.negatives,
            cache=model.cacheable,
        )
        # adapters are kept in float32
        bfloat16 = settings.dtype == "bfloat16" or (
            settings.dtype is None and device.type == "cuda"
        )
        known_positives = KnownPositives(pairs, content_keys)
        autocast = torch.bfloat16 if bfloat16 else None
        super().__init__(
            model=wrapped,
            args=_training_arguments(recipe, run_dir, size, len(self._sampler), device),
            train_dataset=Dataset.from_dict({"row": list(range(len(pairs)))}),
            data_collator=collator,  # type: ignore[arg-type]
            loss=CachedContrastiveLoss(wrapped, known_positives, model.penalty, recipe, autocast),
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(EpochCallback(self._sampler))

    def collect_features(self, inputs: Any) -> Any:
        """A step goes to the loss as it is."""
        return inputs, None

    def get_batch_sampler(self, *_: Any, **__: Any) -> Any:
        return self._sampler

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **named)
        if not torch.isfinite(loss):
            raise FinetuneError(
                f"the loss is not a finite number after step {self.state.global_step}; start again "
                "with a lower --rate, or with --dtype float32"
            )
        average_gradients(self.model.parameters())
        return loss

    def add_model_card_callback(self, *_: Any, **__: Any) -> None:
        """A run writes its card itself."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self._trainable.save(Path(output_dir or str(self.args.output_dir)) / "model")

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        super()._save_checkpoint(*arguments, **named)
        if self.args.should_save:  # durable before the next one replaces the one before it
            sync_tree(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._trainable.restore(Path(resume_from_checkpoint) / "model")


class LogCallback(TrainerCallback):
    """Writes the log, and reports progress."""

    def __init__(self, run_dir: RunDir, progress: Callable[[str], None]) -> None:
        self._run_dir, self._progress = run_dir, progress
        self._start_time, self._first_step = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._start_time, self._first_step = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= state.global_step == state.max_steps  # also the last step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        step, steps, loss = state.global_step, state.max_steps, logs["loss"]
        seconds = time.monotonic() - self._start_time
        rate = logs.get("learning_rate")
        self._run_dir.append_log(
            {"step": step, "loss": loss, "lr": rate, "seconds": round(seconds, 1)}
        )
        step_seconds = max(seconds / max(1, step - self._first_step), 1e-9)
        speed = args.per_device_train_batch_size * args.world_size / step_seconds
        left = timedelta(seconds=round(step_seconds * (steps - step)))
        self._progress(
            f"step {step} of {steps}, loss {float(loss):.4f}, {speed:.0f} pairs/s, {left} left"
        )


class InterruptCallback(TrainerCallback):
    """Ctrl-C and SIGTERM save a checkpoint after the current step and end the run; a second signal
    ends it immediately."""

    def __init__(self) -> None:
        self.stopped, self._first_signal = False, 0.0
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._stop)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.restore_handlers()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.stopped = any_rank(self.stopped, args.device)  # or the others would wait for this one
        if self.stopped:
            control.should_save = control.should_training_stop = True

    def restore_handlers(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _stop(self, *_: Any) -> None:
        now = time.monotonic()
        repeat_seconds = REPEAT_SECONDS if world_size() > 1 else 0
        if self._first_signal and now - self._first_signal >= repeat_seconds:
            self.restore_handlers()
            raise KeyboardInterrupt
        self._first_signal, self.stopped = self._first_signal or now, True


class EpochCallback(TrainerCallback):
    """Gives the sampler its epoch; the trainer does so only where it has not wrapped it."""

    def __init__(self, sampler: InterleavedBatchSampler) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._sampler.set_epoch(int(state.epoch or 0))


def _training_arguments(
    recipe: Recipe, run_dir: RunDir, size: int, batches: int, device: torch.device
) -> Arguments:
    """`size`: pairs of one process in a step; `batches` of that size make an epoch."""
    on_gpu = device.type == "cuda"
    processes = PartialState().num_processes
    workers = recipe.workers if recipe.workers >= 0 else GPU_WORKERS * on_gpu
    if workers:  # the other strategy holds a file open for every tensor of every step
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    # a paper's hundred warmup steps would be most of the steps of a small data set
    steps = recipe.steps or recipe.epochs * batches / processes
    warmup = recipe.warmup if recipe.warmup < 1 else float(int(min(recipe.warmup, steps / 10)))
    return Arguments(
        output_dir=str(run_dir.checkpoints),
        per_device_train_batch_size=size,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.steps or -1,
        learning_rate=recipe.rate,
        warmup_steps=warmup,
        lr_scheduler_type=recipe.schedule,
        weight_decay=recipe.decay,
        max_grad_norm=recipe.clip,
        logging_steps=recipe.log_every,
        logging_first_step=True,
        save_steps=recipe.save_every,
        save_total_limit=2,
        seed=recipe.seed,
        use_cpu=not on_gpu,
        dataloader_num_workers=workers,
        dataloader_prefetch_factor=1 if workers else None,
        dataloader_pin_memory=on_gpu,
        dataloader_drop_last=processes > 1,  # DDP asks for it; no rows are dropped
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
    )
