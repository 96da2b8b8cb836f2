"""A server that records what it is sent: where keys and texts may go, and where they may not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RecordingServer:
    """Answers as a model server with one model of dim 4; `status` and `headers` change that."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []  # path, headers in lower case
        self.status, self.headers = 200, dict[str, str]()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"object": "list", "data": [{"id": "m"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                texts = body.get("input", [])
                if not texts or body.get("encoding_format") == "base64":
                    recorder._record(self)
                    return self._send(400, {"error": {"message": "not known"}})
                data = [{"index": i, "embedding": [1, len(t), 2, 3]} for i, t in enumerate(texts)]
                return self._answer({"data": data})

            def do_PUT(self) -> None:
                self._answer({})

            def _answer(self, plain: object) -> None:
                recorder._record(self)
                self._send(recorder.status, plain)

            def _send(self, status: int, plain: object) -> None:
                data = json.dumps(plain).encode()
                self.send_response(status)
                for name, value in {**recorder.headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _record(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, headers))

    @property
    def sent(self) -> str:
        """All headers of all requests."""
        return json.dumps([headers for _, headers in self.requests])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def record() -> Iterator[RecordingServer]:
    server = RecordingServer()
    try:
        yield server
    finally:
        server.close()
