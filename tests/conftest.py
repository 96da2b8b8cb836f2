"""Fixtures that many tests share: small real embedders, pictures, a collection."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json

# first imported here: it keeps the current folder, in which spawned processes start, and a test's
# own folder is deleted
import multiprocessing.process  # noqa: F401
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy as np
import pytest
from PIL import Image

import embedder
from embedder.engine import Engine
from embedder.types import Settings
from indexer.config import Config, load_config
from tests.embedders import ColorEmbedder

# a busy machine may take long for any example
hypothesis.settings.register_profile("any speed", deadline=None)
hypothesis.settings.load_profile("any speed")

TESTS = Path(__file__).parent
SERVERS = TESTS / "servers"
LONG = (  # files and folders that take more than a few seconds, the longest first
    "test_docs.py",
    "app/test_browser.py",
    "indexer/ingest/distributed/",
    "indexer/reindex/",
    "indexer/test_reindex.py",
    "test_bench.py",
    "embedder/test_engine.py",
    "compatibility/",
    "finetune/training/",
    "indexer/ingest/test_pipeline.py",
    "indexer/search/test_searcher.py",
    "indexer/stores/test_contract.py",
    "indexer/stores/test_edge_server.py",
    "privacy/",
    "indexer/test_damage.py",
    "indexer/ingest/test_consistency.py",
    "indexer/test_full_disk.py",
    "test_keys.py",
    "indexer/collections/",
    "indexer/cli/",
    "embedder/test_hub.py",
    "embedder/test_cli.py",
    "embedder/test_server.py",
    "indexer/ingest/test_crash.py",
    "embedder/test_starter.py",
    "embedder/test_contract.py",
    "finetune/data/test_commands.py",
    "servers/",
    "recipes/",
    "test_python_docs.py",
    "finetune/synthesis/test_command.py",
    "finetune/evaluation/test_commands.py",
    "indexer/transfer/",
    "app/",
)
FROZEN: set[str] = set()  # names of imported modules that are kept out of garbage collections
# A real Qdrant server for the tests that are marked `server`; tests do not see these variables.
REAL = {
    name: os.environ[name]
    for name in ("QDRANT_URL", "QDRANT_API_KEY", "POLYLENS_QDRANT_GRPC_PORT")
    if os.environ.get(name)
}
SHUFFLED = bool(os.environ.get("QDRANT_SHUFFLE_TIES"))  # by the stand-in, as a real server does

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs under test inherit it
os.environ.update(
    SE_OFFLINE="true", SE_AVOID_STATS="true"
)  # selenium contacts its makers otherwise
MEMORY = Path("/dev/shm")  # stores flush to disk often: a third faster where that is memory
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))  # where tmp_path is


@pytest.fixture(autouse=True, scope="session")
def quiet_session(tmp_path_factory) -> Iterator[None]:
    """Nor does what several tests share; see `quiet_environment`."""
    with pytest.MonkeyPatch.context() as patch:
        _keep_apart(tmp_path_factory.mktemp("session"), patch)
        yield


@pytest.fixture(autouse=True)
def quiet_environment(tmp_path, monkeypatch) -> None:
    """No test reads or writes the user's own collections or settings."""
    _keep_apart(tmp_path, monkeypatch)


def _keep_apart(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("POLYLENS_", "QDRANT_"))]:
        patch.delenv(name)
    patch.setenv("XDG_DATA_HOME", str(folder / "xdg-data"))
    patch.setenv("XDG_CONFIG_HOME", str(folder / "xdg-config"))


@pytest.fixture
def colors() -> ColorEmbedder:
    return ColorEmbedder()


