"""Hashes of the app's password: scrypt (RFC 7914), from the standard library."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode

from indexer.config import PASSWORD_HASH_PATTERN

MIN_PASSWORD_LENGTH = 12
MAX_PASSWORD_LENGTH = 1024
LOG2_N, R, P = 15, 8, 3  # 32 MiB; the work that OWASP recommends
SALT_BYTES, KEY_BYTES = 16, 32
MAX_MEMORY, MAX_LOG2_N = 512 << 20, 20  # that a hash may ask for; bytes


def hash_password(password: str) -> str:
    """Return the hash of a password with a new salt; raises `ValueError` for a short one."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise ValueError(f"a password needs {MIN_PASSWORD_LENGTH} characters or more")
    if len(password) > MAX_PASSWORD_LENGTH:
        raise ValueError(f"a password may have {MAX_PASSWORD_LENGTH} characters at most")
    salt = secrets.token_bytes(SALT_BYTES)
    key = _derive_key(password, salt, LOG2_N, R, P, KEY_BYTES)
    salt_text, key_text = (urlsafe_b64encode(b).decode().rstrip("=") for b in (salt, key))
    return f"scrypt:{LOG2_N}:{R}:{P}:{salt_text}:{key_text}"


def verify_password(password: str, password_hash: str) -> bool:
    """Whether a password has this hash. Takes about as long for a wrong one.

    Raises `ValueError` for what is not a hash, or one that would take too much memory.
    """
    match = re.fullmatch(PASSWORD_HASH_PATTERN, password_hash)
    if match is None:
        raise ValueError("not a hash of a password")
    log2_n, r, p = map(int, match.groups()[:3])
    if log2_n > MAX_LOG2_N:
        raise ValueError("it takes too much memory")
    salt, key = (urlsafe_b64decode(text + "=" * (-len(text) % 4)) for text in match.groups()[3:])
    found = _derive_key(password[: MAX_PASSWORD_LENGTH + 1], salt, log2_n, r, p, len(key))
    return hmac.compare_digest(found, key)


def _derive_key(password: str, salt: bytes, log2_n: int, r: int, p: int, length: int) -> bytes:
    normalized = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(
        normalized, salt=salt, n=1 << log2_n, r=r, p=p, maxmem=MAX_MEMORY, dklen=length
    )
