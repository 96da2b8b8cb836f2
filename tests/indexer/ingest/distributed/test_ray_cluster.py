"""What `--workers` accepts, and the errors where a cluster cannot be used. Starts no Ray."""

from __future__ import annotations

import re
import socket
from importlib.util import find_spec

import pytest

from indexer.collections import open_backend
from indexer.config import load_config
from indexer.errors import ConfigError, IndexerError
from indexer.ingest.distributed import ray_cluster
from indexer.ingest.distributed.coordinator import Coordinator
from indexer.ingest.types import IngestOptions

# not importorskip: Ray must not be imported before its environment is set
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="polylens[ray] is not installed")


@pytest.mark.parametrize(
    ("value", "threads", "cluster"),
    [
        ("0", 0, None),
        ("4", 4, None),
        (3, 3, None),
        ("local:2", 0, "local:2"),
        ("ray:auto", 0, "ray:auto"),
        ("ray://head.example:10001", 0, "ray://head.example:10001"),
        ("ray://[::1]:10001", 0, "ray://[::1]:10001"),
    ],
)
def test_workers_are_threads_or_a_cluster(value, threads, cluster):
    config = load_config({"workers": value})
    assert (config.decode_threads, config.cluster) == (threads, cluster)


@pytest.mark.parametrize("value", ["-1", "local:0", "local:", "ray:", "ray://host", "many", "1.5"])
def test_other_values_are_refused(value):
    with pytest.raises(ConfigError, match=r"local:N, ray:auto or ray://HOST:PORT"):
        load_config({"workers": value})


@pytest.fixture
def index(config, colors):
    return open_backend(config).create("default", colors.card, None)


@needs_ray
def test_workers_elsewhere_cannot_use_a_folder(config, index, tmp_path):
    with pytest.raises(
        IndexerError, match=r"put it on a Qdrant server .* or use --workers local:N"
    ):
        Coordinator("ray://head.example:10001", config, index, [tmp_path], IngestOptions())


@needs_ray
def test_no_cluster_answers(monkeypatch):
    # another test may have started a local cluster in this process
    monkeypatch.setattr(ray_cluster.import_ray(), "is_initialized", lambda: False)
    with socket.socket() as bound:  # and so nobody can listen there
        bound.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{bound.getsockname()[1]}"
        with (
            pytest.raises(IndexerError, match=f"no Ray cluster answers at {re.escape(address)}"),
            ray_cluster.connect(address),
        ):
            pass


def set_machines(monkeypatch, *resources: dict[str, float]) -> None:
    monkeypatch.setattr(ray_cluster, "_list_nodes", lambda: list(resources))


def test_one_worker_per_gpu_with_its_share_of_the_cores(monkeypatch):
    set_machines(monkeypatch, {"CPU": 8}, {"CPU": 64, "GPU": 8}, {"CPU": 24, "GPU": 4})
    assert ray_cluster.plan_workers("ray:auto", gpu=True) == ray_cluster.WorkerResources(12, 6, 1)


def test_one_worker_for_four_cores_without_a_gpu(monkeypatch):
    set_machines(monkeypatch, {"CPU": 16}, {"CPU": 6})
    assert ray_cluster.plan_workers("ray:auto", gpu=True) == ray_cluster.WorkerResources(5, 4, 0)
    assert ray_cluster.plan_workers("ray:auto", gpu=True).threads == 4
    set_machines(monkeypatch, {"CPU": 2})
    assert ray_cluster.plan_workers("ray:auto", gpu=False) == ray_cluster.WorkerResources(1, 2, 0)


def test_local_workers_share_this_machine(monkeypatch):
    set_machines(monkeypatch, {"CPU": 8, "GPU": 2})
    assert ray_cluster.plan_workers("local:2", gpu=True) == ray_cluster.WorkerResources(2, 4, 1)
    assert ray_cluster.plan_workers("local:4", gpu=True) == ray_cluster.WorkerResources(4, 2, 0.5)
    assert ray_cluster.plan_workers("local:4", gpu=False) == ray_cluster.WorkerResources(4, 2, 0)
    assert ray_cluster.plan_workers("local:16", gpu=False).threads == 1
