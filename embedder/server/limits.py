"""What a server takes, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """bytes: of a request, and 16 times that of all together; pixels: of a picture; inputs: of a
    request; characters: of a text; queue: inputs that wait; seconds: that an input waits before the
    model begins with it."""

    bytes: int = 32 << 20
    pixels: int = 50_000_000
    inputs: int = 256
    characters: int = 100_000
    queue: int = 512
    seconds: float = 60.0

    @property
    def total_bytes(self) -> int:
        """Bytes of all requests in the house."""
        return 16 * self.bytes


class HTTPError(Exception):
    """A request that is not served. `retry` is when to ask again, in seconds."""

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
        """The body, in the shape of OpenAI's errors."""
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
