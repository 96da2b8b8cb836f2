"""The language model that a user named: a server's, or one on this machine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from embedder.errors import EmbedderError
from embedder.remote.address import parse
from embedder.types import Settings
from finetune.synthesis.endpoint import Endpoint
from finetune.synthesis.forms import Form
from finetune.synthesis.pace import Pace
from finetune.synthesis.writers import Writer, WriterError


@dataclass(frozen=True, slots=True)
class Choice:
    """`endpoint` None: a model of transformers, named by `llm`. `per_minute` 0: any number."""

    endpoint: str | None
    llm: str
    api_key: str | None = field(default=None, repr=False)
    max_tokens: int = 3000
    temperature: float = 1.0
    per_minute: float = 0.0
    timeout: float = 180.0  # seconds
    device: str | None = None
    dtype: str | None = None


def open_writer(choice: Choice, stop: threading.Event) -> Writer:
    """Nothing is sent before the first request. Raises `WriterError`."""
    if choice.endpoint is None:
        from finetune.synthesis.local import LocalModel

        settings = Settings(device=choice.device, dtype=choice.dtype)
        return LocalModel(
            choice.llm, settings, max_tokens=choice.max_tokens, temperature=choice.temperature
        )
    try:
        address = parse(choice.endpoint)
    except EmbedderError as error:
        raise WriterError(f"--endpoint: {error}") from None
    key = (choice.api_key or "").strip() or None
    if key and not (key.isascii() and key.isprintable()):
        raise WriterError("the API key holds a letter that no key has; type it again")
    return Endpoint(
        address=address,
        name=choice.llm or address.model or "",
        pace=Pace(choice.per_minute, stop),
        api_key=key,
        timeout=choice.timeout,
        form=Form(max_tokens=choice.max_tokens, temperature=choice.temperature),
    )


def destination(choice: Choice) -> tuple[str, str | None]:
    """Where pictures go, and what there is to warn of, in words."""
    if choice.endpoint is None:
        return f"{choice.llm} runs on this machine; no picture leaves it", None
    address = parse(choice.endpoint)
    if address.is_local:
        return f"pictures and prompts go to {address.url}, which is on this machine", None
    host, where = urlsplit(address.url).netloc, f"pictures and prompts go to {address.url}"
    if address.url.startswith("https://"):
        return where, None
    goods = "pictures and the key" if choice.api_key else "pictures"
    return where, f"{goods} travel to {host} unencrypted; name an https address if it has one"
