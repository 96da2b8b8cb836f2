"""What a run says while it trains, and how it is stopped without losing a step."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from finetune.run_dir import RunDir
from finetune.training.distributed import any_rank, world_size

REPEAT_SECONDS = (
    2.0  # seconds: torchrun sends its processes once more what the terminal has sent them
)


class LogCallback(TrainerCallback):
    """Writes the log, and a line for the person who waits."""

    def __init__(self, run_dir: RunDir, batch: int, progress: Callable[[str], None]) -> None:
        self._run_dir, self._batch, self._progress = run_dir, batch, progress
        self._started = self._first = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started, self._first = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= state.global_step == state.max_steps  # however seldom it logs

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        seconds = time.monotonic() - self._started
        self._run_dir.append_log(
            {
                "step": state.global_step,
                "loss": logs["loss"],
                "lr": logs.get("learning_rate"),
                "seconds": round(seconds, 1),
            }
        )
        self._progress(self._progress_line(state, float(logs["loss"]), seconds))

    def _progress_line(self, state: Any, loss: float, seconds: float) -> str:
        each = seconds / max(1, state.global_step - self._first)
        left = each * (state.max_steps - state.global_step)
        return (
            f"step {state.global_step} of {state.max_steps}, loss {loss:.4f}, "
            f"{self._batch / max(each, 1e-9):.0f} pairs/s, {format_duration(left)} left"
        )


class InterruptCallback(TrainerCallback):
    """Ctrl-C and SIGTERM save a checkpoint after the step in hand and end the run; a second one
    ends it at once."""

    def __init__(self) -> None:
        self.stopped, self._asked = False, 0.0
        self._before: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.restore_handlers()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.stopped = any_rank(self.stopped, args.device)  # one alone would wait for the others
        if self.stopped:
            control.should_save = control.should_training_stop = True

    def restore_handlers(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _stop(self, *_: Any) -> None:
        now = time.monotonic()
        if self._asked and now - self._asked >= (REPEAT_SECONDS if world_size() > 1 else 0):
            self.restore_handlers()
            raise KeyboardInterrupt
        self._asked, self.stopped = self._asked or now, True


def format_duration(seconds: float) -> str:
    """`48 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
