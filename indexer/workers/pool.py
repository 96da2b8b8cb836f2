"""Hands shards to the workers, and goes on when workers die."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from embedder.types import Vectors
from indexer.errors import IndexerError
from indexer.types import Skip
from indexer.walk import printable
from indexer.workers.job import Done, Outcome, Shard

HANDS = 2  # shards that a worker has at once: one is embedded, the other decoded or written
PARTS = 8  # into which a shard is cut that a worker died of
DEADLY = 2  # deaths with nothing else in hand, after which a file is left out
TURN = 0.5  # seconds between two looks at `stop`
PATIENCE = 600.0  # seconds to wait for a worker where there is none

Handle = Any  # a Ray actor of the class `Worker`
Ref = Any


@dataclass(slots=True, eq=False)
class Member:
    """A worker that is ready, and what it has in hand."""

    handle: Handle
    alone: bool = False  # what it has in hand may kill it: it gets nothing else
    hands: dict[Ref, Shard] = field(default_factory=dict)


class Pool:
    """`size` workers, a new one for each that dies.

    Raises `IndexerError` where a worker says that it cannot work, where none starts, and where they
    die and nothing gets done. `patience` is in seconds.
    """

    def __init__(self, hire: Callable[[], Handle], size: int, patience: float = PATIENCE) -> None:
        self._hire, self._patience = hire, patience
        self._starting: dict[Ref, Handle] = {}
        self._members: list[Member] = []
        self._suspects: deque[Shard] = deque()
        self._given_up: deque[Done] = deque()
        self._deaths = 0  # since something got done
        self._since = time.monotonic()  # when there was a worker last
        self._most = 2 * size + 8
        for _ in range(size):
            self._start()

    def gather(self) -> None:
        """Wait until all are there."""
        while self._starting:
            self._happened()

    def run(self, shards: Iterator[Shard], stop: threading.Event) -> Iterator[Done]:
        """What became of each shard, as they come. `stop` ends it after what is in hand."""
        while True:
            if not stop.is_set():
                self._feed(shards)
            while self._given_up:
                yield self._given_up.popleft()
            if not any(m.hands for m in self._members) and (stop.is_set() or self._members):
                return  # those who are there got nothing: there is nothing left
            yield from self._collected()

    def embed(self, *arguments: object) -> Vectors:
        """`Worker.embed`, by whoever has least to do."""
        import ray

        while True:
            while not self._members:
                self._happened()
            member = min(self._members, key=lambda m: (m.alone, len(m.hands)))
            try:
                rows: Vectors = ray.get(member.handle.embed.remote(*arguments))
                return rows
            except ray.exceptions.RayError as error:
                self._bury(member, error)

    def close(self) -> None:
        import ray

        for handle in (*(m.handle for m in self._members), *self._starting.values()):
            ray.kill(handle)

    def _start(self) -> None:
        handle = self._hire()
        self._starting[handle.ready.remote()] = handle

    def _happened(self, *given: Ref) -> list[Ref]:
        """What is done of what was given out; waits for a turn at most, and welcomes who came."""
        import ray

        ready = ray.wait([*given, *self._starting], num_returns=1, timeout=TURN)[0]
        for ref in ready:
            if ref in self._starting:
                self._welcome(ref)
        if not self._members and time.monotonic() - self._since > self._patience:
            raise IndexerError(
                f"no worker has started within {self._patience:.0f} s: the cluster has not the "
                "GPUs or cores free that one needs; `ray status` on it tells what it has"
            )
        return [ref for ref in ready if ref in given]

    def _welcome(self, ref: Ref) -> None:
        import ray

        handle = self._starting.pop(ref)
        try:
            ray.get(ref)
        except ray.exceptions.RayError as error:
            self._mourn(error)
            self._start()
        else:
            self._members.append(Member(handle))

    def _feed(self, shards: Iterator[Shard]) -> None:
        for _ in range(HANDS):  # everyone one, then everyone another
            for member in self._members:
                if member.alone or len(member.hands) >= HANDS:
                    continue
                if self._suspects:
                    if not member.hands:
                        self._give(member, self._suspects.popleft(), alone=True)
                elif (shard := next(shards, None)) is not None:
                    self._give(member, shard, alone=False)

    def _give(self, member: Member, shard: Shard, *, alone: bool) -> None:
        member.alone = alone
        member.hands[member.handle.work.remote(shard)] = shard

    def _collected(self) -> Iterator[Done]:
        owners = {ref: member for member in self._members for ref in member.hands}
        for ref in self._happened(*owners):
            yield from self._answer(owners[ref], ref)

    def _answer(self, member: Member, ref: Ref) -> Iterator[Done]:
        import ray

        try:
            done: Any = ray.get(ref)
        except ray.exceptions.RayError as error:
            self._bury(member, error)
            return
        del member.hands[ref]
        member.alone, self._deaths = False, 0
        yield done

    def _bury(self, member: Member, error: Exception) -> None:
        """Another takes its place; what it had in hand is cut up, and given out piece by piece."""
        import ray

        self._mourn(error)
        self._members.remove(member)
        self._since = time.monotonic()
        ray.kill(member.handle)  # it may live on where we cannot hear it
        for shard in member.hands.values():
            self._suspect(shard)
        self._start()

    def _suspect(self, shard: Shard) -> None:
        """Every file of `shard` may be the one that killed its worker."""
        if len(shard.tasks) == 1 and shard.deaths >= DEADLY:
            path = printable(shard.tasks[0].todo.path)
            why = f"{DEADLY + 1} workers have died with it in hand: it takes too much memory, or "
            why += "crashes its decoder or the model"
            self._given_up.append(Done([Outcome(Skip(path, "embed-failed", why))]))
            return
        size = -(-len(shard.tasks) // PARTS)
        for start in range(0, len(shard.tasks), size):
            self._suspects.append(Shard(shard.tasks[start : start + size], shard.deaths + 1))

    def _mourn(self, error: Exception) -> None:
        """Raise where a worker has said why, or where too many have died in a row."""
        import ray

        if isinstance(error, ray.exceptions.RayTaskError):
            cause = error.cause
            if isinstance(cause, IndexerError):
                raise IndexerError(str(cause)) from None
            raise IndexerError(f"a worker failed: {type(cause).__name__}: {cause}") from error
        self._deaths += 1
        if self._deaths > self._most:
            first = str(error).strip().splitlines()[0]
            raise IndexerError(
                f"{self._deaths} workers have died one after another, and nothing got done "
                f"({first}); is there memory enough for the model?"
            ) from error
