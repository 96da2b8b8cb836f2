"""`python toy_server.py [FIELD=VALUE ...]`: serves a model that does as its texts say.

"sleep 0.3 ..." takes that long, "bad" is refused, "fault" breaks. Role, instruction and text are in
the vector: (8,), cut to 4 where asked. `load=SECONDS` delays the model, `drain=SECONDS` is how long
requests may take after a signal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.server import run
from embedder.server.schemas import ServerLimits
from embedder.server.service import Service
from embedder.types import Input, ModelCard, Role, Vectors


class Toy(EmbeddingModel):
    """Quick, exact, obedient."""

    card = ModelCard(
        name="toy",
        family="test",
        revision="1",
        dim=8,
        modalities=("text",),
        composes=False,
        languages=("en",),
        license="Apache-2.0",
        source="tests",
        fingerprint="toy-1",
        matryoshka=(4,),
    )

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        texts = [item.text or "" for item in inputs]
        time.sleep(max(float(t.split()[1]) if t.startswith("sleep") else 0 for t in texts))
        if "bad" in texts:
            raise EmbedderError("this text is bad")
        if "fault" in texts:
            raise ZeroDivisionError("secret detail")
        return np.stack([row(f"{role}|{instruction}|{text}") for text in texts])


def row(seed: str) -> np.ndarray:
    numbers = np.frombuffer(seed.encode().ljust(8, b".")[-8:], np.uint8).astype(np.float32) - 80
    return numbers / np.linalg.norm(numbers)


def load(seconds: float) -> Toy:
    time.sleep(seconds)
    return Toy()


def main() -> None:
    options = {k: float(v) if "." in v else int(v) for k, v in (w.split("=") for w in sys.argv[1:])}
    delay, batch = options.pop("load", 0), options.pop("batch", 32)
    if drain := options.pop("drain", 0):
        run.DRAIN_TIMEOUT, run.EXIT_TIMEOUT = drain, drain + 2.0

    def notify(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    run.run_server(
        lambda: load(delay),
        Service(ServerLimits(**options), max_batch=batch),
        port=0,
        notify=notify,
    )


if __name__ == "__main__":
    main()
