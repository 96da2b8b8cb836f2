"""The limits of the server, and the error of a refused request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The most bytes per request (and 16 times that in flight), pixels per image, inputs per
    request, characters per text, inputs in the queue, and seconds that an input waits there."""

    bytes: int = 32 << 20
    pixels: int = 50_000_000
    inputs: int = 256
    characters: int = 100_000
    queue: int = 512
    seconds: float = 60.0

    @property
    def total_bytes(self) -> int:
        """The most bytes of all requests in flight."""
        return 16 * self.bytes


class HTTPError(Exception):
    """A request is refused. `retry_after` is when to try again, in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.code, self.param, self.retry_after = code, param, retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    @property
    def body(self) -> dict[str, object]:
        """The body in the format of OpenAI's errors."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": kinds.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }
