"""What `--workers` may name, and what is said where that is not reached. Starts no Ray."""

from __future__ import annotations

import builtins
import socket
from importlib.util import find_spec

import pytest

from indexer.config import resolve
from indexer.errors import ConfigError, IndexerError
from indexer.ingest import IngestOptions
from indexer.places import place_of
from indexer.workers import cluster
from indexer.workers.fleet import Fleet

# not importorskip: Ray must not be imported before our settings for it are made
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="polylens[ray] is not installed")


@pytest.mark.parametrize(
    ("given", "threads", "fleet"),
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
def test_workers_are_threads_or_a_fleet(given, threads, fleet):
    config = resolve({"workers": given})
    assert (config.threads, config.fleet) == (threads, fleet)


@pytest.mark.parametrize("given", ["-1", "local:0", "local:", "ray:", "ray://host", "many", "1.5"])
def test_what_is_neither_is_wrong(given):
    with pytest.raises(ConfigError, match=r"local:N, ray:auto or ray://HOST:PORT"):
        resolve({"workers": given})


@pytest.fixture
def index(config, colours):
    return place_of(config).create("default", colours.card, None)


@needs_ray
def test_workers_elsewhere_cannot_write_to_a_folder(config, index, tmp_path):
    with pytest.raises(
        IndexerError, match=r"put it on a Qdrant server .* or use --workers local:N"
    ):
        Fleet("ray://head.example:10001", config, index, [tmp_path], IngestOptions())


def test_without_ray_it_says_what_to_install(config, index, tmp_path, monkeypatch):
    original = builtins.__import__

    def absent(name, *rest, **named):
        if name == "ray":
            raise ImportError(name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(IndexerError, match=r"pip install 'polylens\[ray\]'"):
        Fleet("local:2", config, index, [tmp_path], IngestOptions())


@needs_ray
def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        pytest.raises(IndexerError, match=rf"no Ray cluster answers at ray://127\.0\.0\.1:{port}"),
        cluster.connected(f"ray://127.0.0.1:{port}"),
    ):
        pass


def machines(monkeypatch, *resources: dict[str, float]) -> None:
    monkeypatch.setattr(cluster, "_nodes", lambda: list(resources))


def test_one_worker_a_gpu_with_its_share_of_the_cores(monkeypatch):
    machines(monkeypatch, {"CPU": 8}, {"CPU": 64, "GPU": 8}, {"CPU": 24, "GPU": 4})
    assert cluster.share("ray:auto", gpu=True) == cluster.Share(12, 6, 1)


def test_one_worker_for_four_cores_where_there_is_no_gpu(monkeypatch):
    machines(monkeypatch, {"CPU": 16}, {"CPU": 6})
    assert cluster.share("ray:auto", gpu=True) == cluster.Share(5, 4, 0)
    assert cluster.share("ray:auto", gpu=True).threads == 4
    machines(monkeypatch, {"CPU": 2})
    assert cluster.share("ray:auto", gpu=False) == cluster.Share(1, 2, 0)


def test_local_workers_share_what_there_is(monkeypatch):
    machines(monkeypatch, {"CPU": 8, "GPU": 2})
    assert cluster.share("local:2", gpu=True) == cluster.Share(2, 4, 1)
    assert cluster.share("local:4", gpu=True) == cluster.Share(4, 2, 0.5)
    assert cluster.share("local:4", gpu=False) == cluster.Share(4, 2, 0)
    assert cluster.share("local:16", gpu=False).threads == 1
