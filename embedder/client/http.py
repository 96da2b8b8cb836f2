"""JSON over HTTP to one server: transient failures are retried, others are one clear error.

A model's name is its server's address, `http://host:8000/v1`, or `http://host:8000/v1#MODEL`.
Nothing is ever sent to a host that the user did not name: redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isnan
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from embedder.client.deadline import DeadlineError, ResponseError, install_limits
from embedder.errors import EmbedderError, UnavailableError, UnknownModelError
from embedder.origin import DEFAULT_PORTS, may_send_key, parse_origin

if TYPE_CHECKING:
    from httpx import Response
    from tenacity import RetryCallState

MAX_CONNECTIONS = 16
MAX_ATTEMPTS = 5
RETRIED_STATUSES = {408, 429, 500, 502, 503, 504}
UNAVAILABLE_STATUSES = {401, 403, 404, 429, 502, 503, 504}
INITIAL_BACKOFF = 0.5  # seconds; doubled from attempt to attempt
MAX_BACKOFF = 60.0  # if a server asks for more, the request fails
MAX_RESPONSE_BYTES = 64 << 20  # 64 vectors of dim 16,384 are 21 MB as JSON
EXAMPLE = "http://localhost:8000/v1 or http://localhost:8000/v1#MODEL"
API_KEY_HINT = "set POLYLENS_MODEL_API_KEY to the server's API key"
OTHER_KEY_HINT = (
    "POLYLENS_MODEL_API_KEY was not sent, because {owner}: if it is this server's, set "
    "POLYLENS_MODEL_API_KEY_URL={origin}"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `url` and `model_name` have no credentials: they are shown and stored."""

    url: str
    model: str | None
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def model_name(self, model: str) -> str:
        return f"{self.url}#{model}"

    @property
    def is_local(self) -> bool:
        return is_loopback(urlsplit(self.url).hostname or "")


