"""The settings table: what a setting is, and the settings of a model.

The rest of the table is `indexer.config.Config`, one field per setting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedder.origin import parse_origin
from embedder.redaction import MASK, redact_secrets
from embedder.types import QUANTIZATIONS

MAX_DIGITS = 18  # of a number, which fits 64 bits
SIZE_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9} | {
    "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the settings table. Its name is the key in polylens.toml.

    `parse` turns what was written into the value, or raises `ValueError` with what was expected.
    `default` is the value or a function that computes it, and `default_text` is for people, where
    it depends on something. `env` are environment variables that set it beside POLYLENS_NAME.
    `old_names` are still read, with a warning.
    """

    help: str
    parse: Callable[[object], object] = str
    metavar: str = "NAME"
    default: object = None
    default_text: str = ""
    example: str = ""  # in .env.example, where the default says too little
    env: tuple[str, ...] = ()
    old_names: tuple[str, ...] = ()
    secret: bool = False

    def field(self) -> Any:
        """A dataclass field that carries this row; a secret is not in the dataclass's repr."""
        return field(
            default_factory=self.compute_default, repr=not self.secret, metadata={"setting": self}
        )

    def mask(self, value: object) -> object:
        """The value as it may be shown: without a secret, or the secrets of a URL."""
        if self.secret and value:
            return MASK
        return redact_secrets(value) if isinstance(value, str) else value

    def compute_default(self) -> object:
        return self.default() if callable(self.default) else self.default

    @property
    def shown_default(self) -> str:
        """The default as people write it; empty where there is none."""
        if self.default_text or self.default is None:
            return self.default_text
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default).lower()


def parse_size(value: object) -> int:
    """A count or a number of bytes: 150000000, "150M", "200MB", "200MiB"."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([kmg]i?)?(?:b|px)?", str(value).strip().lower())
    if not match:
        raise ValueError("expected a number, with a suffix such as 200MB or 150M")
    if len(match[1]) > MAX_DIGITS:
        raise ValueError("expected a smaller number")
    return int(float(match[1]) * SIZE_SUFFIXES[match[2] or ""])


def parse_int(minimum: int, maximum: float = math.inf) -> Callable[[object], int]:
    """Return the parser of a whole number in a range."""

    def parse(value: object) -> int:
        text = str(value).strip()
        if len(text) > MAX_DIGITS:
            raise ValueError("expected a smaller number")
        if not re.fullmatch(r"[+-]?\d+", text) or not minimum <= int(text) <= maximum:
            upper = "or more" if maximum == math.inf else f"to {maximum}"
            raise ValueError(f"expected a whole number, {minimum} {upper}")
        return int(text)

    return parse


def parse_bool(value: object) -> bool:
    text = str(value).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def parse_quantization(value: object) -> str:
    text = str(value).strip().lower()
    if text not in QUANTIZATIONS:
        raise ValueError(f"expected {' or '.join(QUANTIZATIONS)}")
    return text


def parse_key_url(value: object) -> str:
    """The URL of a server, of which scheme, host and port count."""
    text = str(value).strip()
    if parse_origin(text) is None:
        raise ValueError("expected http(s)://HOST or http(s)://HOST:PORT")
    return text


MODEL_SETTINGS: Mapping[str, Setting] = {
    "model": Setting(
        "The model: a name, a folder, or a model server's URL.",
        metavar="NAME|FOLDER|URL",
        default_text="the collection's own; `starter` for a new one",
        example="starter",
    ),
    "device": Setting(
        "Where the model runs: cpu, cuda, or several as cuda:0,cuda:1.",
        default_text="the best there is",
        example="cpu",
    ),
    "dtype": Setting(
        "The model's data type: bfloat16, float16 or float32.",
        default_text="by the device",
        example="bfloat16",
    ),
    "dim": Setting(
        "Dimensions that vectors are cut to, where the model was trained for it.",
        parse_int(1),
        "N",
        default_text="the model's",
        example="512",
    ),
    "pixel_budget": Setting(
        "The most pixels of an image that the model sees, such as 250k; fewer are faster.",
        parse_size,
        "N",
        default_text="the model's",
        example="250k",
    ),
    "quantize": Setting(
        "Hold the model's weights in fewer bits: int8, or nf4 for four. Vectors change.",
        parse_quantization,
        "int8|nf4",
        default_text="all bits",
        example="int8",
    ),
    "trust_remote_code": Setting(
        "Run Python code that comes with a model's weights.", parse_bool, "", False
    ),
    "model_api_key": Setting(
        "The key of the server that the model runs on.", metavar="KEY", secret=True
    ),
    "model_api_key_url": Setting(
        "The server that the key is for; it is sent to no other.",
        parse_key_url,
        "URL",
        default_text="the URL in `model`",
        example="https://models.example.org",
    ),
}
