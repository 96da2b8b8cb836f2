"""A stand-in for a Qdrant server, for tests: HTTP and gRPC over qdrant-client's local engine.

`python tests/servers/qdrant.py --port 0 --grpc-port 0` serves until it is interrupted, and prints
one line of JSON with its ports. It keeps all in memory, searches exactly, and is no evidence of how
a real server performs.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import uvicorn
from qdrant_cluster import Cluster
from qdrant_faults import Faults
from qdrant_grpc import Rpc
from qdrant_keys import Keys
from qdrant_rest import application
from qdrant_state import State
from qdrant_ties import shuffle_ties

HOST = "127.0.0.1"


class Tls(NamedTuple):
    """PEM files. The certificate is its own authority."""

    certificate: Path
    key: Path

    def pem(self) -> tuple[bytes, bytes]:
        return self.key.read_bytes(), self.certificate.read_bytes()


def self_signed(folder: Path) -> Tls:
    """A certificate of this machine for a day, made by openssl."""
    made = Tls(folder / "certificate.pem", folder / "key.pem")
    wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    names = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}"]
    files = ["-out", str(made.certificate), "-keyout", str(made.key)]
    subprocess.run(["openssl", *wanted.split(), *names, *files], check=True, capture_output=True)
    return made


class StandIn:
    """`with StandIn() as qdrant: QdrantClient(url=qdrant.url)`."""

    def __init__(
        self,
        port: int = 0,
        grpc_port: int = 0,
        *,
        api_key: str | None = None,
        read_key: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.port, self.grpc_port, self.tls = port, grpc_port, tls
        self.state, self.faults, self.keys = State(), Faults(), Keys(api_key, read_key)
        self._run: _Run | None = None
        self._runs = 0  # since the last reset

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    @property
    def api_key(self) -> str | None:
        return self.keys.full

    def require(self, api_key: str | None, read_key: str | None = None) -> None:
        """Ask for these keys from now on."""
        self.keys.full, self.keys.read = api_key, read_key

    @property
    def cluster(self) -> Cluster:
        """The peers: `cluster.form(3)`, `cluster.lose(2)`, `cluster.regain(2)`."""
        return self.state.peers

    def name(self, stem: str = "c") -> str:
        """A collection's name that no other test uses."""
        return f"{stem}-{uuid.uuid4().hex[:8]}"

    def start(self) -> None:
        """Serve, on the ports of before; what was kept is still there."""
        if self._run is not None:
            if not self.faults.gone:
                return
            self._run.stop()  # it is going, and may not have gone
        self.faults.gone = False
        self._runs += 1
        self._run = _Run(self)

    def stop(self) -> None:
        """Go away in the middle of whatever is being asked; `start` brings all back."""
        self.faults.gone = True
        if self._run is not None:
            self._run.stop()

    def kill_after(self, writes: int, path: str = "") -> None:
        """Go away once that many writes that contain `path` have been answered."""
        self.faults.die_after(writes, path)

    def reset(self) -> None:
        """As new: no collections, no faults, no keys, and serving."""
        if self._runs > 1 or self.faults.gone or self.faults.hung:
            self.stop()  # gRPC clients remember for a while that an address was dead: take others
            self.port = self.grpc_port = 0
            self._runs = 0
        self.start()
        self.faults.clear()
        self.require(None)
        self.state.clear()

    def __enter__(self) -> StandIn:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _Run:
    """The servers between a start and a stop."""

    def __init__(self, owner: StandIn) -> None:
        self._lock, self._stopped = threading.Lock(), False
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, owner.port))
        owner.port = listening.getsockname()[1]
        parts = (owner.state, owner.faults, owner.keys, self._die)
        self._http = _Http(application(*parts), listening, owner.tls)
        pem = owner.tls.pem() if owner.tls else None
        self._rpc = Rpc(f"{HOST}:{owner.grpc_port}", *parts, pem)
        owner.grpc_port = self._rpc.port

    def _die(self) -> None:
        """Asked for from within a server, which cannot wait for its own end."""
        threading.Thread(target=self.stop).start()

    def stop(self) -> None:
        with self._lock:
            if not self._stopped:
                self._rpc.stop()
                self._http.stop()
            self._stopped = True


class _Http:
    """uvicorn in a thread."""

    def __init__(self, app: object, listening: socket.socket, tls: Tls | None) -> None:
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            loop="asyncio",
            http="h11",
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the HTTP server did not start")
            time.sleep(0.002)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=6333)
    parser.add_argument("--grpc-port", type=int, default=6334)
    parser.add_argument("--api-key")
    parser.add_argument("--read-key")
    parser.add_argument("--shuffle-ties", action="store_true", help="as a real server does")
    parser.add_argument("--tls", nargs=2, type=Path, metavar=("CERTIFICATE", "KEY"))
    told = parser.parse_args()
    if told.shuffle_ties:
        shuffle_ties()
    # before there are threads, which inherit it: else the signal would end them all
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    tls = Tls(*told.tls) if told.tls else None
    keys = {"api_key": told.api_key, "read_key": told.read_key}
    with StandIn(told.port, told.grpc_port, tls=tls, **keys) as served:
        ports = {"url": served.url, "port": served.port, "grpc_port": served.grpc_port}
        print(json.dumps(ports), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
