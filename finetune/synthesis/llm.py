"""The language model as synthesis sees it, and one behind an OpenAI-compatible chat endpoint.

The `openai` package makes the calls; vLLM, llama.cpp and Ollama serve the same API. Nothing is sent
to another host: redirects are not followed.
"""

from __future__ import annotations

import random
import re
import threading
import time
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from embedder.client.deadline import DeadlineError, ResponseError, install_limits
from embedder.client.embeddings import encode_data_url
from embedder.client.http import (
    MAX_RESPONSE_BYTES,
    RETRIED_STATUSES,
    Address,
    parse_address,
    parse_retry_after,
    read_error_message,
    sanitize_message,
)
from embedder.errors import EmbedderError
from embedder.origin import may_send_key, parse_origin
from embedder.redaction import redacted_repr
from finetune.errors import FinetuneError
from finetune.synthesis.prompt_templates import Schema

if TYPE_CHECKING:
    from PIL.Image import Image

CHARS_PER_TOKEN = 4  # of English, the language of the prompts
PATCH_PIXELS = 28  # a token per 28 x 28 pixels, as Qwen-VL counts; OpenAI's tiles come to the same
MAX_ATTEMPTS = 6
FIRST_DELAY, MAX_DELAY = 1.0, 60.0  # seconds; doubled with each attempt
MAX_RETRY_AFTER = 3600.0  # seconds; a server that asks for more ends the run
CONTENT_POLICY = re.compile(
    r"content[ _](?:filter|policy|management policy)|responsible ?ai", re.IGNORECASE
)
FATAL_STATUSES = {  # every other request would fail as well
    401: "set POLYLENS_LLM_API_KEY to a valid key",
    402: "the account has no credit left",
    403: "set POLYLENS_LLM_API_KEY to a key that may use this model",
    404: "check --endpoint, which usually ends in /v1, and --llm",
}
# openai adds others: the machine's OS and Python version, and what OPENAI_* variables name
SENT_HEADERS = {"host", "user-agent", "accept", "accept-encoding", "connection"}
SENT_HEADERS |= {"content-type", "content-length", "transfer-encoding"}
RESPONSE_FORMATS = ("json_schema", "json_object", "")  # from the strictest to none


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sample's conversation: the images (upright RGB) in order, then `text`."""

    system: str
    text: str
    images: tuple[Image, ...]
    schema: Schema
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """`truncated`: the answer hit the token limit; `refused`: the model declined to answer."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    truncated: bool = False
    refused: bool = False


class LanguageModel(Protocol):
    """A multimodal language model. Thread-safe."""

    @property
    def name(self) -> str: ...

    def generate(self, request: Request) -> Reply:
        """Raises `LanguageModelError` to end the run, `RequestFailedError` to skip the job."""
        ...

    def close(self) -> None: ...


class LanguageModelError(FinetuneError):
    """The language model cannot be used at all: the run ends."""


class RequestFailedError(FinetuneError):
    """One request failed. Its job stays pending for another run."""


class RunStoppedError(FinetuneError):
    """The run was stopped before the request was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMOptions:
    """The model to use: a server's if `endpoint` is set, else one of transformers.

    `llm`: the server's name for the model, or a checkpoint's folder or Hugging Face id.
    `api_key_url`: the server that the key is for; None if it was given for this endpoint.
    """

    endpoint: str | None
    llm: str
    api_key: str | None = field(default=None, repr=False)
    api_key_url: str | None = field(default=None, repr=False)
    max_tokens: int = 3000
    temperature: float = 1.0
    requests_per_minute: float = 0.0  # 0: any number
    timeout: float = 180.0  # seconds for a whole answer
    device: str | None = None
    dtype: str | None = None

    __repr__ = redacted_repr


