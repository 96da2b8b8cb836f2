"""A training run, from pairs to a folder that `--model` loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer
from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
from transformers import set_seed

from embedder.errors import EmbedderError
from embedder.families.registry import find_family_name
from embedder.types import Settings
from finetune.data.content_keys import ContentKeys
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError, FinetuneError
from finetune.run_dir import RunDir
from finetune.training.batch_sampler import InterleavedBatchSampler
from finetune.training.cached_loss import CachedContrastiveLoss
from finetune.training.callbacks import InterruptCallback, LogCallback
from finetune.training.collator import Collator
from finetune.training.loading import load_trainable
from finetune.training.negatives import KnownPositives
from finetune.training.presets import Recipe
from finetune.training.processes import init_processes, use_local_device
from finetune.training.trainable import Trainable
from finetune.training.trainable_module import TrainableModule
from finetune.training.trainer import ContrastiveTrainer

STEP_TOKENS = {"cuda": 16_384, "cpu": 4_096}  # of a mini-batch
GPU_WORKERS = 4  # processes that prepare batches for a GPU


def train(
    pairs: Sequence[Pair],
    recipe: Recipe,
    run_dir: RunDir,
    settings: Settings,
    progress: Callable[[str], None],
    identities: ContentKeys | None = None,
) -> int:
    """Train, going on from the run's last checkpoint if it has one; the model lies in `run.model`
    then. Gives the number of steps.

    Raises `FinetuneError`, `EmbedderError`; `KeyboardInterrupt` after Ctrl-C, when the step in hand
    is done and a checkpoint is saved.
    """
    validate_pairs(pairs, recipe)
    init_processes(settings, find_family_name(recipe.model))
    settings = use_local_device(settings)
    set_seed(recipe.seed)  # LoRA's first weights are drawn
    model = load_trainable(
        recipe,
        settings,
        run_dir.folder / "cache",
        sorted({pair.language for pair in pairs if pair.language}),
    )
    model.precompute(sorted({s.text for pair in pairs for s in _sides(pair) if s.text}))
    interrupts = InterruptCallback()
    known = identities or ContentKeys()
    trainer = _build_trainer(model, pairs, recipe, run_dir, settings, progress, interrupts, known)
    try:
        trainer.train(resume_from_checkpoint=_checkpoint_to_resume(run_dir))
    except torch.OutOfMemoryError as error:
        tokens = _mini_batch_tokens(recipe, model)
        raise FinetuneError(
            f"the device has too little memory for mini-batches of {tokens} tokens; add --set "
            f"step_tokens={tokens // 2}, which computes the same batch in smaller pieces"
        ) from error
    except (DataError, EmbedderError) as error:
        raise type(error)(_last_message(error)) from None
    finally:
        interrupts.restore_handlers()
    if interrupts.stopped:
        raise KeyboardInterrupt
    if PartialState().is_main_process:
        model.finish()
        model.save(run_dir.model)
    PartialState().wait_for_everyone()
    return int(trainer.state.global_step)


def validate_pairs(pairs: Sequence[Pair], recipe: Recipe) -> None:
    """Raise `DataError` for data that the recipe cannot use."""
    if len(pairs) < 2:
        raise DataError(f"{len(pairs)} pairs are too few to train on; 2 are the least")
    if recipe.text_only:
        seen = sum(any(side.image for side in _sides(pair)) for pair in pairs)
        if seen:
            raise DataError(
                f"{seen} of {len(pairs)} pairs have pictures, and {recipe.preset} learns from "
                "texts alone: make pairs of texts (finetune pairs --texts), or add "
                "--set text_only=false --set quantize=none"
            )


def _sides(pair: Pair) -> Sequence[Side]:
    return (pair.query, pair.positive, *pair.negatives)


def _build_trainer(
    model: Trainable,
    pairs: Sequence[Pair],
    recipe: Recipe,
    run_dir: RunDir,
    settings: Settings,
    progress: Callable[[str], None],
    interrupts: InterruptCallback,
    identities: ContentKeys,
) -> ContrastiveTrainer:
    device = model.backbone.device
    wrapped = SentenceTransformer(modules=[TrainableModule(model)], device=str(device))
    count = PartialState().num_processes
    if recipe.batch % count:
        raise FinetuneError(
            f"a batch of {recipe.batch} pairs cannot be shared by {count} processes; give a "
            f"--batch that {count} divides"
        )
    each = max(1, min(recipe.batch, len(pairs)) // count)
    sampler = InterleavedBatchSampler(
        [pair.dataset for pair in pairs], each, recipe.sub_batch, recipe.seed
    )
    loss = CachedContrastiveLoss(
        wrapped,
        KnownPositives(pairs, identities),
        model.penalty,
        temperature=recipe.temperature,
        hard_negatives=recipe.hard_negatives,
        dims=recipe.matryoshka,
        symmetric=recipe.both_ways,
        autocast=torch.bfloat16 if _use_bfloat16(settings, device) else None,
    )
    return ContrastiveTrainer(
        model,
        wrapped,
        _training_arguments(recipe, run_dir, each, len(sampler), device),
        sampler,
        Collator(
            pairs,
            model.backbone,
            identities,
            recipe.hard_negatives,
            _mini_batch_tokens(recipe, model),
            cache=model.cacheable,
        ),
        loss,
        [LogCallback(run_dir, each * count, progress), interrupts],
    )


def _training_arguments(
    recipe: Recipe, run_dir: RunDir, each: int, batches: int, device: torch.device
) -> Arguments:
    """`each`: pairs of a process in a step; `batches` of that size make an epoch."""
    on_gpu = device.type == "cuda"
    workers = recipe.workers if recipe.workers >= 0 else GPU_WORKERS * on_gpu
    told: dict[str, Any] = {"dataloader_prefetch_factor": 1} if workers else {}
    if workers:  # the other strategy holds a file open for every tensor of every step
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    return Arguments(
        output_dir=str(run_dir.checkpoints),
        per_device_train_batch_size=each,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.steps or -1,
        learning_rate=recipe.rate,
        warmup_steps=_warmup_steps(recipe, batches),
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
        dataloader_pin_memory=on_gpu,
        dataloader_drop_last=PartialState().num_processes > 1,  # for DDP's sake; nothing is dropped
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
        **told,
    )


def _warmup_steps(recipe: Recipe, batches: int) -> float:
    """Steps, or their share: a paper's hundred steps would be all that few data make."""
    steps = recipe.steps or recipe.epochs * batches / PartialState().num_processes
    return recipe.warmup if recipe.warmup < 1 else float(int(min(recipe.warmup, steps / 10)))


def _mini_batch_tokens(recipe: Recipe, model: Trainable) -> int:
    return recipe.step_tokens or STEP_TOKENS.get(model.backbone.device.type, 4_096)


def _use_bfloat16(settings: Settings, device: torch.device) -> bool:
    """Whether to compute in bfloat16; the adapters themselves are kept in float32."""
    return settings.dtype == "bfloat16" or (settings.dtype is None and device.type == "cuda")


def _last_message(error: Exception) -> str:
    """The message, without the traceback that one of a worker process has before it."""
    *before, last = str(error).strip().splitlines()
    return last.split(": ", 1)[-1] if before else last


def _checkpoint_to_resume(run_dir: RunDir) -> str | None:
    found = run_dir.last_checkpoint()
    return str(found) if found else None
