"""`polylens`: the app from anywhere, and the commands of `indexer`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import psutil
import pytest
from typer.main import get_command

import indexer.cli
from app import cli, server, services
from app.passwords import verify_password
from indexer.config import parse_password_hash
from tests.programs import run_program

ROOT = Path(__file__).parents[2]
WATCHED = """
import sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "webbrowser.open"):
        print("WATCHED", event, *arguments[event == "socket.connect" :], flush=True)

sys.addaudithook(watch)
from app.cli import main
main()
"""  # the console script, which prints whom it connects to


@pytest.fixture(autouse=True)
def environment_again():
    yield
    services.configure()


@pytest.fixture
def served(monkeypatch) -> list[dict]:
    """What `polylens app` would serve; it prints an URL and ends."""
    calls: list[dict] = []

    def run(config, on_ready, on_wait, **options) -> None:
        calls.append(options)
        on_ready("http://localhost:8501", False)
        on_wait()

    monkeypatch.setattr(server, "run_server", run)
    return calls


def test_it_has_the_commands_of_the_indexer():
    own, others = (get_command(app).commands for app in (cli.app, indexer.cli.app))
    assert own.keys() - others.keys() == {"app", "hash-password"}
    assert others.keys() <= own.keys()


def test_help_and_messages_name_the_program_that_was_typed(tmp_path):
    missing = ["search", "x", "--store", tmp_path]
    for arguments in (["search", "-h"], missing, [*missing, "--json"], ["search", "-n"]):
        typed = {name: run_program(name, *arguments) for name in ("polylens", "indexer")}
        for name, done in typed.items():
            other = "indexer" if name == "polylens" else "polylens"
            assert f"{name} " in done.stdout + done.stderr
            assert f"{other} " not in done.stdout + done.stderr


def test_a_command_is_that_of_the_indexer(tmp_path):
    for words in (["search", "x", "--store", tmp_path], ["status", "--limit"], ["--version"]):
        own, others = run_program("polylens", *words), run_program("indexer", *words)
        assert own.returncode == others.returncode
        assert own.stdout == others.stdout
        assert own.stderr == others.stderr.replace("type: indexer", "type: polylens", 1) or (
            own.stderr == others.stderr
        )


def test_help_imports_neither_streamlit_nor_the_app():
    code = "import sys, app.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"streamlit", "numpy", "PIL", "uvicorn", "starlette", "httpx", "ssl", "app.services"}
    assert not heavy & set(done.stdout.split())


def test_the_flags_are_the_settings_of_the_app(served, tmp_path):
    options = ("--store", tmp_path, "--collection", "family", "--host", "::1", "--port", 0)
    done = run_program("polylens", "app", *options)
    assert done.returncode == 0
    assert "Polylens is at http://localhost:8501" in done.stderr
    assert "warning" not in done.stderr
    assert "Stopping, once the work in progress is saved" in done.stderr
    assert served == [{"host": "::1", "port": 0, "public_host": None}]
    assert services.get_settings().store == str(tmp_path)
    assert services.get_settings().collection == "family"


def test_behind_a_proxy_it_warns_that_nobody_logs_in(served):
    done = run_program("polylens", "app", "--public-host", "pictures.example.com")
    assert "warning: the app asks for no login, so the proxy in front of it must" in done.stderr


def test_it_does_not_start_for_other_machines_without_a_login(tmp_path):
    for host in ("0.0.0.0", "0", "::"):
        done = run_program("polylens", "app", "--host", host, "--port", 0, "--store", tmp_path)
        assert done.returncode == 1
        assert "without a login" in done.stderr and "polylens hash-password" in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_hash_of_a_password_is_all_of_stdout():
    done = run_program("polylens", "hash-password", stdin="correct horse battery\n")
    assert done.returncode == 0
    assert "POLYLENS_APP_PASSWORD_HASH" in done.stderr and "correct" not in done.stderr
    assert verify_password("correct horse battery", done.stdout.removesuffix("\n"))
    assert parse_password_hash(done.stdout)
    short = run_program("polylens", "hash-password", stdin="short\n")
    assert (short.returncode, short.stdout) == (2, "") and "12 characters" in short.stderr


def test_a_password_in_place_of_its_hash_is_refused_and_not_shown(served):
    env = {"POLYLENS_APP_PASSWORD_HASH": "correct horse battery"}
    done = run_program("polylens", "app", env=env)
    assert done.returncode == 1 and not served
    assert "the line that `polylens hash-password` prints" in done.stderr
    assert "correct" not in done.stderr


@pytest.mark.parametrize("word", ["--open", "--no-open", None])
def test_the_browser_opens_when_asked(served, monkeypatch, word):
    import streamlit.cli_util

    opened: list[str] = []
    monkeypatch.setattr(streamlit.cli_util, "open_browser", opened.append)
    assert run_program("polylens", "app", *filter(None, [word])).returncode == 0
    assert opened == (["http://localhost:8501"] if word == "--open" else [])  # this is no desktop


@pytest.mark.parametrize("host", ["https://pictures.example.com", "pictures.example.com:8443", " "])
def test_a_public_host_is_a_name(served, host):
    done = run_program("polylens", "app", "--public-host", host)
    assert done.returncode == 2 and not served
    assert "--public-host takes a name such as pictures.example.com" in done.stderr


def test_a_store_that_is_not_there_is_one_line(served, tmp_path):
    missing, file = tmp_path / "nothing", tmp_path / "file"
    file.touch()
    done = run_program("polylens", "app", "--store", missing)
    assert done.returncode == 2
    assert f"there is no folder {missing}; to make a store there, type: polylens" in done.stderr
    done = run_program("polylens", "app", "--store", file)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: store = {file}: this is a file; a store is a folder\n",
    )
    done = run_program("polylens", "app", env={"POLYLENS_STORE": str(missing)})
    assert done.returncode == 0, "the first ingest, from the app, makes it"
    assert len(served) == 1


def test_a_server_that_does_not_answer_is_one_line(served, monkeypatch):
    monkeypatch.setenv("POLYLENS_QDRANT_RETRY_SECONDS", "0")
    done = run_program("polylens", "app", "--store", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run_program("polylens", "app", "--store", "ftp://x").returncode == 1
    assert not served


def test_a_missing_streamlit_is_one_line(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit", None)
    done = run_program("polylens", "app")
    assert done.returncode == 1
    assert "pip install 'polylens[app]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def program(tmp_path):
    """`polylens app` in a folder with another program's configuration of Streamlit."""
    folder = tmp_path / "elsewhere" / ".streamlit"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[browser]\ngatherUsageStats = true\nthis is no TOML")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POLYLENS_", "STREAMLIT_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED, "app", "--port", "0", "--open"],
        cwd=folder.parent,
        env={
            **kept,
            **{"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": "", "BROWSER": "true"},
            "STREAMLIT_SERVER_ADDRESS": "0.0.0.0",
            "STREAMLIT_SERVER_ENABLE_AGENT_API": "true",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


def test_it_serves_from_any_folder_asks_nobody_and_ends_with_ctrl_c(program):
    lines = [program.stdout.readline()]
    while "Polylens is at" not in lines[-1] and lines[-1]:
        lines.append(program.stdout.readline())
    assert lines[-1].startswith("Polylens is at http://localhost:"), "".join(lines)
    url = lines[-1].split()[3]
    with urllib.request.urlopen(f"{url}/_stcore/health", timeout=10) as answer:
        assert answer.read() == b"ok"
    listening = [c for c in psutil.Process(program.pid).net_connections() if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    with pytest.raises(HTTPError, match="403"):  # Streamlit's API for agents is off
        urllib.request.urlopen(f"{url}/_stcore/agent/interact", data=b"{}", timeout=10)
    assert ask_for_socket(url, origin="https://example.net").startswith("HTTP/1.1 403")
    rebound = ask_for_socket(url, origin="http://example.net", host="example.net")
    assert rebound.startswith("HTTP/1.1 403"), "a name that a web page gave to this machine"
    assert ask_for_socket(url, origin=url).startswith("HTTP/1.1 101")
    program.send_signal(signal.SIGINT)
    rest = program.stdout.read()  # communicate() loses what readline() has buffered
    assert program.wait(20) == 130
    watched = [line.split()[1:] for line in [*lines, *rest.splitlines()] if "WATCHED" in line]
    assert "Traceback" not in rest
    assert [words for words in watched if words[0] == "webbrowser.open"]
    addresses = [words for words in watched if words[0] != "webbrowser.open"]
    assert all("127.0.0.1" in " ".join(words) for words in addresses), addresses


def ask_for_socket(url: str, origin: str, host: str | None = None) -> str:
    """The status line of the answer to a page of `origin` that opens the app's WebSocket."""
    name, port = url.removeprefix("http://").split(":")
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host or f'{name}:{port}'}",
        f"Origin: {origin}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return connection.recv(4096).decode("latin-1").splitlines()[0]