class RateLimiter:
    """Limits requests to so many a minute (0: any number). Thread-safe; `stop` ends all waiting."""

    def __init__(self, requests_per_minute: float = 0, stop: threading.Event | None = None) -> None:
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0  # seconds
        self._stop = stop or threading.Event()
        self._next_time = 0.0  # time.monotonic() of the next request
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Wait until a request may be sent; raises `RunStoppedError`."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_time)
            self._next_time = start + self._interval
        self.sleep(start - now)

    def block_for(self, seconds: float) -> None:
        """Hold back every request for `seconds`."""
        with self._lock:
            self._next_time = max(self._next_time, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`; raises `RunStoppedError`."""
        if self._stop.wait(max(seconds, 0.0)):
            raise RunStoppedError("the run was stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFormat:
    """The fields of a request that servers disagree on. `temperature` None: the server's own."""

    response_format: str = RESPONSE_FORMATS[0]
    limit_field: str = "max_tokens"
    max_tokens: int = 3000
    temperature: float | None = 1.0

    def build_body(self, model: str, request: Request) -> dict[str, Any]:
        """Build the JSON body: each image after its number, then the text."""
        content: list[dict[str, Any]] = []
        for number, image in enumerate(request.images, 1):
            content.append({"type": "text", "text": f"Picture {number}:"})
            content.append({"type": "image_url", "image_url": {"url": encode_data_url(image)}})
        content.append({"type": "text", "text": request.text})
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": content},
            ],
            self.limit_field: self.max_tokens,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.response_format:
            schema = {"name": "sample", "strict": True, "schema": request.schema}
            extra = {"json_schema": schema} if self.response_format == "json_schema" else {}
            body["response_format"] = {"type": self.response_format, **extra}
        return body

    def simplify(self, error_text: str) -> RequestFormat | None:
        """Return the format to try after a server rejected this one; None if there is none."""
        if self.limit_field == "max_tokens" and "max_completion_tokens" in error_text:
            return replace(self, limit_field="max_completion_tokens")
        if self.temperature is not None and "temperature" in error_text:
            return replace(self, temperature=None)
        simpler = RESPONSE_FORMATS[RESPONSE_FORMATS.index(self.response_format) + 1 :]
        return replace(self, response_format=simpler[0]) if simpler else None


def estimate_tokens(text: str, sizes: Iterable[tuple[int, int]] = ()) -> int:
    """Estimate the tokens of a text and of images with these widths and heights in pixels."""
    patches = (ceil(w / PATCH_PIXELS) * ceil(h / PATCH_PIXELS) for w, h in sizes)
    return ceil(len(text) / CHARS_PER_TOKEN) + sum(patches)


class EndpointLLM:
    """One model of one server. Thread-safe."""

    def __init__(self, options: LLMOptions, stop: threading.Event) -> None:
        """Nothing is sent yet; `stop` ends all waiting. Raises `LanguageModelError`."""
        import openai

        address = _parse_endpoint(options)
        may_send = may_send_key(options.api_key_url, address.url)
        key = (options.api_key or "").strip() if may_send else ""
        self._key_hint = ""
        if options.api_key and not key:
            owner = parse_origin(options.api_key_url)
            self._key_hint = (
                f"the key of {owner or 'no server'} was not sent; for a key of this one, set "
                f"POLYLENS_LLM_API_KEY and POLYLENS_LLM_API_KEY_URL={parse_origin(address.url)}"
            )
        if not (key.isascii() and key.isprintable()):
            raise LanguageModelError("the API key has an invalid character; enter it again")
        self.name = options.llm or address.model or ""
        self.request_format = RequestFormat(
            max_tokens=options.max_tokens, temperature=options.temperature
        )
        self._url, self._timeout = address.url, options.timeout
        self._rate_limiter = RateLimiter(options.requests_per_minute, stop)
        self._has_answered = False
        self._authorization = f"Bearer {key}" if key else ""
        if address.user and not key:
            credentials = b64encode(f"{address.user}:{address.password}".encode())
            self._authorization = f"Basic {credentials.decode()}"
        http_client = openai.DefaultHttpxClient(
            follow_redirects=False,
            # proxies in the environment are the user's own; this machine needs none
            trust_env=not address.is_local,
            event_hooks={"request": [self._set_headers]},
        )
        self._limits = install_limits(http_client)
        self._client = openai.OpenAI(
            base_url=address.url,
            api_key=key or "none",
            timeout=openai.Timeout(options.timeout, connect=min(options.timeout, 10)),
            max_retries=0,  # retries share the rate limit, and end with the run
            http_client=http_client,
        )

    def generate(self, request: Request) -> Reply:
        """Ask for one answer. Fields that the server rejects are left out from then on.

        Raises `LanguageModelError`, `RequestFailedError`, `RunStoppedError`.
        """
        request_format = self.request_format
        while True:
            response = self._send_with_retries(request_format.build_body(self.name, request))
            if response.is_success:
                self.request_format = request_format
                return self._parse_reply(response, request)
            message, simplified = read_error_message(response), None
            if response.status_code == 400 and CONTENT_POLICY.search(response.text):
                return Reply(message, refused=True)
            if response.status_code in {400, 422}:
                simplified = request_format.simplify(message)
            if simplified is None:
                raise self._make_error(response)
            request_format = simplified

    def close(self) -> None:
        self._client.close()

    def _set_headers(self, request: Any) -> None:
        for name in set(request.headers) - SENT_HEADERS:
            del request.headers[name]
        if self._authorization:
            request.headers["Authorization"] = self._authorization

    def _send_with_retries(self, body: dict[str, Any]) -> Any:
        """Return the response; retries what may pass. A server that never answers ends the run."""
        failure, retry_after = "", None
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                self._wait_to_retry(retry_after, attempt)
            self._rate_limiter.acquire()
            response = self._send(body)
            if isinstance(response, str):
                failure, retry_after = f"cannot be reached ({response})", None
                if attempt and not self._has_answered:
                    raise LanguageModelError(f"{self._url} {failure}; is the server running?")
            elif response.status_code in RETRIED_STATUSES and not _is_quota_used_up(response):
                failure = f"failed {MAX_ATTEMPTS} times: {_describe(response)}"
                retry_after = parse_retry_after(response.headers.get("retry-after", ""))
            else:
                return response
        raise RequestFailedError(f"{self._url} {failure}")

    def _send(self, body: dict[str, Any]) -> Any:
        """Return the response, or an error message if there was none."""
        import httpx2
        import openai

        response: httpx2.Response
        try:
            with self._limits.limit(self._timeout, MAX_RESPONSE_BYTES):
                response = self._client.post(
                    "/chat/completions", cast_to=httpx2.Response, body=body
                )
        except openai.APIStatusError as error:
            response = error.response
        except (DeadlineError, ResponseError, openai.APIConnectionError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, httpx2.ReadTimeout | DeadlineError):
                # a retry could be billed twice
                raise RequestFailedError(
                    f"{self._url} did not answer in {self._timeout:g} seconds; allow more with "
                    "--timeout, or send fewer requests at once with --parallel"
                ) from None
            if isinstance(cause, ResponseError):
                raise RequestFailedError(f"{self._url}: {cause}") from None
            return sanitize_message(str(cause)) or type(cause).__name__
        self._has_answered = True
        return response

    def _wait_to_retry(self, retry_after: float | None, attempt: int) -> None:
        if retry_after is None:
            delay = min(FIRST_DELAY * 2 ** (attempt - 1), MAX_DELAY)
            self._rate_limiter.sleep(delay * random.uniform(0.5, 1.0))
        elif retry_after > MAX_RETRY_AFTER:
            hours = retry_after / 3600
            raise LanguageModelError(
                f"{self._url} asks to wait {hours:.1f} hours; run the command again then"
            )
        else:
            self._rate_limiter.block_for(retry_after)  # it applies to all requests

    def _make_error(self, response: Any) -> LanguageModelError | RequestFailedError:
        if response.has_redirect_location:
            return LanguageModelError(
                f"{self._url} redirects to another address; pass that one as --endpoint"
            )
        status = response.status_code
        if status in FATAL_STATUSES or _is_quota_used_up(response):
            advice = FATAL_STATUSES.get(status, FATAL_STATUSES[402])
            if status in {401, 403} and self._key_hint:
                advice = self._key_hint
            return LanguageModelError(f"{self._url} refuses ({_describe(response)}); {advice}")
        return RequestFailedError(f"{self._url} refuses a request: {_describe(response)}")

    def _parse_reply(self, response: Any, request: Request) -> Reply:
        """Read a completion; tokens are estimated if the server does not report them."""
        try:
            body = response.json()
            choice, usage = body["choices"][0], body.get("usage") or {}
            message, finish_reason = choice["message"], choice.get("finish_reason")
            text = message.get("content") or ""
            sizes = [image.size for image in request.images]
            estimate = estimate_tokens(request.system + request.text, sizes)
            return Reply(
                text if isinstance(text, str) else "",
                int(usage.get("prompt_tokens") or estimate),
                int(usage.get("completion_tokens") or estimate_tokens(str(text))),
                truncated=finish_reason == "length",
                refused=bool(message.get("refusal")) or finish_reason == "content_filter",
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise LanguageModelError(
                f"{self._url} did not answer with a chat completion; is it the address of an "
                "OpenAI-compatible server? It usually ends in /v1"
            ) from None


def describe_destination(options: LLMOptions) -> tuple[str, str | None]:
    """Say where pictures are sent, and return a warning if they are sent unencrypted."""
    if options.endpoint is None:
        return f"{options.llm} runs on this machine; no picture leaves it", None
    address = _parse_endpoint(options)
    if address.is_local:
        return f"pictures and prompts go to {address.url}, which is on this machine", None
    message = f"pictures and prompts go to {address.url}"
    if address.url.startswith("https://"):
        return message, None
    has_key = options.api_key and may_send_key(options.api_key_url, address.url)
    sent = "pictures and the key" if has_key else "pictures"
    host = urlsplit(address.url).netloc
    return message, f"{sent} are sent to {host} unencrypted; use an https address if it has one"


def _parse_endpoint(options: LLMOptions) -> Address:
    try:
        return parse_address(options.endpoint or "")
    except EmbedderError as error:
        raise LanguageModelError(f"--endpoint: {error}") from None


def _is_quota_used_up(response: Any) -> bool:
    return "insufficient_quota" in response.text


def _describe(response: Any) -> str:
    return f"status {response.status_code}: {read_error_message(response)}"
