"""sentence-transformers' trainer, told of our batches and of how our models are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
from transformers import PrinterCallback, TrainerCallback

from finetune.errors import FinetuneError
from finetune.training.batch_sampler import InterleavedBatchSampler
from finetune.training.cached_loss import CachedContrastiveLoss
from finetune.training.collator import Collator
from finetune.training.distributed import average_gradients
from finetune.training.trainable import Trainable


class ContrastiveTrainer(SentenceTransformerTrainer):
    """Batches come from `Interleaved`; several processes share their gradients once a step, so that
    each may cut its share into mini-batches of its own."""

    def __init__(
        self,
        trainable: Trainable,
        model: SentenceTransformer,
        arguments: Arguments,
        sampler: InterleavedBatchSampler,
        collator: Collator,
        loss: CachedContrastiveLoss,
        callbacks: list[TrainerCallback],
    ) -> None:
        self._trainable, self._sampler = trainable, sampler
        rows = Dataset.from_dict({"row": list(range(len(sampler.sampler)))})  # type: ignore[arg-type]
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=collator,  # type: ignore[arg-type]
            loss=loss,
            callbacks=[_EpochCallback(sampler), *callbacks],
        )
        self.remove_callback(PrinterCallback)

    def collect_features(self, inputs: Any) -> Any:
        """A step goes to the loss whole."""
        return inputs, None

    def get_batch_sampler(self, *_: Any, **__: Any) -> Any:
        return self._sampler

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **named)
        if not torch.isfinite(loss):
            raise FinetuneError(
                f"the loss is no number any more after step {self.state.global_step}; begin anew "
                "with a lower --rate, or with --dtype float32"
            )
        average_gradients(self.model.parameters())
        return loss

    def add_model_card_callback(self, *_: Any, **__: Any) -> None:
        """A run writes its card itself."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self._trainable.save(Path(output_dir or str(self.args.output_dir)) / "model")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._trainable.restore(Path(resume_from_checkpoint) / "model")


class _EpochCallback(TrainerCallback):
    """The trainer tells a sampler its epoch only where nothing is wrapped around it."""

    def __init__(self, sampler: InterleavedBatchSampler) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._sampler.set_epoch(int(state.epoch or 0))
