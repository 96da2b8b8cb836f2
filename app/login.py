"""Who may use the app: a password, or a login with OpenID Connect."""

from __future__ import annotations

import json
import re
import secrets
import time
import tomllib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.passwords import verify_password
from embedder.extras import require_extra
from indexer.config import Config
from indexer.errors import ConfigError

SESSION_SECONDS = 7 * 86400.0  # of a login
MAX_ATTEMPTS, ATTEMPT_SECONDS = 10, 60.0  # passwords from one address in that time
MAX_ADDRESSES = 10_000  # whose attempts are counted
MIN_COOKIE_SECRET_LENGTH = 32
CALLBACK_PATH = "/oauth2callback"
PROVIDER_KEYS = ("client_id", "client_secret", "server_metadata_url")
EVERYBODY = "*"


class RateLimit:
    """Counts what each address does, and says how long it has to wait."""

    def __init__(self, limit: int = MAX_ATTEMPTS, seconds: float = ATTEMPT_SECONDS) -> None:
        self._limit, self._seconds = limit, seconds
        self._times: dict[str, deque[float]] = {}

    def take(self, address: str) -> float:
        """Count one attempt; return the seconds to wait, 0 if it may be made."""
        now, key = time.monotonic(), _network(address)
        if key not in self._times and len(self._times) >= MAX_ADDRESSES:
            self._forget(now)
            key = key if len(self._times) < MAX_ADDRESSES else ""  # one limit for all the others
        times = self._times.setdefault(key, deque())
        while times and times[0] <= now - self._seconds:
            times.popleft()
        if len(times) >= self._limit:
            return self._seconds - (now - times[0])
        times.append(now)
        return 0.0

    def clear(self, address: str) -> None:
        """Forget the attempts of an address: the last one was right."""
        self._times.pop(_network(address), None)

    def _forget(self, now: float) -> None:
        recent = now - self._seconds
        self._times = {key: times for key, times in self._times.items() if times[-1] > recent}


def _network(address: str) -> str:
    """An address; of IPv6 its network of 64 bits, which is one customer's."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or IPv6Network((int(ip), 64), strict=False))
    return str(ip)


@dataclass(slots=True)
class PasswordLogin:
    """One password for all, and the sessions of those who typed it. They end with the process."""

    password_hash: str = field(repr=False)
    attempts: RateLimit = field(default_factory=RateLimit)
    _sessions: dict[str, float] = field(default_factory=dict, repr=False)  # token -> when it ends

    def is_right(self, password: str) -> bool:
        """Whether this is the password. It takes a while."""
        return verify_password(password, self.password_hash)

    def start_session(self) -> str:
        """Return the token of a new session."""
        now = time.time()
        self._sessions = {token: end for token, end in self._sessions.items() if end > now}
        token = secrets.token_urlsafe(32)
        self._sessions[token] = now + SESSION_SECONDS
        return token

    def is_logged_in(self, token: str | None) -> bool:
        return token is not None and self._sessions.get(token, 0.0) > time.time()

    def log_out(self, token: str | None) -> None:
        """End a session."""
        if token is not None:
            self._sessions.pop(token, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody whom a provider has logged in."""

    subject: str
    email: str = ""  # "" unless the provider has verified it

    @property
    def name(self) -> str:
        return f"{self.email} ({self.subject})" if self.email else self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcLogin:
    """A login with OpenID Connect through Streamlit's `st.login`, and who may use the app then."""

    auth: Mapping[str, Any] = field(repr=False)  # the section [auth]
    allowed_users: frozenset[str]

    @property
    def providers(self) -> list[str]:
        return [name for name, value in self.auth.items() if _is_provider(value)] or ["default"]

    @property
    def origin(self) -> str:
        """The scheme and host of the app in the browser."""
        parts = urlsplit(self.auth["redirect_uri"])
        return f"{parts.scheme}://{parts.netloc}"

    def find_user(self, cookies: Mapping[str, str]) -> User | None:
        """The user in Streamlit's signed cookie; None if there is none, or it is too old."""
        from streamlit.auth_util import get_cookie_with_chunks
        from streamlit.web.server.server_util import AUTH_COOKIE_NAME
        from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value

        def read_cookie(name: str) -> bytes | None:
            value = cookies.get(name, "").encode("latin-1", "replace")
            secret, days = self.auth["cookie_secret"], SESSION_SECONDS / 86400
            return decode_signed_value(secret, name, value, max_age_days=days)

        try:
            user = json.loads(get_cookie_with_chunks(read_cookie, AUTH_COOKIE_NAME) or b"{}")
        except ValueError:
            return None
        if not user.get("is_logged_in") or user.get("origin") != self.origin:
            return None
        is_verified = user.get("email_verified") in (True, "true")
        return User(
            subject=str(user.get("sub", "")),
            email=str(user.get("email", "")) if is_verified else "",
        )

    def is_allowed(self, user: User) -> bool:
        """Whether the settings let somebody whom the provider knows use the app."""
        names = {EVERYBODY}
        if "@" not in user.subject:  # it would look like an address, which nobody has verified
            names.add(user.subject)
        if "@" in user.email:
            names |= {user.email.lower(), "@" + user.email.lower().rpartition("@")[2]}
        return not names.isdisjoint(self.allowed_users)

    def login_path(self, provider: str) -> str:
        """The path that leads to the provider, as `st.login` would; it is valid for two minutes."""
        from streamlit.auth_util import encode_provider_token

        return f"auth/login?provider={encode_provider_token(provider)}"


