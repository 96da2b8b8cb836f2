"""What the towers made of texts and pictures, kept in memory and in a file.

The file is records of one size, each a key of 16 bytes and float32 numbers; they are appended as
they come, so what a crash cuts off is the last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

Array = NDArray[np.float32]
KEY_SIZE = 16  # bytes


class FeatureCache:
    """Rows of `shape` by key. Thread-safe."""

    def __init__(self, shape: tuple[int, ...], file: Path | None = None) -> None:
        self._shape, self._file = shape, file
        self._size = KEY_SIZE + 4 * prod(shape)
        self._rows: dict[bytes, Array] = {}
        self._lock = threading.Lock()
        if file and file.exists():
            self._read(file)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def get_or_compute(self, key: bytes, compute: Callable[[], Array]) -> Array:
        """The row of `key`; `make` gives it the first time."""
        found = self._rows.get(key)
        if found is None:
            found = compute().reshape(self._shape)
            self.put(key, found)
        return found

    def put(self, key: bytes, row: Array) -> None:
        """Keep the row of `key`."""
        with self._lock:
            self._rows[key] = row
            if self._file:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("ab") as stream:
                    stream.write(key + row.astype("<f4").tobytes())

    def _read(self, file: Path) -> None:
        data = file.read_bytes()
        whole = len(data) - len(data) % self._size
        if whole < len(data):  # or all that follows would be out of step
            with file.open("r+b") as stream:
                stream.truncate(whole)
        for start in range(0, whole, self._size):
            numbers = np.frombuffer(data, "<f4", prod(self._shape), start + KEY_SIZE)
            self._rows[data[start : start + KEY_SIZE]] = numbers.reshape(self._shape)


def text_key(text: str) -> bytes:
    """The key of a text."""
    from blake3 import blake3

    return blake3(text.encode("utf-8", "surrogatepass")).digest(KEY_SIZE)


def image_key(image: Image) -> bytes:
    """The key of a picture's pixels."""
    from blake3 import blake3

    about = f"{image.mode} {image.size} ".encode()
    return blake3(about + image.tobytes()).digest(KEY_SIZE)
