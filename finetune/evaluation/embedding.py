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
    """(queries, dim) unit rows; equal queries are embedded once."""
    query_sides = [query.sides for query in benchmark.queries]
    index_of = {sides: index for index, sides in enumerate(dict.fromkeys(query_sides))}
    flat = [side for sides in index_of for side in sides]
    if len(flat) == len(index_of):
        rows = embed_sides(embedder, flat, benchmark.role, progress, "queries")
    else:
        starts = np.cumsum([0, *(len(sides) for sides in index_of)])[:-1]
        states = _embed_states(embedder, flat, benchmark.role, progress)
        rows = normalize(np.add.reduceat(states, starts, axis=0))
    return rows[[index_of[sides] for sides in query_sides]]


def embed_sides(
    embedder: Embedder, sides: Sequence[Side], role: Role, progress: Progress, noun: str
) -> Vectors:
    """(n, dim) unit rows in the order of `sides`, one call for each instruction and chunk."""
    return _embed_rows(embedder, embedder.embed, sides, role, progress, noun)


def _embed_states(
    embedder: Embedder, sides: Sequence[Side], role: Role, progress: Progress
) -> Vectors:
    """(n, dim) rows before normalization."""
    states = getattr(embedder, "states", None)
    if states is None:
        raise FinetuneError(
            f"this benchmark adds states before normalization, and {embedder.card.name} does not "
            "give them; load the model itself, on one device"
        )
    return _embed_rows(embedder, states, sides, role, progress, "queries")[:, : embedder.card.dim]


def _embed_rows(
    embedder: Embedder,
    embed: EmbedFunction,
    sides: Sequence[Side],
    role: Role,
    progress: Progress,
    noun: str,
) -> Vectors:
    by_instruction: dict[str | None, list[int]] = {}
    for index, side in enumerate(sides):
        by_instruction.setdefault(side.instruction, []).append(index)
    chunks: list[tuple[list[int], Vectors]] = []
    done = 0
    progress(f"{embedder.card.name}: {len(sides)} {noun}")
    for instruction, indices in by_instruction.items():
        start = 0
        for inputs in _load_inputs([sides[i] for i in indices], embedder.card.image_side):
            rows = _embed_chunk(embed, inputs, role, instruction)
            chunks.append((indices[start : start + len(inputs)], rows))
            start += len(inputs)
            done += len(inputs)
            progress(f"{embedder.card.name}: {done} of {len(sides)} {noun}")
    dim = chunks[0][1].shape[1] if chunks else embedder.card.dim
    out = np.zeros((len(sides), dim), np.float32)
    for where, rows in chunks:
        out[where] = rows
    return out


def _embed_chunk(
    embed: EmbedFunction, inputs: list[Input], role: Role, instruction: str | None
) -> Vectors:
    try:
        return embed(inputs, role, instruction)
    except UnavailableError:
        raise
    except EmbedderError as error:
        if instruction is None:
            raise
        raise FinetuneError(f"{error}; --plain leaves all instructions out") from error


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
