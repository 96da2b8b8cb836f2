"""Parses requests, within limits, and builds responses and errors.

OpenAI's embeddings (https://platform.openai.com/docs/api-reference/embeddings), and vLLM's
`messages` form, which takes images as data URLs. Nothing is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedder.client.embeddings import is_utf8_encodable
from embedder.types import ROLES, Role, Vectors, check_role

ENCODINGS = ("float", "base64")
DATA_URL_PATTERN = re.compile(r"data:[\w.+/-]*(?:;[\w.+=-]+)*;base64,", re.I)


TOKEN_IDS_HINT = (
    "'input' is token ids, of which no server can know the tokenizer: send the text itself "
    "(in LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)"
)


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
        kind = kinds.get(self.status, kind)
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


@dataclass(frozen=True, slots=True)
class RequestItem:
    """One input: a text, image files, or both."""

    text: str | None = None
    image_files: tuple[bytes, ...] = ()

    @property
    def modality(self) -> str:
        """The label in the metrics."""
        return "text" if not self.image_files else "both" if self.text else "image"


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A request. `body_kind` is "input" or "messages"; `dimensions` None: all."""

    model: str
    items: tuple[RequestItem, ...]
    body_kind: str
    role: Role
    instruction: str | None
    encoding: str
    dimensions: int | None


def parse_request(body: bytes, limits: ServerLimits) -> EmbeddingRequest:
    """Parse and validate a body; raises `HTTPError`."""
    request = _parse_json(body)
    body_kind = "messages" if request.get("messages") is not None else "input"
    if body_kind == "messages" and request.get("input") is not None:
        raise HTTPError(400, "give either 'input' or 'messages'", param="messages")
    instruction = None
    if body_kind == "messages":
        item, instruction = _parse_messages(request["messages"], limits)
        items: tuple[RequestItem, ...] = (item,)
    else:
        items = _parse_texts(request.get("input"), limits)
    if request.get("instruction"):
        instruction = _validate_text(request["instruction"], "instruction", limits)
    dimensions = request.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or dimensions <= 0):
        raise HTTPError(400, "'dimensions' is a whole number above 0", param="dimensions")
    return EmbeddingRequest(
        model=_validate_text(request.get("model"), "model", limits),
        items=items,
        body_kind=body_kind,
        role=check_role(_parse_choice(request, "input_type", ROLES, "query")),
        instruction=instruction,
        encoding=_parse_choice(request, "encoding_format", ENCODINGS, "float"),
        dimensions=dimensions,
    )


def build_response(rows: Vectors, tokens: int, request: EmbeddingRequest, model: str) -> bytes:
    """Build the body: vectors as lists of numbers, or as base64 of little-endian float32."""
    if request.encoding == "base64":
        vectors: list[Any] = [base64.b64encode(row.astype("<f4")).decode("ascii") for row in rows]
    else:
        vectors = rows.tolist()
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    response = {"object": "list", "data": data, "model": model, "usage": usage}
    return json.dumps(response, separators=(",", ":")).encode()


def _parse_json(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPError(400, "the body of the request is not JSON") from None
    if not isinstance(request, dict):
        raise HTTPError(400, "the body of the request is not a JSON object")
    return request


def _parse_texts(value: Any, limits: ServerLimits) -> tuple[RequestItem, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise HTTPError(400, "'input' is a text or a list of texts", param="input")
    if any(isinstance(text, int | list) for text in texts):
        raise HTTPError(400, TOKEN_IDS_HINT, param="input")
    if len(texts) > limits.inputs:  # 413: a client may halve its batch
        message = f"{len(texts)} inputs; at most {limits.inputs} per request"
        raise HTTPError(413, message, param="input")
    return tuple(RequestItem(_validate_text(text, "input", limits)) for text in texts)


def _parse_messages(messages: Any, limits: ServerLimits) -> tuple[RequestItem, str | None]:
    """Return the user's message, and the system message, which is the instruction."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise HTTPError(400, "'messages' is a list of messages", param="messages")
    roles = [message.get("role") for message in messages]
    if sorted(map(str, roles)) not in (["user"], ["system", "user"]):
        raise HTTPError(
            400, "'messages' is one user message, after a system message or not", param="messages"
        )
    by_role = {m["role"]: _parse_content(m.get("content"), limits) for m in messages}
    item, system = by_role["user"], by_role.get("system", RequestItem())
    if system.image_files:
        raise HTTPError(400, "a system message has only text", param="messages")
    if item.text is None and not item.image_files:
        raise HTTPError(400, "the user message is empty", param="messages")
    return item, system.text


def _parse_content(content: Any, limits: ServerLimits) -> RequestItem:
    """Join the text parts of a message with newlines, and collect its images."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise HTTPError(400, "a message's content is a text or a list of parts", param="messages")
    if len(parts) > limits.inputs:
        raise HTTPError(413, f"{len(parts)} parts; at most {limits.inputs}", param="messages")
    texts, files = [], []
    for part in parts:
        match part:
            case {"type": "text", "text": text}:
                texts.append(_validate_text(text, "messages", limits))
            case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
                files.append(_decode_data_url(url))
            case _:
                raise HTTPError(400, "a part is a text or an image_url", param="messages")
    joined = "\n".join(texts)
    return RequestItem(_validate_text(joined, "messages", limits) if texts else None, tuple(files))


def _decode_data_url(url: str) -> bytes:
    """Decode a data URL. No other URL is opened: a server that fetches URLs from requests can be
    made to read its own network and disk."""
    head = DATA_URL_PATTERN.match(url)
    if not head:
        message = "an image is a data URL in base64, data:image/png;base64,...; nothing is fetched"
        raise HTTPError(400, message, param="messages")
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise HTTPError(400, "an image's data URL is not base64", param="messages") from None


def _validate_text(value: Any, param: str, limits: ServerLimits) -> str:
    if not isinstance(value, str) or not value.strip():
        raise HTTPError(400, f"{param!r} must not be empty, and is text", param=param)
    if len(value) > limits.characters:
        message = f"a text of {len(value)} characters; at most {limits.characters}"
        raise HTTPError(400, message, param=param)
    if not is_utf8_encodable(value):
        raise HTTPError(400, f"{param!r} has a lone surrogate, not a character", param=param)
    return value


def _parse_choice(request: dict[str, Any], param: str, choices: Sequence[str], default: str) -> str:
    value = request.get(param)
    if value is None:
        return default
    if value not in choices:
        raise HTTPError(400, f"{param!r} is one of {', '.join(choices)}", param=param)
    return str(value)
