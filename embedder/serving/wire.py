"""A request's JSON -> what to embed; vectors -> an answer's JSON.

OpenAI's embeddings (https://platform.openai.com/docs/api-reference/embeddings), and vLLM's
`messages` form of them, which takes pictures as data URLs. Nothing is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from embedder.remote.wire import is_whole
from embedder.serving.limits import Limits, Refusal
from embedder.types import Role, Vectors
from embedder.vectors import unit

ENCODINGS = ("float", "base64")
ROLES = get_args(Role)
DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.+=-]+)*;base64,", re.I)


@dataclass(frozen=True, slots=True)
class Item:
    """One input: a text, the files of pictures, or both."""

    text: str | None = None
    files: tuple[bytes, ...] = ()

    @property
    def kind(self) -> str:
        """What the metrics call it."""
        return "text" if not self.files else "both" if self.text else "image"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `form` is "input" or "messages"; `dimensions` None: all."""

    model: str
    items: tuple[Item, ...]
    form: str
    role: Role
    instruction: str | None
    encoding: str
    dimensions: int | None


def parse(body: bytes, limits: Limits) -> Asked:
    """Raises `Refusal`."""
    plain = _json(body)
    form = "messages" if plain.get("messages") is not None else "input"
    if form == "messages" and plain.get("input") is not None:
        raise Refusal(400, "give either 'input' or 'messages'", param="messages")
    if form == "messages":
        item, told = _conversation(plain["messages"], limits)
        items: tuple[Item, ...] = (item,)
    else:
        items, told = _texts(plain.get("input"), limits), None
    return Asked(
        model=_text(plain.get("model"), "model", limits),
        items=items,
        form=form,
        role=cast(Role, _choice(plain, "input_type", ROLES, "query")),
        instruction=_instruction(plain, limits) or told,
        encoding=_choice(plain, "encoding_format", ENCODINGS, "float"),
        dimensions=_dimensions(plain.get("dimensions")),
    )


def cut(rows: Vectors, dim: int) -> Vectors:
    """(n, d) -> the first `dim` numbers of each row, of unit length again."""
    return rows if rows.shape[1] == dim else unit(rows[:, :dim])


def answer(rows: Vectors, asked: Asked, model: str) -> bytes:
    """The answer's body. `usage` is 0: models here do not tell how many tokens they read."""
    encode = _base64 if asked.encoding == "base64" else _floats
    data = [
        {"object": "embedding", "index": index, "embedding": encode(row)}
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    plain = {"object": "list", "data": data, "model": model, "usage": usage}
    return json.dumps(plain, separators=(",", ":")).encode()


def _base64(row: Vectors) -> str:
    """Little-endian float32, as OpenAI's clients expect."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")


def _floats(row: Vectors) -> list[float]:
    return cast(list[float], row.tolist())


def _json(body: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the request's body is no JSON") from None
    if not isinstance(plain, dict):
        raise Refusal(400, "the request's body is no JSON object")
    return plain


def _texts(given: Any, limits: Limits) -> tuple[Item, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise Refusal(400, "'input' is a text or a list of texts", param="input")
    if isinstance(texts[0], int | list):
        raise Refusal(400, "'input' is token ids; send the text itself", param="input")
    if len(texts) > limits.inputs:  # 413: a client may halve its batch
        raise Refusal(413, f"{len(texts)} inputs; at most {limits.inputs} a request", param="input")
    return tuple(Item(_text(text, "input", limits)) for text in texts)


def _conversation(messages: Any, limits: Limits) -> tuple[Item, str | None]:
    """The user's message, and the system's, which is the instruction."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Refusal(400, "'messages' is a list of messages", param="messages")
    roles = [message.get("role") for message in messages]
    if sorted(map(str, roles)) not in (["user"], ["system", "user"]):
        raise Refusal(
            400, "'messages' is one user message, after a system message or not", param="messages"
        )
    by_role = {message["role"]: _content(message.get("content"), limits) for message in messages}
    if by_role.get("system", Item()).files:
        raise Refusal(400, "a system message holds text alone", param="messages")
    item = by_role["user"]
    if item.text is None and not item.files:
        raise Refusal(400, "the user message is empty", param="messages")
    return item, by_role.get("system", Item()).text


def _content(content: Any, limits: Limits) -> Item:
    """A message's text parts, joined by lines, and its pictures."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Refusal(400, "a message's content is a text or a list of parts", param="messages")
    if len(parts) > limits.inputs:
        raise Refusal(413, f"{len(parts)} parts; at most {limits.inputs}", param="messages")
    texts, files = [], []
    for part in parts:
        match part:
            case {"type": "text", "text": text}:
                texts.append(_text(text, "messages", limits))
            case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
                files.append(_file(url))
            case _:
                raise Refusal(400, "a part is a text or an image_url", param="messages")
    joined = "\n".join(texts)
    return Item(_text(joined, "messages", limits) if texts else None, tuple(files))


def _file(url: str) -> bytes:
    """The bytes in a data URL. No other URL is opened: a server that fetches what it is told to
    can be made to read its own network and disk."""
    head = DATA_URL.match(url)
    if not head:
        raise Refusal(
            400,
            "a picture is a data URL in base64, data:image/png;base64,...; nothing is fetched",
            param="messages",
        )
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "a picture's data URL is no base64", param="messages") from None


def _text(given: Any, param: str, limits: Limits) -> str:
    if not isinstance(given, str) or not given.strip():
        raise Refusal(400, f"{param!r} must not be empty, and is text", param=param)
    if len(given) > limits.characters:
        raise Refusal(
            400, f"a text of {len(given)} characters; at most {limits.characters}", param=param
        )
    if not is_whole(given):
        raise Refusal(400, f"{param!r} holds half a letter (a lone surrogate)", param=param)
    return given


def _instruction(plain: dict[str, Any], limits: Limits) -> str | None:
    given = plain.get("instruction")
    return _text(given, "instruction", limits) if given else None


def _choice(plain: dict[str, Any], param: str, known: Sequence[str], default: str) -> str:
    given = plain.get(param)
    if given is None:
        return default
    if given not in known:
        raise Refusal(400, f"{param!r} is one of {', '.join(known)}", param=param)
    return str(given)


def _dimensions(given: Any) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool) and given > 0):
        return given
    raise Refusal(400, "'dimensions' is a whole number above 0", param="dimensions")
