"""Models by Hugging Face id, from a small stand-in of the hub: downloaded, cached, refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from embedder.types import Input
from tests.programs import run_program

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "somebody/tiny"


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks for: a repository's list of files, and the files."""

    folder: Path
    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        if self.path.startswith("/api/models/somebody/gated"):
            self.refuse(403, "GatedRepo")
        elif self.path.startswith(f"/api/models/{NAME}/tree/"):
            self.answer(json.dumps([self.listed(file) for file in self.folder.iterdir()]).encode())
        elif self.path.startswith(f"/api/models/{NAME}"):
            names = [{"rfilename": file.name} for file in self.folder.iterdir()]
            self.answer(json.dumps({"id": NAME, "sha": COMMIT, "siblings": names}).encode())
        elif self.path.startswith(f"/{NAME}/resolve/"):
            self.file(self.folder / self.path.rsplit("/", 1)[1])
        else:
            self.refuse(404, "RepoNotFound")

    do_HEAD = do_GET

    @staticmethod
    def listed(file: Path) -> dict[str, object]:
        data = file.read_bytes()
        return {"type": "file", "path": file.name, "size": len(data), "oid": digest(data)}

    def file(self, file: Path) -> None:
        data = file.read_bytes()
        self.answer(data, ETag=f'"{digest(data)}"', **{"X-Repo-Commit": COMMIT})

    def answer(self, data: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths that it is asked for."""
    paths: list[str] = []
    handler = type("Handler", (Hub,), {"folder": folder, "paths": paths})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def embed(tmp_path, monkeypatch) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
    """`embed(name, endpoint)` runs `embedder embed` with an empty cache, and the hub at `endpoint`.

    In this process: huggingface_hub has read HF_HOME and HF_ENDPOINT when it was imported.
    """
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def run(name: str, endpoint: str) -> subprocess.CompletedProcess[str]:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        return run_program("embedder", "embed", "a cat", "--json", "--model", name)

    return run


def test_a_model_is_downloaded_once_and_then_works_offline(checkpoint, model, embed, tmp_path):
    with hub(checkpoint("e5v")) as (address, paths):
        done = embed(NAME, address)
        assert done.returncode == 0, done.stderr
        assert any(path.endswith("model.safetensors") for path in paths)
    assert list(tmp_path.glob("hub/*/snapshots/*/model.safetensors"))
    again = embed(NAME, address)
    assert again.returncode == 0, again.stderr
    expected = model("e5v").embed([Input(text="a cat")], "query")[0]
    for answer in (done, again):
        output = json.loads(answer.stdout)
        assert output["model"] == NAME
        assert output["vectors"][0] == pytest.approx(expected.tolist(), abs=1e-5)


def test_an_adapter_is_downloaded_from_an_old_file(checkpoint, embed, tmp_path):
    """As VLM2Vec's on Qwen2-VL: adapter_model.bin, and the configuration of the whole model."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    import embedder

    base, folder = checkpoint("vlm2vec-qwen2vl", "V1"), tmp_path / "adapter"
    config = LoraConfig(
        r=2, target_modules=r".*language_model.*\.q_proj", base_model_name_or_path=str(base)
    )
    adapted = get_peft_model(embedder.load(str(base)).backbone.model, config)
    adapted.peft_config["default"].save_pretrained(str(folder))
    torch.save(get_peft_model_state_dict(adapted), folder / "adapter_model.bin")
    shutil.copy(base / "config.json", folder)
    with hub(folder) as (address, _):
        done = embed(NAME, address)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("hub/*/snapshots/*/adapter_model.bin"))


def test_an_interrupted_download_is_resumed(tmp_path):
    """A large model is in several files, which an index lists."""
    from embedder.checkpoint import _has_all_weights

    (tmp_path / "model-1.safetensors").write_bytes(b"")
    assert _has_all_weights(tmp_path)
    parts = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": parts}))
    assert not _has_all_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("somebody/gated", "https://huggingface.co/somebody/gated, then type: hf auth login"),
        ("somebody/nothing", "Hugging Face has no model 'somebody/nothing'"),
    ],
)
def test_failed_downloads_are_one_clear_error(checkpoint, embed, name, message):
    with hub(checkpoint("e5v")) as (address, _):
        done = embed(name, address)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
