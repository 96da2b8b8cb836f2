"""Nothing leaves the machine, and nothing is written outside our folders: a walk under a tracer."""

from __future__ import annotations

import csv
import ipaddress
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedder.telemetry import SWITCHES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is a program of Linux")

ROOT = Path(__file__).parents[2]
WALK = Path(__file__).with_name("walk.py")
SAMPLES = ROOT / "samples"
TOPIC = "vehicles"  # the folder of the samples that is used
CALLS = (
    "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,mknod,mknodat,chdir"
)
TRACER = ("strace", "--follow-forks", "--seccomp-bpf", "-y", "-qq", "-s", "4096", "-e", CALLS, "-o")
# a network of its own, with nothing but the loopback device
NAMESPACE = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "-")
ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"')
SENDING = ("connect", "sendto", "sendmsg", "sendmmsg")
FOR_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
PATH = re.compile(r'(?:<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
DNS_PORT = 53
SYSTEM_FILES = ("/dev/null", "/dev/tty", "/dev/shm/sem.", "/proc/")  # shared by processes: sem.*


def works(*command: str) -> bool:
    try:
        return subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def locate_trace(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.trace")


def run_traced(
    command: Sequence[str | Path], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, and write its calls and those of its processes to a file beside.

    It has no network where this process may make a namespace.
    """
    if not works(*TRACER, os.devnull):
        pytest.skip("strace is not installed, or may not trace here")
    return subprocess.run(
        [*(NAMESPACE if works(*NAMESPACE) else ()), *TRACER, locate_trace(folder), *command],
        cwd=folder,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def read_calls(folder: Path) -> Iterator[tuple[str, str]]:
    """The name and the arguments of each call."""
    for line in locate_trace(folder).read_text("utf-8", "replace").splitlines():
        call, _, arguments = line.partition(" ")[2].lstrip().partition("(")
        yield call, arguments


def list_contacts(folder: Path) -> set[str]:
    """The addresses outside this machine that were tried, and all that would look up a name."""
    return {
        f"{address}:{port}"
        for call, arguments in read_calls(folder)
        if call in SENDING
        for port, address in ADDRESS.findall(arguments)
        if int(port) == DNS_PORT or not ipaddress.ip_address(address).is_loopback
    }


def list_written(folder: Path) -> set[str]:
    """What was made, opened for writing, or renamed, and the folders that a process went to.

    Some calls do not say to which folder a name is relative: it counts as one in `folder`, and the
    other folders that it may be in are listed too.
    """
    return {
        os.path.normpath(folder / parent / path)
        for call, arguments in read_calls(folder)
        if call not in SENDING
        and ") = -1 " not in arguments
        and (not call.startswith("open") or FOR_WRITING.search(arguments))
        for parent, path in PATH.findall(arguments)
    }


@dataclass(frozen=True)
class Walk:
    contacts: set[str]
    written: set[str]
    own_folders: tuple[str, ...]


@pytest.fixture(
    scope="module",
    params=["short", pytest.param("whole", marks=pytest.mark.slow)],
)
def walk(request, tmp_path_factory) -> Walk:
    """The walk, with a home folder and a folder for temporary files of its own."""
    folder = tmp_path_factory.mktemp("walk")
    home, temporary, work = (folder / name for name in ("home", "tmp", "work"))
    for path in (home, temporary, work):
        path.mkdir()
    rows = csv.reader((SAMPLES / "captions.csv").read_text("utf-8").splitlines())
    pairs = [[SAMPLES / file, *rest] for file, *rest in rows if file.startswith(TOPIC)]
    with (work / "pairs.csv").open("w", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "language", "caption"), *pairs[:12]])
    unset = [name for name, _ in SWITCHES.values()] + ["XDG_DATA_HOME", "XDG_CACHE_HOME"]
    done = run_traced(
        [
            "env",
            *(f"--unset={name}" for name in unset),
            sys.executable,
            WALK,
            SAMPLES / TOPIC,
            work,
            request.param,
        ],
        work,
        HOME=str(home),
        TMPDIR=str(temporary),
        PYTHONPATH=str(ROOT),
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert done.returncode == 0, done.stderr
    own = (home / ".local" / "share" / "polylens", temporary, work)
    return Walk(list_contacts(work), list_written(work), tuple(map(str, own)))


def test_nothing_is_contacted(walk):
    assert not walk.contacts


def test_nothing_is_written_elsewhere(walk):
    strange = {p for p in walk.written if not p.startswith((*SYSTEM_FILES, *walk.own_folders))}
    assert strange <= {str(ROOT)}  # where the shard's server process is before it opens the store
    assert len(walk.written) > 100  # the trace has files


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.getaddrinfo('polylens.example', 443)",
        "import socket; socket.socket().connect(('192.0.2.1', 443))",
        "import socket; socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443))",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 8125))",
    ],
)
def test_a_contact_is_noticed(attempt, tmp_path):
    if not works(*NAMESPACE):
        pytest.skip("no namespace may be made here, and this would reach the network")
    run_traced([sys.executable, "-c", attempt], tmp_path)
    assert list_contacts(tmp_path)


def test_a_file_is_noticed(tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    attempt = "import os; os.mkdir('a'); os.chdir('below'); open('b', 'w'); open('b')"
    run_traced([sys.executable, "-B", "-c", attempt], tmp_path)
    assert list_written(tmp_path) == {
        str(tmp_path / "a"),
        str(tmp_path / "below"),
        str(below / "b"),
    }
