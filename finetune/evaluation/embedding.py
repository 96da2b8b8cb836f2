"""Sides -> vectors, pictures opened a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from embedder.engine.engine import default_worker_count
from embedder.errors import EmbedderError, UnavailableError
from embedder.types import Embedder, Input, Role, Vectors
from embedder.vectors import normalize
from finetune.data.pairs import Side
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import Benchmark

CHUNK_SIZE = 256  # sides that are embedded at once; as many more are being opened meanwhile
MAX_CHUNK_PIXELS = 1 << 28  # of a chunk's pictures, 800 MB

Progress = Callable[[str], None]
EmbedFunction = Callable[[Sequence[Input], Role, str | None], Vectors]


def embed_documents(embedder: Embedder, benchmark: Benchmark, progress: Progress) -> Vectors:
    """(documents, dim) unit rows; raises `FinetuneError`, `EmbedderError`."""
    return embed_sides(embedder, benchmark.documents, "document", progress, "documents")


def embed_queries(embedder: Embedder, benchmark: Benchmark, progress: Progress) -> Vectors:
    """(questions, dim) unit rows; equal questions are embedded once."""
    asked = [question.sides for question in benchmark.queries]
    places = {sides: place for place, sides in enumerate(dict.fromkeys(asked))}
    if all(len(sides) == 1 for sides in places):
        only = [sides[0] for sides in places]
        rows = embed_sides(embedder, only, benchmark.role, progress, "questions")
    else:
        rows = _embed_summed(embedder, list(places), benchmark.role, progress)
    return rows[[places[sides] for sides in asked]]


def embed_sides(
    embedder: Embedder, sides: Sequence[Side], role: Role, progress: Progress, what: str
) -> Vectors:
    """(n, dim) unit rows in the order of `sides`, a call for each instruction and chunk."""
    return _embed_rows(embedder, embedder.embed, sides, role, progress, what)


def _embed_summed(
    embedder: Embedder, asked: Sequence[tuple[Side, ...]], role: Role, progress: Progress
) -> Vectors:
    """Unit rows of the sums of the states of each question's sides."""
    states = getattr(embedder, "states", None)
    if states is None:
        raise FinetuneError(
            f"{embedder.card.name} does not tell its states before they are brought to length 1, "
            "which this benchmark adds; load the model itself, on one device"
        )
    flat = [side for sides in asked for side in sides]
    rows = _embed_rows(embedder, states, flat, role, progress, "questions")[:, : embedder.card.dim]
    starts = np.cumsum([0, *(len(sides) for sides in asked[:-1])])
    return normalize(np.add.reduceat(rows, starts, axis=0))


def _embed_rows(
    embedder: Embedder,
    embed: EmbedFunction,
    sides: Sequence[Side],
    role: Role,
    progress: Progress,
    what: str,
) -> Vectors:
    made: list[tuple[list[int], Vectors]] = []
    done = 0
    progress(f"{embedder.card.name}: {len(sides)} {what}")
    for instruction, places in _group_by_instruction(sides).items():
        chosen = [sides[place] for place in places]
        waiting = iter(places)
        for inputs in _load_inputs(chosen, embedder.card.image_side):
            rows = _embed_chunk(embedder, embed, inputs, role, instruction)
            made.append((list(islice(waiting, len(inputs))), rows))
            done += len(inputs)
            progress(f"{embedder.card.name}: {done} of {len(sides)} {what}")
    out = np.zeros((len(sides), made[0][1].shape[1] if made else embedder.card.dim), np.float32)
    for where, rows in made:
        out[where] = rows
    return out


def _embed_chunk(
    embedder: Embedder,
    embed: EmbedFunction,
    inputs: list[Input],
    role: Role,
    instruction: str | None,
) -> Vectors:
    try:
        return embed(inputs, role, instruction)
    except UnavailableError:
        raise
    except EmbedderError as error:
        if instruction is None:
            raise
        raise FinetuneError(f"{error}; --plain leaves all instructions out") from error


def _group_by_instruction(sides: Sequence[Side]) -> Mapping[str | None, list[int]]:
    places: dict[str | None, list[int]] = {}
    for place, side in enumerate(sides):
        places.setdefault(side.instruction, []).append(place)
    return places


def _load_inputs(sides: Sequence[Side], pixels: int) -> Iterator[list[Input]]:
    """The inputs of `sides`, a chunk at a time, their pictures' shorter side about `pixels`; the
    next chunk is opened meanwhile."""
    size = max(1, min(CHUNK_SIZE, MAX_CHUNK_PIXELS // (2 * pixels**2)))
    ahead: deque[list[Future[Input]]] = deque()
    with ThreadPoolExecutor(default_worker_count(), thread_name_prefix="open") as pool:
        for start in range(0, len(sides), size):
            ahead.append([pool.submit(s.to_input, pixels) for s in sides[start : start + size]])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.popleft()]
        while ahead:
            yield [future.result() for future in ahead.popleft()]
