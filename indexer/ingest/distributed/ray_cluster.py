"""The Ray cluster that the settings name: connecting, and what each worker gets of it."""

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

from embedder.extras import require_extra
from indexer.errors import IndexerError

LOCAL_PREFIX = "local:"
OBJECT_STORE_BYTES = 256 << 20  # of a local cluster: only results pass through it
CONNECT_TIMEOUT = 10.0  # seconds
CORES_PER_WORKER = 4  # without a GPU, on a cluster
TOKEN_HINT = (
    "if it requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH, see Ray's manual"
)


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """How many workers there are, and what each gets of its machine. `threads` decode."""

    workers: int
    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        return max(1, round(self.cpus))


@contextmanager
def connect(address: str) -> Iterator[None]:
    """Connect to Ray at `address`: "local:N", "ray:auto" or "ray://HOST:PORT".

    Raises `MissingExtraError` where Ray is not installed, `IndexerError` where no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():  # this process is connected already, and stays so
        yield
        return
    with _preserve_signal_handlers():
        _init_ray(ray, address)
    try:
        yield
    finally:
        with _preserve_signal_handlers():
            ray.shutdown()


def is_single_machine() -> bool:
    """Whether the connected cluster is this machine alone."""
    return len(_list_nodes()) == 1


def plan_workers(address: str, *, gpu: bool) -> WorkerResources:
    """One worker per GPU where the model runs on one, otherwise one for `CORES_PER_WORKER` cores;
    "local:N" is N workers that share this machine."""
    nodes = _list_nodes()
    gpus = sum(node.get("GPU", 0) for node in nodes) if gpu else 0
    if address.startswith(LOCAL_PREFIX):
        count = int(address.removeprefix(LOCAL_PREFIX))
        return WorkerResources(count, nodes[0].get("CPU", 1) / count, min(1, gpus / count))
    if gpus:
        cpus = min(node.get("CPU", 0) // node["GPU"] for node in nodes if node.get("GPU"))
        return WorkerResources(int(gpus), cpus, 1)
    cpus = min([CORES_PER_WORKER, *(node["CPU"] for node in nodes if node.get("CPU"))])
    return WorkerResources(max(1, sum(int(node.get("CPU", 0) // cpus) for node in nodes)), cpus, 0)


def check_workers(paths: Sequence[str]) -> None:
    """Raise `IndexerError` where a machine of the cluster does not have this version of Polylens,
    or does not see `paths`."""
    import ray

    here = version("polylens")

    # runs on a worker
    def look(paths: list[str]) -> tuple[str | None, list[str]]:
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


def make_actor_factory(job: object, resources: WorkerResources) -> Callable[[], Any]:
    """A function that starts a worker. Ray does not restart workers: the worker pool does."""
    import ray

    from indexer.ingest.distributed.worker import Worker

    actor = ray.remote(Worker).options(
        num_cpus=resources.cpus, num_gpus=resources.gpus, max_concurrency=4, max_restarts=0
    )
    job_ref = ray.put(job)
    return lambda: actor.remote(job_ref)


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
            if address.startswith("ray://"):  # where nothing listens, Ray tries for half a minute
                parts = urlsplit(address)
                socket.create_connection((parts.hostname, parts.port), CONNECT_TIMEOUT).close()
            ray.init("auto" if address == "ray:auto" else address, **quiet)
    except Exception as error:  # of any type: ConnectionError, RuntimeError, ...
        raise IndexerError(_describe_connection_error(address, error)) from error


def _describe_connection_error(address: str, error: Exception) -> str:
    reason = (str(error).strip() or repr(error)).splitlines()[0].rstrip(".")
    if address.startswith(LOCAL_PREFIX):
        return f"Ray did not start on this machine: {reason}"
    if "version" in reason.lower():
        python = ".".join(map(str, sys.version_info[:3]))
        return (
            f"{address} runs another version of Ray or Python than this machine "
            f"(Ray {version('ray')}, Python {python}): {reason}"
        )
    if address == "ray:auto":
        hint = "start one with: ray start --head"
    elif isinstance(error, OSError) and error.errno:
        hint = "the port of Ray's clients is 10001 unless it was set"
    else:
        hint = TOKEN_HINT
    return f"no Ray cluster answers at {address} ({reason}); {hint}"


def _list_nodes() -> list[dict[str, float]]:
    """The resources of each machine."""
    return [node["Resources"] for node in import_ray().nodes() if node["Alive"]]


def import_ray() -> Any:
    """The module `ray`; raises `MissingExtraError` where it is not installed."""
    require_extra("ray")
    # or Ray reports every worker that dies on stdout; it reads this when it is imported
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")  # noqa: TID251
    import ray

    return ray


@contextmanager
def _preserve_signal_handlers() -> Iterator[None]:
    """Ray replaces the signal handlers of this process: put them back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
