"""The middleware that guards every route of the app: Host, Origin, and login.

Streamlit's `st.login` protects its pages; pictures, uploads and the WebSocket have routes of their
own. So what is not allowed ends here, before Streamlit and before our own routes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from dataclasses import dataclass, field
from html import escape
from ipaddress import ip_address
from string import Template
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.login import SESSION_SECONDS, Login, PasswordLogin

log = logging.getLogger(__name__)

HEALTH_PATH = "/_stcore/health"
LOGOUT_PATH = "/logout"
LOGOUT_PATHS = (LOGOUT_PATH, "/auth/logout")
OIDC_PATHS = ("/auth/login", "/auth/logout", "/oauth2callback")  # Streamlit's
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
SESSION_COOKIE = "polylens_session"
MAX_FORM_BYTES = 8192
FORM_TYPE = "application/x-www-form-urlencoded"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
ADDED_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",  # no page of others around ours
    "Cross-Origin-Opener-Policy": "same-origin",  # nor one that holds the window of ours
    "Referrer-Policy": "same-origin",  # the address holds what was searched for
    "X-Content-Type-Options": "nosniff",
}
PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Polylens</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh;
  margin: 0; background: light-dark(#fbfaf8, #141312); color: light-dark(#1c1917, #f0ede8) }
main { width: min(20rem, 90vw) }
h1 { font-size: 1.6rem; margin: 0 0 1rem }
input, button, a.button { box-sizing: border-box; width: 100%; font: inherit; padding: .6rem .9rem;
  margin: .4rem 0; border-radius: .8rem; border: 1px solid light-dark(#e4e0d9, #35322e) }
button, a.button { display: block; text-align: center; text-decoration: none; cursor: pointer;
  background: #0f766e; color: #fff; border-color: #0f766e }
[role=alert] { color: light-dark(#b91c1c, #f87171) }
</style></head><body><main><h1>Polylens</h1>$content</main></body></html>
""")
PASSWORD_FORM = """<form method="post"><label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 required autofocus><button>Log in</button></form>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may connect.

    Attributes:
        hosts: The names of this machine in the browser's address bar.
        public_hosts: Those that a proxy gives it, which may have any port.
        any_address: Whether it may be called by any IP address; no web page can make up one.
        login: How visitors log in, if they have to.
    """

    hosts: frozenset[str] = frozenset(LOCAL_HOSTS)
    public_hosts: frozenset[str] = frozenset()
    any_address: bool = False
    login: Login = field(default_factory=Login)

    def is_host_allowed(self, headers: Headers) -> bool:
        """Whether a request is for this app: a web page can give this machine a name of its own."""
        if len(headers.getlist("host")) != 1 or set(headers["host"]) & set("/\\?#@"):
            return False
        host = _split_host(f"//{headers['host']}")[0]
        if host in self.hosts or host in self.public_hosts:
            return True
        return self.any_address and _is_address(host)

    def is_origin_allowed(self, headers: Headers) -> bool:
        """Whether a request comes from a page of this app, or from no page."""
        if "origin" not in headers:
            return True
        host, port = _split_host(headers["origin"])
        own_host, own_port = _split_host(f"//{headers.get('host', '')}")
        if not host:
            return False
        if headers["origin"].partition("://")[2] == headers.get("host"):
            return True
        if host in self.public_hosts:
            return True
        return host in self.hosts and own_host in self.hosts and port == own_port

    def refuse_page_of_others(self, request: Request) -> Response | None:
        """The answer to a request for another host, or by a page of another site."""
        headers = request.headers
        if not self.is_host_allowed(headers):
            text = (
                "This host is not allowed. If the app has this name, start it with --public-host."
            )
            return PlainTextResponse(text, 400)
        is_safe = request.method in SAFE_METHODS
        # not in a frame or an object, whose page would learn whether there is such a picture, and
        # not by a link that logs out
        is_opened = is_safe and headers.get("sec-fetch-dest") == "document"
        is_opened &= request.scope["path"] not in LOGOUT_PATHS
        is_own = headers.get("sec-fetch-site", "none") in ("none", "same-origin") or is_opened
        if is_own and (is_safe or self.is_origin_allowed(headers)):
            return None
        return PlainTextResponse("A page of another site may not do this.", 403)