def parse_address(name: str) -> Address:
    """Parse a model's name and normalize its URL; raises `UnknownModelError`."""
    try:
        parts = urlsplit(name.strip())
        port = parts.port
    except ValueError as error:
        raise UnknownModelError(f"a server's address is wrong ({error}); type {EXAMPLE}") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise UnknownModelError(f"a server's address has no host; type {EXAMPLE}")
    if parts.query:
        raise UnknownModelError(f"a server's address cannot have a '?'; type {EXAMPLE}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown_port = f":{port}" if port and port != DEFAULT_PORTS[parts.scheme] else ""
    return Address(
        url=f"{parts.scheme}://{host}{shown_port}{parts.path.rstrip('/')}",
        model=unquote(parts.fragment) or None,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine is reached at `host`, a name or an address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class ServerError(EmbedderError):
    """A request failed; `status` is None if no response came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerUnavailableError(ServerError, UnavailableError):
    """The server cannot be reached, refuses access or is too busy, whatever the request."""


def build_error(message: str, status: int | None = None) -> ServerError:
    """Return the error for a status, or for no response."""
    unavailable = status is None or status in UNAVAILABLE_STATUSES
    return (ServerUnavailableError if unavailable else ServerError)(message, status)


class ServerClient:
    """A connection to one server. Thread-safe."""

    def __init__(
        self,
        address: Address,
        *,
        api_key: str | None = None,
        api_key_url: str | None = None,
        timeout: float,
    ) -> None:
        """The key is sent only where `api_key_url` is None or names this server."""
        import httpx  # 0.1 s

        self.url = address.url
        self._key_hint = API_KEY_HINT
        if api_key and not may_send_key(api_key_url, address.url):
            owner = parse_origin(api_key_url)
            self._key_hint = OTHER_KEY_HINT.format(
                owner=f"it is for {owner}" if owner else "the settings name no server for it",
                origin=parse_origin(address.url),
            )
            api_key = None
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise EmbedderError("the API key has a character that no key has; type it again")
        basic = httpx.BasicAuth(address.user, address.password) if address.user else None
        self._timeout = timeout
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key.strip()}"} if api_key else {},
            auth=None if api_key else basic,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10)),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            follow_redirects=False,
            # proxies in the environment are hosts that the user named; localhost needs none
            trust_env=not address.is_local,
        )
        self._limits = install_limits(self._client)

    def get(self, path: str) -> Any:
        """Return the JSON at `path`; gives up early, because it is called at a start."""
        return self._send("GET", path, None, attempts=2)

    def post(self, path: str, body: dict[str, Any], *, attempts: int = MAX_ATTEMPTS) -> Any:
        """Post `body` and return the JSON of the response; raises `ServerError`."""
        return self._send("POST", path, body, attempts)

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, body: dict[str, Any] | None, attempts: int) -> Any:
        from tenacity import Retrying, retry_if_result, stop_after_attempt

        def should_retry(result: Response | str) -> bool:
            return isinstance(result, str) or result.status_code in RETRIED_STATUSES

        retry = Retrying(
            retry=retry_if_result(should_retry),
            stop=stop_after_attempt(attempts),
            wait=self._compute_backoff,
            sleep=time.sleep,
            retry_error_callback=self._raise_failure,
        )
        response: Any = retry(self._send_once, method, path, body)
        return self._parse_response(response)

    def _send_once(self, method: str, path: str, body: dict[str, Any] | None) -> Response | str:
        """Return the response, or why none came."""
        import httpx

        try:
            with self._limits.limit(self._timeout, MAX_RESPONSE_BYTES):
                return self._client.request(method, f"{self.url}{path}", json=body)
        except (httpx.ReadTimeout, DeadlineError):
            # it may still compute: a retry would double its load
            raise ServerError(f"{self.url} did not answer in {self._timeout:g} seconds") from None
        except (httpx.UnsupportedProtocol, ResponseError) as error:
            raise ServerError(f"{self.url}: {sanitize_message(str(error))}") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return sanitize_message(str(error)) or type(error).__name__

    def _raise_failure(self, state: RetryCallState) -> Any:
        result = state.outcome.result() if state.outcome else ""
        attempts = state.attempt_number
        times = f"{attempts} attempts" if attempts > 1 else "one attempt"
        if isinstance(result, str):
            raise build_error(f"{self.url} cannot be reached ({result}), after {times}")
        status, message = result.status_code, read_error_message(result)
        raise build_error(f"{self.url} failed {times} with status {status}: {message}", status)

    def _compute_backoff(self, state: RetryCallState) -> float:
        """Return seconds: what the server asks for, or 0.5, 1, 2, 4 with jitter."""
        result = state.outcome.result() if state.outcome else ""
        if not isinstance(result, str):
            requested = parse_retry_after(result.headers.get("retry-after", ""))
            if requested is not None and requested > MAX_BACKOFF:
                message = f"asks to wait {requested:.0f} seconds: {read_error_message(result)}"
                raise build_error(f"{self.url} {message}", result.status_code)
            if requested is not None:
                return requested
        jitter: float = random.uniform(0.5, 1.5)
        return INITIAL_BACKOFF * jitter * float(2 ** (state.attempt_number - 1))

    def _parse_response(self, response: Response) -> Any:
        status = response.status_code
        if response.is_success:
            try:
                return response.json()
            except (ValueError, RecursionError):
                raise ServerError(
                    f"{self.url} does not answer with JSON; is it the address of an "
                    "OpenAI-compatible server? It usually ends in /v1",
                    status,
                ) from None
        if response.has_redirect_location:
            # without the credentials that may be in it
            target = response.url.join(response.headers["location"]).copy_with(userinfo=b"")
            raise ServerError(
                f"{self.url} redirects to {sanitize_message(str(target))}: type that", status
            )
        message = read_error_message(response)
        if status in {401, 403}:
            raise build_error(f"{self.url} refuses: {message}; {self._key_hint}", status)
        raise build_error(f"{self.url} answers with status {status}: {message}", status)


def read_error_message(response: Response) -> str:
    """Return the server's own message for an error, safe for a terminal."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return sanitize_message(response.text) or response.reason_phrase
    if isinstance(body, dict):
        error = body.get("error") or body.get("detail") or body.get("message") or body
        body = error.get("message", error) if isinstance(error, dict) else error
    return sanitize_message(str(body))


def sanitize_message(text: str) -> str:
    """Return one line of at most 300 characters without control characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:300]


def parse_retry_after(value: str) -> float | None:
    """Return the seconds of a `Retry-After` header, a number or a date; None if it is neither."""
    try:
        seconds = float(value)
        return None if isnan(seconds) else max(seconds, 0.0)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)
