"""The language model that a user named: a server's, or one on this machine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from embedder.client.address import parse_address
from embedder.errors import EmbedderError
from embedder.types import Settings
from finetune.synthesis.endpoint_llm import EndpointLLM
from finetune.synthesis.llm import LanguageModel, LanguageModelError
from finetune.synthesis.rate_limit import RateLimiter
from finetune.synthesis.request_format import RequestFormat


@dataclass(frozen=True, slots=True)
class LLMOptions:
    """`endpoint` None: a model of transformers, named by `llm`. `per_minute` 0: any number."""

    endpoint: str | None
    llm: str
    api_key: str | None = field(default=None, repr=False)
    max_tokens: int = 3000
    temperature: float = 1.0
    requests_per_minute: float = 0.0
    timeout: float = 180.0  # seconds
    device: str | None = None
    dtype: str | None = None


def open_llm(options: LLMOptions, stop: threading.Event) -> LanguageModel:
    """Nothing is sent before the first request. Raises `WriterError`."""
    if options.endpoint is None:
        from finetune.synthesis.local_llm import LocalLLM

        settings = Settings(device=options.device, dtype=options.dtype)
        return LocalLLM(
            options.llm, settings, max_tokens=options.max_tokens, temperature=options.temperature
        )
    try:
        address = parse_address(options.endpoint)
    except EmbedderError as error:
        raise LanguageModelError(f"--endpoint: {error}") from None
    key = (options.api_key or "").strip() or None
    if key and not (key.isascii() and key.isprintable()):
        raise LanguageModelError("the API key holds a letter that no key has; type it again")
    return EndpointLLM(
        address=address,
        name=options.llm or address.model or "",
        rate_limiter=RateLimiter(options.requests_per_minute, stop),
        api_key=key,
        timeout=options.timeout,
        request_format=RequestFormat(
            max_tokens=options.max_tokens, temperature=options.temperature
        ),
    )


def describe_destination(options: LLMOptions) -> tuple[str, str | None]:
    """Where pictures go, and what there is to warn of, in words."""
    if options.endpoint is None:
        return f"{options.llm} runs on this machine; no picture leaves it", None
    address = parse_address(options.endpoint)
    if address.is_local:
        return f"pictures and prompts go to {address.url}, which is on this machine", None
    host, message = urlsplit(address.url).netloc, f"pictures and prompts go to {address.url}"
    if address.url.startswith("https://"):
        return message, None
    sent = "pictures and the key" if options.api_key else "pictures"
    return message, f"{sent} travel to {host} unencrypted; name an https address if it has one"
