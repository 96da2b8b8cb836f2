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
from typing import Any, cast, get_args

from embedder.client.embeddings import is_utf8_encodable
from embedder.types import Role, Vectors, normalize

ENCODINGS = ("float", "base64")
ROLES = get_args(Role)
DATA_URL_PATTERN = re.compile(r"data:[\w.+/-]*(?:;[\w.+=-]+)*;base64,", re.I)


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
    if body_kind == "messages":
        item, system_instruction = _parse_messages(request["messages"], limits)
        items: tuple[RequestItem, ...] = (item,)
    else:
        items, system_instruction = _parse_texts(request.get("input"), limits), None
    return EmbeddingRequest(
        model=_validate_text(request.get("model"), "model", limits),
        items=items,
        body_kind=body_kind,
        role=cast(Role, _parse_choice(request, "input_type", ROLES, "query")),
        instruction=_parse_instruction(request, limits) or system_instruction,
        encoding=_parse_choice(request, "encoding_format", ENCODINGS, "float"),
        dimensions=_parse_dimensions(request.get("dimensions")),
    )


def truncate_vectors(rows: Vectors, dim: int) -> Vectors:
    """Truncate (n, d) rows to `dim`, and normalize them again."""
    return rows if rows.shape[1] == dim else normalize(rows[:, :dim])


def build_response(rows: Vectors, embedding_request: EmbeddingRequest, model: str) -> bytes:
    """Build the body. `usage` is 0: models here do not count tokens."""
    encode = _to_base64 if embedding_request.encoding == "base64" else _to_floats
    data = [
        {"object": "embedding", "index": index, "embedding": encode(row)}
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    response = {"object": "list", "data": data, "model": model, "usage": usage}
    return json.dumps(response, separators=(",", ":")).encode()


def _to_base64(row: Vectors) -> str:
    """Encode little-endian float32, as OpenAI's clients expect."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")


def _to_floats(row: Vectors) -> list[float]:
    return cast(list[float], row.tolist())


def _parse_json(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPError(400, "the request's body is no JSON") from None
    if not isinstance(request, dict):
        raise HTTPError(400, "the request's body is no JSON object")
    return request


def _parse_texts(value: Any, limits: ServerLimits) -> tuple[RequestItem, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise HTTPError(400, "'input' is a text or a list of texts", param="input")
    if isinstance(texts[0], int | list):
        raise HTTPError(400, "'input' is token ids; send the text itself", param="input")
    if len(texts) > limits.inputs:  # 413: a client may halve its batch
        raise HTTPError(
            413, f"{len(texts)} inputs; at most {limits.inputs} a request", param="input"
        )
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
    by_role = {
        message["role"]: _parse_content(message.get("content"), limits) for message in messages
    }
    if by_role.get("system", RequestItem()).image_files:
        raise HTTPError(400, "a system message holds text alone", param="messages")
    item = by_role["user"]
    if item.text is None and not item.image_files:
        raise HTTPError(400, "the user message is empty", param="messages")
    return item, by_role.get("system", RequestItem()).text


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
        raise HTTPError(
            400,
            "a picture is a data URL in base64, data:image/png;base64,...; nothing is fetched",
            param="messages",
        )
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise HTTPError(400, "a picture's data URL is no base64", param="messages") from None


def _validate_text(value: Any, param: str, limits: ServerLimits) -> str:
    if not isinstance(value, str) or not value.strip():
        raise HTTPError(400, f"{param!r} must not be empty, and is text", param=param)
    if len(value) > limits.characters:
        raise HTTPError(
            400, f"a text of {len(value)} characters; at most {limits.characters}", param=param
        )
    if not is_utf8_encodable(value):
        raise HTTPError(400, f"{param!r} holds half a letter (a lone surrogate)", param=param)
    return value


def _parse_instruction(request: dict[str, Any], limits: ServerLimits) -> str | None:
    value = request.get("instruction")
    return _validate_text(value, "instruction", limits) if value else None


def _parse_choice(request: dict[str, Any], param: str, choices: Sequence[str], default: str) -> str:
    value = request.get(param)
    if value is None:
        return default
    if value not in choices:
        raise HTTPError(400, f"{param!r} is one of {', '.join(choices)}", param=param)
    return str(value)


def _parse_dimensions(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise HTTPError(400, "'dimensions' is a whole number above 0", param="dimensions")
