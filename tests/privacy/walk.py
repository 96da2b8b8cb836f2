"""What somebody does with Polylens, as one program: it is run under a tracer by test_privacy.py.

    python walk.py PICTURES FOLDER short|whole

makes a store in FOLDER, and in the whole walk a run from its pairs.csv.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect


def run(module: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


def use_app(store: Path) -> None:
    """Search in the app, as a browser does."""
    server = subprocess.Popen(
        [sys.executable, "-m", "app", "app", "--store", store, "--port", "0", "--no-open"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr
    origin = server.stderr.readline().split()[3]
    with urllib.request.urlopen(origin) as page:
        assert page.status == 200
    address = f"{origin.replace('http', 'ws')}/_stcore/stream"
    with connect(address, subprotocols=["streamlit"], origin=origin, max_size=None) as socket:
        rerun = BackMsg()
        rerun.rerun_script.query_string = "q=red"
        socket.send(rerun.SerializeToString())
        texts, message = b"", ForwardMsg()
        while message.WhichOneof("type") != "script_finished":
            received = socket.recv(timeout=60)
            message.ParseFromString(received)
            texts += received
    assert b"picture/thumb/" in texts  # it has shown hits
    server.terminate()
    assert server.wait() == 0


def main() -> None:
    pictures, folder = map(Path, sys.argv[1:3])
    store = folder / "store"
    run("indexer", "ingest", pictures, "--store", store, "--quiet")
    use_app(store)
    if sys.argv[3] == "short":
        return
    run("indexer", "search", "red", "--store", store)
    run("indexer", "similar", pictures / "locomotive.png", "--store", store)
    run("finetune", "train", folder / "pairs.csv", "--steps", "2", "--hold-out", "0",
        "--out", folder / "run")  # fmt: skip


if __name__ == "__main__":
    main()
