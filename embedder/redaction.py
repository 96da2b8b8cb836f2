"""Keeps secrets out of messages, logs and reprs: passwords and keys in URLs, and secret fields."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

MASK = "***"
# A password with an unescaped /, ? or # runs up to the last @: what follows its colon is no port.
USERINFO_PATTERN = re.compile(
    r"""(?P<scheme>\b[a-z][a-z0-9+.-]*)://
    (?P<userinfo>[^\s/?\#'"]*|[^\s/?\#:@'"]*:(?!\d+(?:[/?\#]|$))[^\s'"]*)@""",
    re.IGNORECASE | re.VERBOSE,
)
SECRET_PARAMETER_PATTERN = re.compile(
    r"""(?P<name>[?&;\#](?:[\w-]*(?:token|signature|secret|password|credential|api[-_]?key)[\w-]*
    |sig|key|auth|jwt|awsaccesskeyid|googleaccessid)=)[^&;\#\s'"]+""",
    re.IGNORECASE | re.VERBOSE,
)


def redact_secrets(text: str) -> str:
    """Return `text` with the passwords and the secret parameters of its URLs as `***`.

    The user's name stays, except before a web address without a password, where it may be a token.
    """
    if "://" in text:
        text = USERINFO_PATTERN.sub(_mask_userinfo, text)
    return SECRET_PARAMETER_PATTERN.sub(rf"\g<name>{MASK}", text)


def redacted_repr(instance: Any) -> str:
    """Return the repr of a dataclass without secrets: a `__repr__` for one whose fields are URLs.

    Fields with `repr=False` are left out.
    """
    shown = (f"{f.name}={getattr(instance, f.name)!r}" for f in fields(instance) if f.repr)
    return redact_secrets(f"{type(instance).__qualname__}({', '.join(shown)})")


def _mask_userinfo(match: re.Match[str]) -> str:
    scheme, (user, colon, _) = match["scheme"], match["userinfo"].partition(":")
    if colon:
        return f"{scheme}://{user}:{MASK}@"
    return f"{scheme}://{MASK}@" if scheme.lower() in {"http", "https"} else match[0]
