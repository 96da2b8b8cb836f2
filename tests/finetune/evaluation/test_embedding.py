"""The sides of a benchmark are embedded in chunks, in their order."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np

from finetune.data.pairs import Side
from finetune.evaluation.embedding import embed_sides

DIM = 1024


class Numbered:
    """Embeds a number as a row of that number."""

    card = SimpleNamespace(name="numbered", dim=DIM, image_side=64)

    def embed(self, inputs, role, instruction=None):
        numbers = np.array([int(item.text) for item in inputs], np.float32)
        return np.repeat(numbers[:, None], DIM, axis=1)


def test_rows_keep_the_order_of_the_sides():
    sides = [Side(str(n), instruction=(None, "a", "b")[n % 3]) for n in range(700)]
    notes = []
    rows = embed_sides(Numbered(), sides, "document", notes.append, "documents")
    assert rows[:, 0].tolist() == list(range(700))
    assert notes[-1] == "numbered: 700 of 700 documents"
    assert embed_sides(Numbered(), [], "document", notes.append, "documents").shape == (0, DIM)


def test_vectors_are_in_memory_at_most_twice():
    sides = [Side(str(n)) for n in range(4000)]
    tracemalloc.start()
    rows = embed_sides(Numbered(), sides, "document", lambda _: None, "documents")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * rows.nbytes
