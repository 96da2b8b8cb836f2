"""A language model behind an OpenAI-compatible chat endpoint.

https://platform.openai.com/docs/api-reference/chat; vLLM, llama.cpp and Ollama speak it too.
Nothing is sent to another host: redirects are not followed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedder.client.address import Address
from embedder.client.http import (
    RETRIED_STATUSES,
    parse_retry_after,
    read_error_message,
    sanitize_message,
)
from embedder.client.schemas import encode_data_url
from finetune.synthesis.cost import estimate_tokens
from finetune.synthesis.llm import LanguageModelError, Reply, Request, RequestFailedError
from finetune.synthesis.rate_limit import RateLimiter
from finetune.synthesis.request_format import RequestFormat, simplify_format

if TYPE_CHECKING:
    from httpx import Client, Response

MAX_ATTEMPTS = 6
FIRST_DELAY, MAX_DELAY = 1.0, 60.0  # seconds; doubled from attempt to attempt
MAX_RETRY_AFTER = 3600.0  # a server that asks for more is given up
CONTENT_POLICY = re.compile(
    r"content[ _](?:filter|policy|management policy)|responsible ?ai", re.IGNORECASE
)
FATAL_STATUSES = {401, 402, 403, 404}  # what no other request would change
STATUS_ADVICE = {
    401: "set POLYLENS_LLM_API_KEY to a key that it knows",
    402: "its account has nothing left to spend",
    403: "set POLYLENS_LLM_API_KEY to a key that may use this model",
    404: "check --endpoint, which mostly ends in /v1, and --llm",
}


@dataclass(slots=True)
class EndpointLLM:
    """One model of one server. Thread-safe."""

    address: Address
    name: str
    rate_limiter: RateLimiter
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 180.0  # seconds until an answer has come whole
    request_format: RequestFormat = field(default_factory=RequestFormat)
    _client: Client = field(init=False, repr=False)
    _has_answered: bool = field(default=False, init=False)  # whether anybody is there

    def __post_init__(self) -> None:
        import httpx

        address, key = self.address, self.api_key
        basic = httpx.BasicAuth(address.user, address.password) if address.user else None
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            auth=None if key else basic,
            timeout=httpx.Timeout(self.timeout, connect=min(self.timeout, 10)),
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
            # proxies in the environment are hosts that the user named; this machine needs none
            trust_env=not self.address.is_local,
        )

    def generate(self, request: Request) -> Reply:
        """Raises `WriterError`, `LostError`. What a server does not know of the form of a request
        is left out of this one and of all that follow."""
        content = _build_content(request)
        request_format = self.request_format
        while True:
            response = self._send_with_retries(
                request_format.build_body(self.name, request, content)
            )
            if response.is_success:
                self.request_format = request_format
                return self._read_reply(response, request)
            if response.status_code == 400 and CONTENT_POLICY.search(response.text):
                return Reply(read_error_message(response), refused=True)
            simplified = (
                simplify_format(request_format, read_error_message(response))
                if response.status_code in {400, 422}
                else None
            )
            if simplified is None:
                raise self._error_from_response(response)
            request_format = simplified

    def close(self) -> None:
        self._client.close()

    def _send_with_retries(self, body: dict[str, Any]) -> Response:
        """The answer, after whatever passes has passed; nobody at all ends the run soon."""
        result: Response | str = ""
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                self._wait_to_retry(result, attempt)
            self.rate_limiter.acquire()
            result = self._send_once(body)
            if isinstance(result, str) and attempt and not self._has_answered:
                raise LanguageModelError(
                    f"{self.address.url} cannot be reached ({result}); is it running?"
                )
            if not isinstance(result, str) and not _is_retryable(result):
                return result
        if isinstance(result, str):
            raise RequestFailedError(f"{self.address.url} cannot be reached ({result})")
        raise RequestFailedError(
            f"{self.address.url} failed {MAX_ATTEMPTS} times: {_describe_status(result)}"
        )

    def _send_once(self, body: dict[str, Any]) -> Response | str:
        """The answer, or why none came."""
        import httpx

        try:
            response = self._client.post(f"{self.address.url}/chat/completions", json=body)
        except httpx.ReadTimeout:  # it may be at work: asking again would be paid for twice
            raise RequestFailedError(
                f"{self.address.url} did not answer in {self.timeout:g} seconds; allow more with "
                "--timeout, or ask for less at once with --parallel"
            ) from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return sanitize_message(str(error)) or type(error).__name__
        self._has_answered = True
        return response

    def _wait_to_retry(self, result: Response | str, attempt: int) -> None:
        retry_after_seconds = (
            None
            if isinstance(result, str)
            else parse_retry_after(result.headers.get("retry-after", ""))
        )
        if retry_after_seconds is not None and retry_after_seconds > MAX_RETRY_AFTER:
            raise LanguageModelError(
                f"{self.address.url} asks to wait {retry_after_seconds / 3600:.1f} hours; go on then"
            )
        if retry_after_seconds is not None:
            self.rate_limiter.block_for(
                retry_after_seconds
            )  # it holds for all requests, not for this one alone
            return
        max_delay = min(FIRST_DELAY * 2 ** (attempt - 1), MAX_DELAY)
        self.rate_limiter.sleep(max_delay * random.uniform(0.5, 1.0))  # not all at the same moment

    def _error_from_response(self, response: Response) -> LanguageModelError | RequestFailedError:
        url, status = self.address.url, response.status_code
        if response.has_redirect_location:
            return LanguageModelError(
                f"{url} redirects elsewhere; name that address with --endpoint"
            )
        if status in FATAL_STATUSES or "insufficient_quota" in response.text:
            advice = STATUS_ADVICE.get(status, STATUS_ADVICE[402])
            return LanguageModelError(f"{url} refuses ({_describe_status(response)}); {advice}")
        return RequestFailedError(f"{url} refuses a request: {_describe_status(response)}")

    def _read_reply(self, response: Response, request: Request) -> Reply:
        try:
            return _parse_reply(response.json(), request)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise LanguageModelError(
                f"{self.address.url} answers with something else than a chat's completion; is it "
                "the address of an OpenAI-compatible server? It mostly ends in /v1"
            ) from None


def _parse_reply(body: dict[str, Any], request: Request) -> Reply:
    """What a completion says. Tokens are counted by the rule of `costs` where it does not tell."""
    choice, usage = body["choices"][0], body.get("usage") or {}
    message, finish_reason = choice["message"], choice.get("finish_reason")
    text = message.get("content") or ""
    estimated_prompt_tokens = estimate_tokens(
        request.system + request.text, [picture.size for picture in request.images]
    )
    return Reply(
        text if isinstance(text, str) else "",
        int(usage.get("prompt_tokens") or estimated_prompt_tokens),
        int(usage.get("completion_tokens") or estimate_tokens(str(text))),
        truncated=finish_reason == "length",
        refused=bool(message.get("refusal")) or finish_reason == "content_filter",
    )


def _is_retryable(response: Response) -> bool:
    return response.status_code in RETRIED_STATUSES and "insufficient_quota" not in response.text


def _describe_status(response: Response) -> str:
    return f"status {response.status_code}: {read_error_message(response)}"


def _build_content(request: Request) -> list[dict[str, Any]]:
    """A user's message: every picture after its number, then what is asked."""
    content: list[dict[str, Any]] = []
    for number, image in enumerate(request.images, 1):
        content.append({"type": "text", "text": f"Picture {number}:"})
        content.append({"type": "image_url", "image_url": {"url": encode_data_url(image)}})
    return [*content, {"type": "text", "text": request.text}]
