"""A language model behind an OpenAI-compatible chat endpoint.

https://platform.openai.com/docs/api-reference/chat; vLLM, llama.cpp and Ollama speak it too.
Nothing is sent to another host: redirects are not followed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedder.remote.address import Address
from embedder.remote.http import PASSING, printable, retry_after, said
from embedder.remote.pictures import data_url
from finetune.synthesis.costs import tokens
from finetune.synthesis.forms import Form, fallback
from finetune.synthesis.pace import Pace
from finetune.synthesis.writers import LostError, Reply, Request, WriterError

if TYPE_CHECKING:
    from httpx import Client, Response

ATTEMPTS = 6
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds; doubled from attempt to attempt
LONGEST_ASKED = 3600.0  # a server that asks for more is given up
POLICY = re.compile(
    r"content[ _](?:filter|policy|management policy)|responsible ?ai", re.IGNORECASE
)
CLOSED = {401, 402, 403, 404}  # what no other request would change
ADVICE = {
    401: "set POLYLENS_LLM_API_KEY to a key that it knows",
    402: "its account has nothing left to spend",
    403: "set POLYLENS_LLM_API_KEY to a key that may use this model",
    404: "check --endpoint, which mostly ends in /v1, and --llm",
}


@dataclass(slots=True)
class Endpoint:
    """One model of one server. Thread-safe."""

    address: Address
    name: str
    pace: Pace
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 180.0  # seconds until an answer has come whole
    form: Form = field(default_factory=Form)
    _client: Client = field(init=False, repr=False)
    _answered: bool = field(default=False, init=False)  # whether anybody is there

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

    def write(self, request: Request) -> Reply:
        """Raises `WriterError`, `LostError`. What a server does not know of the form of a request
        is left out of this one and of all that follow."""
        content = _content(request)
        form = self.form
        while True:
            response = self._send(form.body(self.name, request, content))
            if response.is_success:
                self.form = form
                return self._reply(response, request)
            if response.status_code == 400 and POLICY.search(response.text):
                return Reply(said(response), refused=True)
            simpler = fallback(form, said(response)) if response.status_code in {400, 422} else None
            if simpler is None:
                raise self._refusal(response)
            form = simpler

    def close(self) -> None:
        self._client.close()

    def _send(self, body: dict[str, Any]) -> Response:
        """The answer, after whatever passes has passed; nobody at all ends the run soon."""
        why: Response | str = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._pause(why, attempt)
            self.pace.wait()
            why = self._once(body)
            if isinstance(why, str) and attempt and not self._answered:
                raise WriterError(f"{self.address.url} cannot be reached ({why}); is it running?")
            if not isinstance(why, str) and not _passes(why):
                return why
        if isinstance(why, str):
            raise LostError(f"{self.address.url} cannot be reached ({why})")
        raise LostError(f"{self.address.url} failed {ATTEMPTS} times: {_status(why)}")

    def _once(self, body: dict[str, Any]) -> Response | str:
        """The answer, or why none came."""
        import httpx

        try:
            response = self._client.post(f"{self.address.url}/chat/completions", json=body)
        except httpx.ReadTimeout:  # it may be at work: asking again would be paid for twice
            raise LostError(
                f"{self.address.url} did not answer in {self.timeout:g} seconds; allow more with "
                "--timeout, or ask for less at once with --parallel"
            ) from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return printable(str(error)) or type(error).__name__
        self._answered = True
        return response

    def _pause(self, why: Response | str, attempt: int) -> None:
        asked = None if isinstance(why, str) else retry_after(why.headers.get("retry-after", ""))
        if asked is not None and asked > LONGEST_ASKED:
            raise WriterError(
                f"{self.address.url} asks to wait {asked / 3600:.1f} hours; go on then"
            )
        if asked is not None:
            self.pace.hold(asked)  # it holds for all requests, not for this one alone
            return
        longest = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
        self.pace.sleep(longest * random.uniform(0.5, 1.0))  # not all at the same moment

    def _refusal(self, response: Response) -> WriterError | LostError:
        url, status = self.address.url, response.status_code
        if response.has_redirect_location:
            return WriterError(f"{url} redirects elsewhere; name that address with --endpoint")
        if status in CLOSED or "insufficient_quota" in response.text:
            advice = ADVICE.get(status, ADVICE[402])
            return WriterError(f"{url} refuses ({_status(response)}); {advice}")
        return LostError(f"{url} refuses a request: {_status(response)}")

    def _reply(self, response: Response, request: Request) -> Reply:
        try:
            return _reply(response.json(), request)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise WriterError(
                f"{self.address.url} answers with something else than a chat's completion; is it "
                "the address of an OpenAI-compatible server? It mostly ends in /v1"
            ) from None


def _reply(plain: dict[str, Any], request: Request) -> Reply:
    """What a completion says. Tokens are counted by the rule of `costs` where it does not tell."""
    choice, usage = plain["choices"][0], plain.get("usage") or {}
    message, why = choice["message"], choice.get("finish_reason")
    text = message.get("content") or ""
    asked = tokens(request.system + request.text, [picture.size for picture in request.pictures])
    return Reply(
        text if isinstance(text, str) else "",
        int(usage.get("prompt_tokens") or asked),
        int(usage.get("completion_tokens") or tokens(str(text))),
        cut=why == "length",
        refused=bool(message.get("refusal")) or why == "content_filter",
    )


def _passes(response: Response) -> bool:
    return response.status_code in PASSING and "insufficient_quota" not in response.text


def _status(response: Response) -> str:
    return f"status {response.status_code}: {said(response)}"


def _content(request: Request) -> list[dict[str, Any]]:
    """A user's message: every picture after its number, then what is asked."""
    content: list[dict[str, Any]] = []
    for place, picture in enumerate(request.pictures, 1):
        content.append({"type": "text", "text": f"Picture {place}:"})
        content.append({"type": "image_url", "image_url": {"url": data_url(picture)}})
    return [*content, {"type": "text", "text": request.text}]