class AccessMiddleware:
    """Lets pass what `access` allows."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access, self._login = app, access, access.login
        self._one_at_a_time = asyncio.Lock()  # a password takes memory and time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._handle_request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._handle_socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, answer = Request(scope, receive), None
        if scope["path"] != HEALTH_PATH or scope["method"] not in SAFE_METHODS:
            answer = self._access.refuse_page_of_others(request)
            if answer is None and self._login:
                answer = await self._ask_for_login(request)
        await (answer or self._app)(scope, receive, _add_headers(send))

    async def _handle_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, access = Headers(scope=scope), self._access
        connection = HTTPConnection(scope)
        if not (
            access.is_host_allowed(headers)
            and access.is_origin_allowed(headers)
            and self._may_use(connection)
        ):
            await send({"type": "websocket.close", "code": 1008})
            return

        is_open = True

        async def receive_while_logged_in() -> Message:
            nonlocal is_open
            message = await receive()
            if self._may_use(connection):
                return message
            if is_open:
                is_open = False
                await send({"type": "websocket.close", "code": 1008})
            return {"type": "websocket.disconnect", "code": 1008}

        async def send_while_open(message: Message) -> None:
            if is_open:
                await send(message)

        await self._app(scope, receive_while_logged_in, send_while_open)

    async def _ask_for_login(self, request: Request) -> Response | None:
        """The answer to a visitor who is not logged in, or logs in or out."""
        path = request.scope["path"]  # that of the URL depends on the header Host
        is_safe = request.method in SAFE_METHODS
        if path == LOGOUT_PATH and is_safe:
            return self._log_out(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_form = request.method == "POST" and content_type == FORM_TYPE  # Streamlit has none
        if self._may_use(request):
            return RedirectResponse(_relative_url(request), 303) if is_form else None
        if self._login.oidc and path in OIDC_PATHS:
            return None
        if self._login.password and is_form:
            return await self._log_in(request, self._login.password)
        if is_safe and "text/html" in request.headers.get("accept", ""):
            return self._show_login(request, 401)
        return PlainTextResponse("Log in first.", 401)

    def _may_use(self, connection: HTTPConnection) -> bool:
        """Whether a visitor is logged in, or need not be."""
        if not self._login:
            return True
        password, oidc, cookies = self._login.password, self._login.oidc, connection.cookies
        if password and password.is_logged_in(cookies.get(SESSION_COOKIE)):
            return True
        user = oidc.find_user(cookies) if oidc else None
        return bool(oidc and user and oidc.is_allowed(user))

    async def _log_in(self, request: Request, login: PasswordLogin) -> Response:
        address = request.client.host if request.client else ""
        seconds = login.attempts.take(address)
        if seconds:
            message = f"Too many attempts. Wait {seconds:.0f} seconds, and try again."
            answer = self._show_login(request, 429, message)
            answer.headers["Retry-After"] = f"{seconds:.0f}"
            return answer
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                return PlainTextResponse("This form is too long.", 413)
        password = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        async with self._one_at_a_time:
            is_right = await asyncio.to_thread(login.is_right, password)
        if not is_right:
            log.warning("wrong password from %s", address)
            return self._show_login(request, 403, "This password is wrong.")
        login.attempts.clear(address)
        response = RedirectResponse(_relative_url(request), 303)
        is_https = urlsplit(request.headers.get("origin", "")).scheme == "https"
        response.set_cookie(
            SESSION_COOKIE,
            login.start_session(),
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="lax",
            secure=is_https,
        )
        return response

    def _log_out(self, request: Request) -> Response:
        if self._login.password:
            self._login.password.log_out(request.cookies.get(SESSION_COOKIE))
        response = RedirectResponse("auth/logout" if self._login.oidc else "./", 303)
        response.delete_cookie(SESSION_COOKIE)
        return response

    def _show_login(self, request: Request, status: int, message: str = "") -> Response:
        content = f'<p role="alert">{escape(message)}</p>' if message else ""
        oidc = self._login.oidc
        user = oidc.find_user(request.cookies) if oidc else None
        up = "../" * (request.scope["path"].count("/") - 1)
        if user:
            content += f"<p>{escape(user.name)} may not use this app. "
            content += f'<a href="{up}auth/logout">Log out</a></p>'
        if self._login.password:
            content += PASSWORD_FORM
        for provider in oidc.providers if oidc else []:
            label = "Log in" if provider == "default" else f"Log in with {provider.title()}"
            url = escape(up + oidc.login_path(provider)) if oidc else ""
            content += f'<p><a class="button" href="{url}">{escape(label)}</a></p>'
        headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(PAGE.substitute(content=content), status, headers)


def list_own_names() -> frozenset[str]:
    """The names of this machine, without and with the domain of multicast DNS."""
    name = socket.gethostname().lower()
    return frozenset({name, f"{name}.local"} if re.fullmatch(r"[\w.-]+", name) else ())


def _add_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in ADDED_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def _relative_url(request: Request) -> str:
    """The address of a request relative to itself, so that it works behind a base path."""
    name = quote(request.scope["path"].rpartition("/")[2], safe="")
    query = request.scope["query_string"].decode("latin-1")
    return f"./{name}?{query}" if query else f"./{name}"


def _split_host(url: str) -> tuple[str, int | None]:
    """The host of a URL in lower case and its port, with that of its scheme; "" if it is wrong."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return (parts.hostname or "").rstrip("."), port
    except ValueError:
        return "", None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
