"""What libraries report while a model trains, and a person need not read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NOISE = ("transformers", "peft", "accelerate", "sentence_transformers", "datasets", "bitsandbytes")


@contextmanager
def quiet() -> Iterator[None]:
    """Errors alone come through."""
    levels = {name: logging.getLogger(name).level for name in NOISE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in NOISE:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
