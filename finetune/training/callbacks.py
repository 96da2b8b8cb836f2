"""What a run logs while it trains, and how it is interrupted without losing a step."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from finetune.run_dir import RunDir
from finetune.training.data_loading import InterleavedBatchSampler
from finetune.training.distributed import any_rank, world_size

REPEAT_SECONDS = 2.0  # torchrun sends its processes a second copy of the terminal's signal


class LogCallback(TrainerCallback):
    """Writes the log, and reports progress."""

    def __init__(self, run_dir: RunDir, batch: int, progress: Callable[[str], None]) -> None:
        self._run_dir, self._batch, self._progress = run_dir, batch, progress
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
        step_seconds = seconds / max(1, step - self._first_step)
        speed = self._batch / max(step_seconds, 1e-9)
        left = format_duration(step_seconds * (steps - step))
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
    """Tells the sampler its epoch; the trainer does so only where it has not wrapped it."""

    def __init__(self, sampler: InterleavedBatchSampler) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._sampler.set_epoch(int(state.epoch or 0))


def format_duration(seconds: float) -> str:
    """`48 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
