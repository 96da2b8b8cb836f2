"""Keeps secrets out of messages, logs and reprs: passwords and keys in URLs, and secret fields."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

MASK = "***"
# Messages may hold long texts of others, so that each pattern takes linear time: what it looks
# through before it fails is short, or ends at the first character that begins another match.
WORD_PATTERN = re.compile(r'[^\s"]+')  # a single quote may be part of a password
# A password with an unescaped /, ? or # runs up to the last @: what follows its colon is no port.
USERINFO_PATTERN = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,30})://"
    r"(?P<userinfo>[^/?#]*|[^/?#:@]*:(?!\d+[/?#]).*)@",
    re.IGNORECASE,
)
SECRET_PARAMETER_PATTERN = re.compile(
    r"""(?P<name>[?&;\#](?:[\w-]{0,40}
    (?:token|signature|secret|passw|passphrase|pwd|credential|(?:api|access|account)[-_]?key)
    [\w-]{0,40}|sig|key|auth|jwt|pass|googleaccessid)=)[^&;\#\s'"]+""",
    re.IGNORECASE | re.VERBOSE,
)


def redact_secrets(text: str) -> str:
    """Return `text` with the passwords and the secret parameters of its URLs as `***`.

    The user's name stays, except before a web address without a password, where it may be a token.
    """
    if "://" in text:
        text = WORD_PATTERN.sub(_mask_word, text)
    return SECRET_PARAMETER_PATTERN.sub(rf"\g<name>{MASK}", text)


def redacted_repr(instance: Any) -> str:
    """Return the repr of a dataclass without secrets: a `__repr__` for one whose fields are URLs.

    Fields with `repr=False` are left out.
    """
    shown = (f"{f.name}={getattr(instance, f.name)!r}" for f in fields(instance) if f.repr)
    return redact_secrets(f"{type(instance).__qualname__}({', '.join(shown)})")


def _mask_word(match: re.Match[str]) -> str:
    start, at, end = match[0].rpartition("@")
    return USERINFO_PATTERN.sub(_mask_userinfo, start + at) + end


def _mask_userinfo(match: re.Match[str]) -> str:
    scheme, (user, colon, _) = match["scheme"], match["userinfo"].partition(":")
    if colon:
        return f"{scheme}://{user}:{MASK}@"
    return f"{scheme}://{MASK}@" if scheme.lower() in {"http", "https"} else match[0]
