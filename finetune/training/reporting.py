"""What a run says while it trains, and how it is stopped without losing a step."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from finetune.training.gathering import anywhere, world
from finetune.training.run import Run

AGAIN = 2.0  # seconds: torchrun sends its processes once more what the terminal has sent them


class Reporter(TrainerCallback):
    """Writes the log, and a line for the person who waits."""

    def __init__(self, run: Run, batch: int, progress: Callable[[str], None]) -> None:
        self._run, self._batch, self._progress = run, batch, progress
        self._started = self._first = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started, self._first = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= state.global_step == state.max_steps  # however seldom it logs

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        seconds = time.monotonic() - self._started
        self._run.log(
            {
                "step": state.global_step,
                "loss": logs["loss"],
                "lr": logs.get("learning_rate"),
                "seconds": round(seconds, 1),
            }
        )
        self._progress(self._line(state, float(logs["loss"]), seconds))

    def _line(self, state: Any, loss: float, seconds: float) -> str:
        each = seconds / max(1, state.global_step - self._first)
        left = each * (state.max_steps - state.global_step)
        return (
            f"step {state.global_step} of {state.max_steps}, loss {loss:.4f}, "
            f"{self._batch / max(each, 1e-9):.0f} pairs/s, {spoken(left)} left"
        )


class Interrupts(TrainerCallback):
    """Ctrl-C and SIGTERM save a checkpoint after the step in hand and end the run; a second one
    ends it at once."""

    def __init__(self) -> None:
        self.stopped, self._asked = False, 0.0
        self._before: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.restore()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.stopped = anywhere(self.stopped, args.device)  # one alone would wait for the others
        if self.stopped:
            control.should_save = control.should_training_stop = True

    def restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _stop(self, *_: Any) -> None:
        now = time.monotonic()
        if self._asked and now - self._asked >= (AGAIN if world() > 1 else 0):
            self.restore()
            raise KeyboardInterrupt
        self._asked, self.stopped = self._asked or now, True


def spoken(seconds: float) -> str:
    """`48 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
