"""The Ray cluster that `--workers` names: connecting, and what a worker may have of it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from indexer.errors import IndexerError

LOCAL_PREFIX = "local:"
OBJECT_STORE_BYTES = 256 << 20  # bytes of a local object store: only results pass through
CONNECT_TIMEOUT = 10.0  # seconds
CORES_PER_WORKER = 4  # of a worker without a GPU, on a cluster
RAY_ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # or it tells on our stdout of every worker that dies
}
TOKEN_HINT = (
    "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH, as Ray's manual says"
)


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """How many workers there are, and what each holds of its machine. `threads` decode."""

    workers: int
    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        return max(1, round(self.cpus))


@contextmanager
def connect(address: str) -> Iterator[None]:
    """Ray, connected to `address`: "local:N", "ray:auto" or "ray://HOST:PORT".

    Raises `IndexerError` where Ray is not installed, or nothing answers.
    """
    ray = _import_ray()
    if ray.is_initialized():  # somebody of this process is connected, and stays so
        yield
        return
    with _preserve_signal_handlers():
        _init_ray(ray, address)
    try:
        yield
    finally:
        with _preserve_signal_handlers():
            ray.shutdown()


def require_ray() -> None:
    """Raise `IndexerError` where Ray is not installed."""
    _import_ray()


def is_single_machine() -> bool:
    """Whether the cluster that we are connected to, and part of, has this machine alone."""
    return len(_list_nodes()) == 1


def plan_workers(address: str, *, gpu: bool) -> WorkerResources:
    """One worker a GPU where the model runs on one, else one for `CORES` cores; "local:N" is N
    workers, who share what this machine has."""
    nodes = _list_nodes()
    gpus = sum(node.get("GPU", 0) for node in nodes) if gpu else 0
    if address.startswith(LOCAL_PREFIX):
        count = int(address.removeprefix(LOCAL_PREFIX))
        return WorkerResources(count, nodes[0].get("CPU", 1) / count, min(1, gpus / count))
    if gpus:
        cpus = min(node.get("CPU", 0) // node["GPU"] for node in nodes if node.get("GPU"))
        return WorkerResources(int(gpus), cpus, 1)
    cpus = min(
        CORES_PER_WORKER, *(node["CPU"] for node in nodes if node.get("CPU")), CORES_PER_WORKER
    )
    return WorkerResources(max(1, sum(int(node.get("CPU", 0) // cpus) for node in nodes)), cpus, 0)


def check_workers(paths: Sequence[str]) -> None:
    """Raise `IndexerError` where a machine of the cluster lacks Polylens in this version, or what
    is at `paths` here."""
    import ray

    here = version("polylens")

    def look(paths: list[str]) -> tuple[str | None, list[str]]:  # runs there; nothing of ours yet
        import importlib.metadata
        import os.path

        try:
            found = importlib.metadata.version("polylens")
        except importlib.metadata.PackageNotFoundError:
            found = None
        return found, [path for path in paths if not os.path.exists(path)]  # noqa: PTH110

    asked = ray.remote(num_cpus=0)(look).remote(list(paths))
    there, missing = ray.get(asked)
    if there != here:
        has = f"polylens {there}" if there else "no polylens"
        raise IndexerError(
            f"the workers have {has}, and this machine has {here}; "
            f"install it there: pip install 'polylens[ray]=={here}'"
        )
    if missing:
        raise IndexerError(
            f"the workers do not see {missing[0]}: every machine of the cluster must have the "
            "folders under the same path, or name a source that all can reach"
        )


def make_actor_factory(job: object, share: WorkerResources) -> Callable[[], Any]:
    """What starts a worker. Ray does not start it again: whoever hands out the work does."""
    import ray

    from indexer.ingest.distributed.worker import Worker

    kind = ray.remote(Worker).options(
        num_cpus=share.cpus, num_gpus=share.gpus, max_concurrency=4, max_restarts=0
    )
    told = ray.put(job)
    return lambda: kind.remote(told)


def _init_ray(ray: Any, address: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address.startswith(LOCAL_PREFIX):
            count = int(address.removeprefix(LOCAL_PREFIX))
            ray.init(
                "local",
                num_cpus=max(count, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            _check_reachable(address)
            ray.init("auto" if address == "ray:auto" else address, **quiet)
    except Exception as error:  # Ray raises whatever it likes: ConnectionError, RuntimeError, ...
        raise IndexerError(_describe_connection_error(address, error)) from error


def _check_reachable(address: str) -> None:
    """Ray itself tries for half a minute where nothing listens; raises `OSError`."""
    if address.startswith("ray://"):
        parts = urlsplit(address)
        socket.create_connection((parts.hostname, parts.port), CONNECT_TIMEOUT).close()


def _describe_connection_error(address: str, error: Exception) -> str:
    why = (str(error).strip() or repr(error)).splitlines()[0].rstrip(".")
    if address.startswith(LOCAL_PREFIX):
        return f"Ray did not start on this machine: {why}"
    if "version" in why.lower():
        python = ".".join(map(str, sys.version_info[:3]))
        return (
            f"{address} runs another Ray or Python than this machine (Ray {version('ray')}, Python "
            f"{python}): {why}"
        )
    if address == "ray:auto":
        hint = "start one with: ray start --head"
    elif isinstance(error, OSError) and error.errno:
        hint = "the port of Ray's clients is 10001 unless it was set"
    else:
        hint = TOKEN_HINT
    return f"no Ray cluster answers at {address} ({why}); {hint}"


def _list_nodes() -> list[dict[str, float]]:
    """The resources of each machine."""
    return [node["Resources"] for node in _import_ray().nodes() if node["Alive"]]


def _import_ray() -> Any:
    for name, value in RAY_ENV.items():  # Ray reads these as it is imported, and nothing else
        os.environ.setdefault(name, value)  # noqa: TID251
    try:
        import ray
    except ImportError:
        raise IndexerError(
            "many workers need Ray, which is not installed; type: pip install 'polylens[ray]'"
        ) from None
    return ray


@contextmanager
def _preserve_signal_handlers() -> Iterator[None]:
    """Ray puts its own handlers in place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
