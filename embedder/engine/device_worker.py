"""A process that holds a model for another: see `embedder.engine.multi_device`.

Not multiprocessing's: that would run the caller's main module again in every worker, and under
Streamlit the main module is the page.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, Pipe
from typing import Any

from embedder.errors import UnavailableError
from embedder.types import Embedder, ModelCard, Settings

WORKER_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from embedder.engine.device_worker import main; main({fd})"
)


class DeviceWorker:
    """A model in a process of its own, for one caller at a time."""

    def __init__(self, name: str, settings: Settings) -> None:
        ours, theirs = Pipe()
        code = WORKER_PROGRAM.format(path=sys.path, fd=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self._connection, self._lock = ours, threading.Lock()
        self._connection.send((name, settings))

    def wait_until_loaded(self) -> ModelCard:
        """Wait for the model; raises what loading raised."""
        card: ModelCard = self._receive()
        return card

    def __call__(self, *arguments: Any) -> Any:
        """What the model's `embed` gives; raises what it raised, and `UnavailableError` for a
        process that has died."""
        with self._lock:
            try:
                self._connection.send(arguments)
            except OSError:
                raise _process_died_error() from None
            return self._receive()

    def close(self) -> None:
        """End the process once it is idle."""
        self._connection.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise _process_died_error() from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def main(fd: int) -> None:
    """The worker's process: load what is asked for, then embed until the caller is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to deal with
    connection = Connection(fd)
    try:
        name, settings = connection.recv()
        model = _load_and_report(connection, name, settings)
        while model:
            inputs, role, instruction = connection.recv()
            try:
                connection.send(model.embed(inputs, role, instruction))
            except Exception as error:  # the caller's, whatever it is
                connection.send(error)
    except (EOFError, OSError):
        return  # the caller is gone


def _load_and_report(connection: Connection, name: str, settings: Settings) -> Embedder | None:
    """The model, its card told to the caller; None where it does not load."""
    from embedder.families.registry import load

    try:
        model = load(name, settings)
    except Exception as error:  # the caller's, whatever it is
        connection.send(error)
        return None
    connection.send(model.card)
    return model


def _process_died_error() -> UnavailableError:
    return UnavailableError(
        "a device's process has died, perhaps for want of memory; give fewer devices, or a smaller "
        "model"
    )
