"""Requests of many clients -> batches for one model.

A thread embeds; two, where a model can prepare one batch while it computes another. What arrives
meanwhile is the next batch; when nothing is being embedded, a request starts at once. First come,
first served; a batch has one role and one instruction.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedder.serving.limits import Refusal
from embedder.serving.metrics import Metrics
from embedder.types import Embedder, Input, Role, Vectors

GATHER = 0.1  # of the last batch's time: how long those just answered may take to ask again

Outcome: TypeAlias = NDArray[np.float32] | Exception
"""(dim,), or why there is none."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A request in the queue. `taken` counts the inputs that went into a batch."""

    inputs: Sequence[Input]
    role: Role
    instruction: str | None
    arrived: float = field(default_factory=time.perf_counter)
    answer: Future[Vectors] = field(default_factory=Future)
    outcomes: list[Outcome] = field(default_factory=list)
    taken: int = 0

    @property
    def kind(self) -> tuple[Role, str | None]:
        """Only tickets of one kind share a batch."""
        return self.role, self.instruction

    def take(self, most: int) -> Sequence[Input]:
        part = self.inputs[self.taken : self.taken + most]
        self.taken += len(part)
        return part

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """The answer is there once all inputs are; an input that failed fails its request."""
        self.outcomes += outcomes
        if len(self.outcomes) < len(self.inputs):
            return
        failed = next((o for o in self.outcomes if isinstance(o, Exception)), None)
        if failed is not None:
            self.answer.set_exception(failed)
        else:
            self.answer.set_result(np.stack(self.outcomes))  # type: ignore[arg-type]


class Batcher:
    """Embeds for many threads; `close` when done."""

    def __init__(
        self,
        embedder: Embedder,
        metrics: Metrics,
        *,
        max_batch: int = 32,
        max_queue: int = 512,
        lanes: int = 1,
    ) -> None:
        """`lanes`: calls of the model at once."""
        self._embedder, self._metrics = embedder, metrics
        self._max_batch, self._max_queue = max_batch, max_queue
        self._changed = threading.Condition()
        self._tickets: deque[Ticket] = deque()
        self._waiting = 0  # inputs
        self._closed = False
        self._expected, self._until = 0, 0.0  # inputs that a batch is held back for, and until when
        names = [f"batcher-{lane}" for lane in range(lanes)]
        self._threads = [threading.Thread(target=self._run, name=n, daemon=True) for n in names]
        for thread in self._threads:
            thread.start()

    def submit(self, inputs: Sequence[Input], role: Role, instruction: str | None) -> Ticket:
        """A place in the queue; raises `Refusal` where it is full."""
        ticket = Ticket(inputs, role, instruction)
        ticket.answer.set_running_or_notify_cancel()  # nobody can cancel it
        with self._changed:
            if self._waiting and self._waiting + len(inputs) > self._max_queue:
                self._metrics.rejected.labels("queue").inc()
                raise Refusal(429, "too many requests wait; try again", code="busy", retry=1)
            self._tickets.append(ticket)
            self._count(len(inputs))
            self._changed.notify_all()
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Forget what of `ticket` is not embedded yet: nobody waits for it."""
        with self._changed:
            self._remove(ticket)

    def withdraw(self, ticket: Ticket) -> bool:
        """Take `ticket` out of the queue, unless the model has begun with it."""
        with self._changed:
            untouched = ticket.taken == 0
            if untouched:
                self._remove(ticket)
            return untouched

    def close(self) -> None:
        """Finish what is in the queue, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _remove(self, ticket: Ticket) -> None:
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            self._count(ticket.taken - len(ticket.inputs))

    def _count(self, more: int) -> None:
        self._waiting += more
        self._metrics.queue.set(self._waiting)

    def _run(self) -> None:
        while not (self._closed and not self._tickets):
            batch = self._next()
            if not batch:  # whoever was in the queue has left it
                continue
            started = time.perf_counter()
            self._embed(batch)
            took = time.perf_counter() - started
            size = sum(len(part) for _, part in batch)
            self._metrics.batch(size, took)
            if len(self._threads) == 1:  # with more, the other one keeps the model busy
                with self._changed:
                    self._hold(size, took)

    def _hold(self, size: int, took: float) -> None:
        """Clients that wait for one answer before they ask again come in step with the batches: a
        moment's patience makes the next one full. A client alone is never held back."""
        alone = size == 1 and not self._waiting
        self._expected = 0 if alone else min(size + self._waiting, self._max_batch)
        self._until = time.perf_counter() + GATHER * took

    def _next(self) -> list[tuple[Ticket, Sequence[Input]]]:
        """Tickets with the inputs taken from each, once there are some; may be empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._tickets or self._closed)
            self._changed.wait_for(
                lambda: self._waiting >= self._expected or self._closed,
                timeout=max(self._until - time.perf_counter(), 0),
            )
            return self._taken()

    def _taken(self) -> list[tuple[Ticket, Sequence[Input]]]:
        batch: list[tuple[Ticket, Sequence[Input]]] = []
        room = self._max_batch
        for ticket in [t for t in self._tickets if t.kind == self._tickets[0].kind]:
            if ticket.taken == 0:
                self._metrics.queued.observe(time.perf_counter() - ticket.arrived)
            batch.append((ticket, ticket.take(room)))
            if ticket.taken == len(ticket.inputs):
                self._tickets.remove(ticket)
            room -= len(batch[-1][1])
            if not room:
                break
        self._count(room - self._max_batch)
        return batch

    def _embed(self, batch: Sequence[tuple[Ticket, Sequence[Input]]]) -> None:
        role, instruction = batch[0][0].kind
        inputs = [item for _, part in batch for item in part]
        outcomes = self._outcomes(inputs, role, instruction)
        for ticket, part in batch:
            mine, outcomes = outcomes[: len(part)], outcomes[len(part) :]
            ticket.add(mine)

    def _outcomes(
        self, inputs: Sequence[Input], role: Role, instruction: str | None
    ) -> list[Outcome]:
        """One for each input. A batch that fails is halved, until the bad input fails alone."""
        try:
            rows = self._embedder.embed(inputs, role, instruction)
            return [row for row, _ in zip(rows, inputs, strict=True)]
        except Exception as error:  # whatever a model throws must not end the thread
            if len(inputs) == 1:
                return [error]
        half = len(inputs) // 2
        return [
            *self._outcomes(inputs[:half], role, instruction),
            *self._outcomes(inputs[half:], role, instruction),
        ]
