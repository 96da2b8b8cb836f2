"""Embeds the sides of a benchmark, with images loaded a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from embedder.engine import default_worker_count
from embedder.errors import EmbedderError, UnavailableError
from embedder.types import Embedder, Input, Role, Vectors, normalize
from finetune.data.pairs import Side
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import Benchmark

CHUNK_SIZE = 256  # sides embedded at once; the next chunk is loaded at the same time
MAX_CHUNK_PIXELS = 1 << 28  # 800 MB

Progress = Callable[[str], None]
EmbedFunction = Callable[[Sequence[Input], Role, str | None], Vectors]


def embed_queries(embedder: Embedder, benchmark: Benchmark, progress: Progress) -> Vectors:
    """(queries, dim) unit rows; equal queries are embedded once.

    Raises `FinetuneError` where states are to be added and the model does not give them.
    """
    query_sides = [query.sides for query in benchmark.queries]
    index_of = {sides: index for index, sides in enumerate(dict.fromkeys(query_sides))}
    flat = [side for sides in index_of for side in sides]
    if len(flat) == len(index_of):
        rows = embed_sides(embedder, flat, benchmark.role, progress, "queries")
    else:
        states = getattr(embedder, "states", None)
        if states is None:
            raise FinetuneError(
                f"this benchmark adds states before normalization, and {embedder.card.name} does "
                "not give them; load the model itself, on one device"
            )
        rows = embed_sides(embedder, flat, benchmark.role, progress, "queries", states)
        starts = np.cumsum([0, *(len(sides) for sides in index_of)])[:-1]
        rows = normalize(np.add.reduceat(rows[:, : embedder.card.dim], starts, axis=0))
    return rows[[index_of[sides] for sides in query_sides]]


def embed_sides(
    embedder: Embedder,
    sides: Sequence[Side],
    role: Role,
    progress: Progress,
    noun: str,
    embed: EmbedFunction | None = None,
) -> Vectors:
    """(n, dim) rows in the order of `sides`, one call of `embed` for each instruction and chunk.

    Without `embed` they are the embedder's unit rows.
    """
    by_instruction: dict[str | None, list[int]] = {}
    for index, side in enumerate(sides):
        by_instruction.setdefault(side.instruction, []).append(index)
    order: list[int] = []
    chunks: list[Vectors] = []
    progress(f"{embedder.card.name}: {len(sides)} {noun}")
    for instruction, indices in by_instruction.items():
        for inputs in _load_inputs([sides[i] for i in indices], embedder.card.image_side):
            try:
                chunks.append((embed or embedder.embed)(inputs, role, instruction))
            except UnavailableError:
                raise
            except EmbedderError as error:
                if instruction is None:
                    raise
                raise FinetuneError(f"{error}; --plain leaves all instructions out") from error
            progress(f"{embedder.card.name}: {sum(map(len, chunks))} of {len(sides)} {noun}")
        order += indices
    if not chunks:
        return np.zeros((0, embedder.card.dim), np.float32)
    rows = np.concatenate(chunks)
    del chunks  # or all vectors would be in memory three times
    return rows[np.argsort(order)]


def _load_inputs(sides: Sequence[Side], image_side: int) -> Iterator[list[Input]]:
    """The inputs of `sides` in chunks, their images' shorter side about `image_side` pixels; the
    next chunk is loaded in the background."""
    size = max(1, min(CHUNK_SIZE, MAX_CHUNK_PIXELS // (2 * image_side**2)))
    loading: deque[list[Future[Input]]] = deque()
    with ThreadPoolExecutor(default_worker_count(), thread_name_prefix="load") as pool:
        for start in range(0, len(sides), size):
            chunk = sides[start : start + size]
            loading.append([pool.submit(side.to_input, image_side) for side in chunk])
            if len(loading) > 1:
                yield [future.result() for future in loading.popleft()]
        while loading:
            yield [future.result() for future in loading.popleft()]