@pytest.fixture(scope="session")
def photo() -> Callable[..., Path]:
    """`photo(path, seed_or_color, size)` writes a picture in the format of the path's suffix."""

    def make(
        path: Path, look: int | str | tuple[int, int, int] = 0, size=(120, 90), **save
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(look, int):
            noise = np.random.default_rng(look).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        else:
            image = Image.new("RGB", size, look)
        image.save(path, **save)
        return path

    return make


@pytest.fixture(scope="session")
def text_reranker(tmp_path_factory) -> Path:
    """The folder of a tiny cross encoder that reads pairs of texts."""
    from tests.rerankers import make_text_reranker  # imports torch

    return make_text_reranker(tmp_path_factory.mktemp("rerankers") / "text")


@pytest.fixture(scope="session")
def qwen3_vl_reranker(tmp_path_factory) -> Path:
    """The folder of a tiny Qwen3-VL-Reranker."""
    from tests.rerankers import make_qwen3_vl_reranker

    return make_qwen3_vl_reranker(tmp_path_factory.mktemp("rerankers") / "qwen3-vl")


@pytest.fixture
def config(tmp_path) -> Config:
    """Settings whose store is an empty folder of this test's own."""
    return load_config({"store": str(tmp_path / "store")})


PARITY = Path(__file__).parent / "embedder" / "parity"


def _tiny() -> ModuleType:
    """embedder/parity/tiny.py belongs to no package: the recorder runs it under other versions."""
    spec = importlib.util.spec_from_file_location("tiny", PARITY / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny"] = module
    spec.loader.exec_module(module)
    return module


tiny = _tiny()


def build(family: str, form: str | None, folder: Path) -> Path:
    """The checkpoint, and beside it what a checkpoint of one's own says of how it was trained."""
    tiny.build(family, folder)
    told = tiny.fixture(family)["forms"].get(form, {})
    if told:
        square = (told["resize"] or [0])[0]
        pixels = [told.get("min_pixels", 0), told.get("max_pixels", 0)]
        ours = {"family": "vlm2vec", "version": int(form[1]), "square": square, "pixels": pixels}
        ours["prompt_format"] = "readme" if form.endswith("readme") else "mmeb"
        (folder / "polylens.json").write_text(json.dumps(ours))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[..., Path]:
    """The folder of a family's tiny model."""

    @cache
    def built(family: str, form: str | None) -> Path:
        return build(family, form, tmp_path_factory.mktemp(family) / "model")

    return lambda family, form=None: built(family, form)


@pytest.fixture(scope="session")
def model(checkpoint) -> Callable[..., Engine]:
    """A family's tiny model, loaded once."""

    @cache
    def loaded(family: str, form: str | None) -> Engine:
        return embedder.load(str(checkpoint(family, form)), Settings(device="cpu"))

    return lambda family, form=None: loaded(family, form)


def pytest_sessionstart() -> None:
    gc.disable()  # imports make millions of objects, and hardly any garbage


def pytest_collection_finish() -> None:
    _freeze_imports()
    gc.enable()


def pytest_runtest_logfinish() -> None:
    _freeze_imports()


def _freeze_imports() -> None:
    """Keep what has been imported out of full collections, which would look through it again and
    again: a fifth of the time of the tests, half of it where models are trained."""
    if len(sys.modules) > len(FROZEN) + 100:
        gc.collect()
        gc.freeze()
        FROZEN.update(sys.modules)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of servers and long files; start long files first, so that no worker ends late."""
    order = {}
    for item in items:
        if "qdrant" in getattr(item, "fixturenames", ()):
            item.add_marker("server")  # can run against a real server too
        path = item.path.relative_to(TESTS).as_posix()
        order[item] = next((n for n, prefix in enumerate(LONG) if path.startswith(prefix)), None)
        if order[item] is not None:
            item.add_marker("long")
    items.sort(key=lambda item: len(LONG) if order[item] is None else order[item])


def _server_module(name: str) -> ModuleType:
    """A module of tests/servers, which belongs to no package."""
    if str(SERVERS) not in sys.path:
        sys.path.insert(0, str(SERVERS))
    return importlib.import_module(name)


@pytest.fixture(scope="session")
def qdrant_process() -> Iterator[object]:
    """The server behind `qdrant`: started once."""
    if REAL:
        yield _server_module("qdrant_real").Real(
            REAL["QDRANT_URL"],
            REAL.get("QDRANT_API_KEY"),
            int(REAL.get("POLYLENS_QDRANT_GRPC_PORT", 0)) or None,
        )
        return
    if SHUFFLED:
        _server_module("qdrant_ties").shuffle_ties()
    with _server_module("qdrant").StandIn() as standing_in:
        yield standing_in


@pytest.fixture
def qdrant(request: pytest.FixtureRequest, qdrant_process) -> Iterator[object]:
    """An empty Qdrant server: `url`, `grpc_port`, `api_key`, `name(stem)` for a new collection.

    A stand-in (tests/servers/qdrant.py) with `faults`, `cluster`, `stop()`, `start()`,
    `kill_after()` and `require(api_key, read_key)`; where QDRANT_URL is set, that server, whose
    `faults` is None.
    Tests that need the faults, or the server to stop, are marked `needs_faults`; those that meet
    what a real server does wrong (tests/servers/qdrant_real.py lists it) `wrong_on_a_real_server`.
    """
    if qdrant_process.faults is None and request.node.get_closest_marker("needs_faults"):
        pytest.skip("a real server has no faults to order")
    wrong = request.node.get_closest_marker("wrong_on_a_real_server")
    if qdrant_process.faults is None and wrong:
        why = _server_module("qdrant_real").WRONG[wrong.args[0]]
        request.applymarker(pytest.mark.xfail(reason=why))
    qdrant_process.reset()
    yield qdrant_process
    qdrant_process.reset()


@pytest.fixture
def secure_qdrant(tmp_path) -> Iterator[object]:
    """The stand-in behind TLS: `qdrant.tls.certificate` is the authority that a client trusts."""
    if REAL:
        pytest.skip("a stand-in alone")
    if not shutil.which("openssl"):
        pytest.skip("needs openssl, which makes the certificate")
    module = _server_module("qdrant")
    with module.StandIn(tls=module.self_signed(tmp_path)) as standing_in:
        yield standing_in