def _is_provider(value: object) -> bool:
    return isinstance(value, dict) and "client_id" in value


def load_oidc_login(file: str, allowed_users: Sequence[str]) -> OidcLogin:
    """Read the file of an OpenID Connect login.

    Raises:
        ConfigError: It cannot be read, or lacks something.
        MissingExtraError: Authlib is not installed.
    """
    require_extra("oidc")
    try:
        auth = tomllib.loads(Path(file).read_text("utf-8")).get("auth")
    except (OSError, ValueError) as error:
        raise ConfigError(f"app_oidc_file = {file}: it cannot be read ({error})") from error
    if not isinstance(auth, dict):
        raise ConfigError(f"app_oidc_file = {file}: it has no section [auth]")
    sections = {name: value for name, value in auth.items() if _is_provider(value)} or {"": auth}
    missing = [
        f"{name}.{key}".lstrip(".")
        for name, section, keys in [
            ("", auth, ("redirect_uri", "cookie_secret")),
            *((name, section, PROVIDER_KEYS) for name, section in sections.items()),
        ]
        for key in keys
        if not isinstance(section.get(key), str) or not section[key]
    ]
    if missing:
        raise ConfigError(f"app_oidc_file = {file}: [auth] lacks {', '.join(missing)}")
    if not re.fullmatch(rf"https?://[^{{}}]+{CALLBACK_PATH}", auth["redirect_uri"]):
        raise ConfigError(
            f"app_oidc_file = {file}: redirect_uri is the app's address with {CALLBACK_PATH}, "
            f"such as https://pictures.example.com{CALLBACK_PATH}"
        )
    if len(auth["cookie_secret"]) < MIN_COOKIE_SECRET_LENGTH:
        raise ConfigError(
            f"app_oidc_file = {file}: cookie_secret has fewer than {MIN_COOKIE_SECRET_LENGTH} "
            "characters; make one with: openssl rand -hex 32"
        )
    if not allowed_users:
        raise ConfigError(
            "app_oidc_file is set, but app_allowed_users names nobody: set "
            "POLYLENS_APP_ALLOWED_USERS to their addresses, to @example.com, or to * for everybody "
            "whom the provider lets in"
        )
    users = frozenset(name.lower() if "@" in name else name for name in allowed_users)
    return OidcLogin(auth=auth, allowed_users=users)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The ways to log in; False where there is none."""

    password: PasswordLogin | None = None
    oidc: OidcLogin | None = None

    def __bool__(self) -> bool:
        return bool(self.password or self.oidc)

    @staticmethod
    def from_config(config: Config) -> Login:
        """Raises `ConfigError`, `MissingExtraError`."""
        try:
            if config.app_password_hash:
                verify_password("", config.app_password_hash)
        except ValueError as error:
            raise ConfigError(
                f"app_password_hash cannot be used ({error}); make another: polylens hash-password"
            ) from error
        return Login(
            password=PasswordLogin(config.app_password_hash) if config.app_password_hash else None,
            oidc=load_oidc_login(config.app_oidc_file, config.app_allowed_users)
            if config.app_oidc_file
            else None,
        )
