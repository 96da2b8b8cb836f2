"""JSON over HTTP to one server: what passes is tried again, what does not is one clear error.

Nothing is ever sent to a host that the user did not name: redirects are not followed.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from embedder.client.address import Address
from embedder.errors import EmbedderError, UnavailableError

if TYPE_CHECKING:
    from httpx import Response

MAX_CONNECTIONS = 16  # calls at once
MAX_ATTEMPTS = 5
RETRIED_STATUSES = {408, 429, 500, 502, 503, 504}
INITIAL_BACKOFF = 0.5  # seconds; doubled from attempt to attempt
MAX_BACKOFF = 60.0  # a server that asks for more is given up
API_KEY_HINT = "set POLYLENS_MODEL_API_KEY to the server's API key"


class ServerError(EmbedderError):
    """A server that refused, failed or stayed away; `status` is None where none came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerUnavailableError(ServerError, UnavailableError):
    """A server that is not there, not open, or too busy: no fault of what was sent."""


UNAVAILABLE_STATUSES = {401, 403, 404, 429, 502, 503, 504}


def build_error(message: str, status: int | None = None) -> ServerError:
    """The error for a status, or for none at all."""
    kind = (
        ServerUnavailableError if status is None or status in UNAVAILABLE_STATUSES else ServerError
    )
    return kind(message, status)


class ServerClient:
    """One server. Thread-safe."""

    def __init__(self, address: Address, *, api_key: str | None, timeout: float) -> None:
        import httpx  # 0.1 s

        self.url = address.url
        basic = httpx.BasicAuth(address.user, address.password) if address.user else None
        self._timeout = timeout
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {_validate_key(api_key)}"} if api_key else {},
            auth=None if api_key else basic,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10)),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            follow_redirects=False,
            # proxies in the environment are hosts that the user named; this machine needs none
            trust_env=not address.is_local,
        )

    def get(self, path: str) -> Any:
        """The JSON at `path`; raises `ServerError`. Gives up early: it is asked for at a start."""
        return self._send("GET", path, None, attempts=2)

    def post(self, path: str, body: dict[str, Any], *, attempts: int = MAX_ATTEMPTS) -> Any:
        return self._send("POST", path, body, attempts)

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, body: dict[str, Any] | None, attempts: int) -> Any:
        result: Response | str = ""
        for attempt in range(attempts):
            if attempt:
                time.sleep(self._compute_backoff(result, attempt))
            result = self._send_once(method, path, body)
            if not isinstance(result, str) and result.status_code not in RETRIED_STATUSES:
                return self._parse_response(result)
        times = f"{attempts} attempts" if attempts > 1 else "one attempt"
        if isinstance(result, str):
            raise build_error(f"{self.url} cannot be reached ({result}), after {times}")
        raise build_error(
            f"{self.url} failed {times} with status {result.status_code}: {read_error_message(result)}",
            result.status_code,
        )

    def _send_once(self, method: str, path: str, body: dict[str, Any] | None) -> Response | str:
        """The answer, or why none came."""
        import httpx

        try:
            return self._client.request(method, f"{self.url}{path}", json=body)
        except httpx.ReadTimeout:  # it may be at work: asking again would double its load
            raise ServerError(f"{self.url} did not answer in {self._timeout:g} seconds") from None
        except httpx.UnsupportedProtocol as error:
            raise ServerError(f"{self.url}: {sanitize_message(str(error))}") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return sanitize_message(str(error)) or type(error).__name__

    def _compute_backoff(self, result: Response | str, attempt: int) -> float:
        """Seconds until the next attempt: what the server asks for, or 0.5, 1, 2, 4, jittered."""
        requested = (
            None
            if isinstance(result, str)
            else parse_retry_after(result.headers.get("retry-after", ""))
        )
        if requested is not None and requested > MAX_BACKOFF and not isinstance(result, str):
            raise build_error(
                f"{self.url} asks to wait {requested:.0f} seconds: {read_error_message(result)}",
                result.status_code,
            )
        # not all clients at the same moment
        backoff: float = INITIAL_BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        return backoff if requested is None else requested

    def _parse_response(self, response: Response) -> Any:
        status = response.status_code
        if response.is_success:
            try:
                return response.json()
            except ValueError:
                raise ServerError(
                    f"{self.url} answers with something else than JSON; is it the address of an "
                    "OpenAI-compatible server? It mostly ends in /v1",
                    status,
                ) from None
        if response.has_redirect_location:
            raise ServerError(
                f"{self.url} redirects to {_redirect_target(response)}: type that", status
            )
        if status in {401, 403}:
            raise build_error(
                f"{self.url} refuses: {read_error_message(response)}; {API_KEY_HINT}", status
            )
        raise build_error(
            f"{self.url} answers with status {status}: {read_error_message(response)}", status
        )


def read_error_message(response: Response) -> str:
    """The server's own words for an error, fit for a terminal."""
    try:
        body = response.json()
    except ValueError:
        return sanitize_message(response.text) or response.reason_phrase
    if isinstance(body, dict):
        found = body.get("error") or body.get("detail") or body.get("message") or body
        body = found.get("message", found) if isinstance(found, dict) else found
    return sanitize_message(str(body))


def sanitize_message(text: str) -> str:
    """One line of at most 300 letters, without what could steer a terminal."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:300]


def _redirect_target(response: Response) -> str:
    """Where a redirect leads, without the credentials that may stand in it."""
    return sanitize_message(
        str(response.url.join(response.headers["location"]).copy_with(userinfo=b""))
    )


def parse_retry_after(value: str) -> float | None:
    """Seconds: of `Retry-After: 3`, or until its date."""
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


def _validate_key(key: str) -> str:
    if not (key.isascii() and key.isprintable()):
        raise EmbedderError("the API key holds a letter that no key has; type it again")
    return key.strip()
