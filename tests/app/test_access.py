"""Who may connect to the app: every route, by Host, Origin and login."""

from __future__ import annotations

import json
import socket

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from app import login, passwords
from app.access import SESSION_COOKIE, Access, AccessMiddleware
from app.login import Login, OidcLogin, PasswordLogin, RateLimit, load_oidc_login
from app.server import make_access
from embedder.client.http import is_loopback
from embedder.listener import open_listener
from indexer.config import Config
from indexer.errors import ConfigError

PASSWORD = "correct horse battery"
SECRET = "0123456789abcdef" * 2
ORIGIN = "https://pictures.example.com"
AUTH = {
    "redirect_uri": f"{ORIGIN}/oauth2callback",
    "cookie_secret": SECRET,
    "client_id": "polylens",
    "client_secret": "s",
    "server_metadata_url": "https://id.example.com/.well-known/openid-configuration",
}
HTML = {"accept": "text/html"}
METHODS = ["GET", "POST", "PUT", "DELETE"]


@pytest.fixture
def password_hash(monkeypatch) -> str:
    """The hash of PASSWORD, made with less work than usual."""
    for name, value in {"LOG2_N": 4, "R": 1, "P": 1}.items():
        monkeypatch.setattr(passwords, name, value)
    return passwords.hash_password(PASSWORD)


@pytest.fixture
def password_login(password_hash) -> Login:
    return Login(password=PasswordLogin(password_hash))


def visit(access: Access, base_url: str = "http://localhost:8501") -> TestClient:
    """A browser at a site that answers `passed` to whatever gets past the middleware."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse("passed")

    async def echo(websocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    app = Starlette(
        routes=[
            WebSocketRoute("/_stcore/stream", echo),
            Route("/{p:path}", answer, methods=METHODS),
        ],
        middleware=[Middleware(AccessMiddleware, access=access)],
    )
    return TestClient(app, base_url=base_url, follow_redirects=False)


def close_code(client: TestClient, **headers: str) -> int:
    """How the WebSocket ends: 1000 for one that was accepted."""
    try:
        with client.websocket_connect("ws://localhost:8501/_stcore/stream", headers=headers):
            return 1000
    except WebSocketDisconnect as closed:
        return closed.code


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://localhost:8501", "host": "127.0.0.1:8501"}, True),
        ({"origin": "https://pictures.example.com", "host": "127.0.0.1:8501"}, True),
        ({"origin": "http://localhost:3000", "host": "localhost:8501"}, False),
        ({"origin": "http://localhost", "host": "localhost:8501"}, False),
        ({"origin": "https://example.net", "host": "127.0.0.1:8501"}, False),
        ({"origin": "http://example.net:8501", "host": "example.net:8501"}, False),
        ({"origin": "null", "host": "127.0.0.1:8501"}, False),
        ({"origin": "http://[", "host": "127.0.0.1:8501"}, False),
    ],
)
def test_a_page_of_another_origin_may_not_connect(headers, allowed):
    client = visit(Access(public_hosts=frozenset({"pictures.example.com"})))
    assert close_code(client, **headers) == (1000 if allowed else 1008)
    for method in ("POST", "PUT", "DELETE"):
        answer = client.request(method, "/_stcore/upload_file/a/b", headers=headers)
        assert (answer.status_code == 200) == allowed


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8501", 200),
        ("localhost.", 200),
        ("[::1]:8501", 200),
        ("LOCALHOST", 200),
        ("evil.example.com:8501", 400),
        ("localhost.example.com", 400),
        ("192.0.2.1", 400),
        ("localhost?x", 400),
        ("localhost/x", 400),
        ("x@localhost", 400),
        ("localhost:port", 400),
        ("[", 400),
        ("", 400),
    ],
)
def test_a_host_name_that_a_web_page_made_up_gets_nothing(host, status):
    client = visit(Access())
    for path in ("/", "/picture/thumb/default/x", "/_stcore/upload_file/a", "/media/x"):
        assert client.get(path, headers={"host": host}).status_code == status
    assert client.get("/_stcore/health", headers={"host": host}).status_code == 200


def test_an_address_is_a_host_where_other_machines_are_let_in():
    client = visit(Access(any_address=True))
    codes = [
        client.get("/", headers={"host": host}).status_code
        for host in ("192.0.2.1:8501", "[2001:db8::1]", "example.net")
    ]
    assert codes == [200, 200, 400]


def test_a_page_of_another_site_embeds_nothing():
    client = visit(Access())
    for site, destination, status in (
        ("cross-site", "image", 403),
        ("same-site", "image", 403),  # another port of this machine
        ("cross-site", "object", 403),  # it would say whether there is such a picture
        ("cross-site", "iframe", 403),
        ("cross-site", "document", 200),
        ("same-origin", "image", 200),
        ("none", "document", 200),
    ):
        headers = {"sec-fetch-site": site, "sec-fetch-dest": destination}
        assert client.get("/picture/original/c/x", headers=headers).status_code == status
    assert client.post("/", headers=headers | {"origin": "https://x.org"}).status_code == 403
    assert client.get("/").headers["content-security-policy"] == "frame-ancestors 'self'"


ROUTES = (
    "/", "/library", "/static/index.js", "/favicon.png", "/_stcore/host-config", "/media/x",
    "/_stcore/upload_file/a/b", "/component/x", "/picture/thumb/default/x", "/_stcore/agent/mcp",
    "/picture/original/default/x", "/picture/query/x", "/auth/login", "/oauth2callback",
    "/_stcore/health/", "//_stcore/health", "/_stcore/health/../stream", "/logout/x",
)  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_asks_for_the_password(password_login, path):
    client = visit(Access(login=password_login))
    for method in METHODS:
        assert client.request(method, f"http://localhost:8501{path}").status_code == 401
    page = client.get(f"http://localhost:8501{path}", headers=HTML)
    assert page.status_code == 401 and 'type="password"' in page.text
    assert "passed" not in page.text


def test_the_health_check_needs_no_login_and_nothing_else_passes(password_login):
    client = visit(Access(login=password_login))
    assert client.get("/_stcore/health").text == "passed"
    assert client.post("/_stcore/health").status_code == 401
    assert close_code(client) == 1008


def log_in(client: TestClient, password: str = PASSWORD, path: str = "/", **headers: str):
    return client.post(path, data={"password": password}, headers=headers)


def test_the_password_opens_a_session_until_the_logout(password_login, caplog):
    client = visit(Access(login=password_login))
    wrong = log_in(client, "wrong")
    assert [record.message for record in caplog.records if "app" in record.name] == [
        "wrong password from testclient"
    ]
    assert wrong.status_code == 403 and "This password is wrong." in wrong.text
    assert "set-cookie" not in wrong.headers
    right = log_in(client, path="/library?query=cat%26dog")
    assert (right.status_code, right.headers["location"]) == (303, "./library?query=cat%26dog")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Max-Age=604800" in cookie
    assert "Secure" not in cookie
    assert client.get("/picture/original/c/x").text == "passed"
    assert log_in(client).status_code == 303, "a second tab with the form"
    token = client.cookies[SESSION_COOKIE]
    with client.websocket_connect("ws://localhost:8501/_stcore/stream") as stream:
        stream.send_text("still here")
        assert stream.receive_text() == "still here"
        assert client.get("/logout").status_code == 303
        stream.send_text("logged out in another tab")
        with pytest.raises(WebSocketDisconnect):
            stream.receive_text()
    client.cookies.set(SESSION_COOKIE, token)
    assert client.get("/").status_code == 401, "a copy of the cookie is worth nothing"


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 200), ("same-site", 200), ("same-origin", 401), ("none", 401)],
)
def test_no_link_on_a_page_of_another_site_logs_out(password_login, site, status):
    client = visit(Access(login=password_login))
    log_in(client)
    headers = {"sec-fetch-site": site, "sec-fetch-dest": "document"}
    for path in ("/auth/logout", "/logout"):
        client.get(path, headers=headers)
    assert client.get("/").status_code == status


def test_the_cookie_is_for_tls_alone_where_the_browser_uses_it(password_login):
    access = Access(login=password_login, public_hosts=frozenset({"pictures.example.com"}))
    answer = log_in(visit(access), origin=ORIGIN)
    assert "Secure" in answer.headers["set-cookie"]
    assert log_in(visit(access), origin="https://evil.example.net").status_code == 403


def test_a_session_ends_by_itself(password_login, monkeypatch):
    client = visit(Access(login=password_login))
    log_in(client)
    now = login.time.time()
    monkeypatch.setattr(login.time, "time", lambda: now + login.SESSION_SECONDS + 1)
    assert client.get("/").status_code == 401


@pytest.mark.parametrize("cookie", ["", "x", "polylens_session", "a" * 5000])
def test_a_made_up_cookie_is_no_session(password_login, cookie):
    log_in(visit(Access(login=password_login)))  # of somebody else
    client = visit(Access(login=password_login))
    assert client.get("/", headers={"cookie": f"{SESSION_COOKIE}={cookie}"}).status_code == 401


def test_passwords_cannot_be_guessed_fast(password_login, monkeypatch):
    client = visit(Access(login=password_login))
    codes = [log_in(client, f"guess {n}").status_code for n in range(login.MAX_ATTEMPTS + 1)]
    assert codes == [403] * login.MAX_ATTEMPTS + [429]
    forwarded = log_in(client, **{"x-forwarded-for": "192.0.2.9"})
    assert forwarded.status_code == 429, "the right one too, whatever a header says"
    assert int(forwarded.headers["retry-after"]) <= login.ATTEMPT_SECONDS
    now = login.time.monotonic()
    monkeypatch.setattr(login.time, "monotonic", lambda: now + login.ATTEMPT_SECONDS + 1)
    assert log_in(client).status_code == 303


def test_attempts_are_counted_for_each_network(monkeypatch):
    limit = RateLimit(limit=2)
    assert [limit.take("2001:db8::1") > 0, limit.take("2001:db8::2") > 0] == [False, False]
    assert limit.take("2001:db8::3") > 0, "the same customer"
    assert limit.take("2001:db8:0:1::1") == limit.take("192.0.2.1") == 0
    monkeypatch.setattr(login, "MAX_ADDRESSES", 3)
    waits = [limit.take(f"198.51.100.{n}") > 0 for n in range(4)]
    assert waits == [False, False, True, True], "the rest share one limit"


def test_a_long_form_is_refused_unread(password_login):
    client = visit(Access(login=password_login))
    assert log_in(client, "x" * 10_000).status_code == 413


def test_the_hash_is_of_this_password_alone(password_hash):
    assert passwords.verify_password(PASSWORD, password_hash)
    assert passwords.hash_password(PASSWORD) != password_hash, "each has a salt of its own"
    for wrong in ("", PASSWORD + " ", PASSWORD.upper(), PASSWORD * 1000):
        assert not passwords.verify_password(wrong, password_hash)
    composed, decomposed = "pässword at home", "pa\u0308ssword at home"
    assert passwords.verify_password(decomposed, passwords.hash_password(composed))
    with pytest.raises(ValueError, match="12 characters"):
        passwords.hash_password("short")


@pytest.mark.parametrize("work", ["30:8:1", "63:8:1", "99:8:1", "0:8:1", "15:0:1", "15:8:0"])
def test_a_hash_that_cannot_be_checked_is_an_error_of_the_start(password_hash, work):
    parts = password_hash.split(":")
    config = Config(app_password_hash=":".join([parts[0], work, *parts[4:]]))
    with pytest.raises(ConfigError, match=r"app_password_hash cannot be used .* hash-password"):
        Login.from_config(config)


# --- OpenID Connect


@pytest.fixture
def oidc() -> OidcLogin:
    return OidcLogin(auth=AUTH, allowed_users=frozenset({"me@example.com", "@example.org", "4711"}))


def sign(user: dict, secret: str = SECRET) -> dict[str, str]:
    """Streamlit's cookie, as it sets it after a login."""
    claims = json.dumps({"origin": ORIGIN, "is_logged_in": True, "provider": "default"} | user)
    return {"_streamlit_user": create_signed_value(secret, "_streamlit_user", claims).decode()}


@pytest.mark.parametrize(
    ("user", "status"),
    [
        ({"sub": "1", "email": "Me@Example.com", "email_verified": True}, 200),
        ({"sub": "1", "email": "you@example.org", "email_verified": True}, 200),
        ({"sub": "4711"}, 200),
        ({"sub": "1", "email": "me@example.com"}, 401),
        ({"sub": "1", "email": "me@example.com", "email_verified": False}, 401),
        ({"sub": "me@example.com"}, 401),
        ({"sub": "1", "email": "me@example.com.evil.net", "email_verified": True}, 401),
        ({"sub": "1", "email": "x@evil.net@example.com", "email_verified": True}, 401),
        ({"sub": "1", "email": "@example.org", "email_verified": True}, 200),
        ({"sub": "1", "email": "4711", "email_verified": True}, 401),
        ({"sub": "@example.org"}, 401),
        ({"sub": "*"}, 401),
        ({"sub": "4711", "is_logged_in": False}, 401),
        ({"sub": "4711", "origin": "https://other.example.com"}, 401),
        ({}, 401),
    ],
)
def test_users_of_the_provider_are_let_in_by_name(oidc, user, status):
    access = Access(public_hosts=frozenset({"pictures.example.com"}), login=Login(oidc=oidc))
    client = visit(access, ORIGIN)
    client.cookies.update(sign(user))
    assert client.get("/picture/original/c/x").status_code == status


def test_a_cookie_of_another_secret_or_of_last_month_is_refused(oidc, monkeypatch):
    assert oidc.find_user(sign({"sub": "4711"})).subject == "4711"
    assert oidc.find_user(sign({"sub": "4711"}, "another secret" * 3)) is None
    assert oidc.find_user({"_streamlit_user": "chunks-9"}) is None
    cookie = sign({"sub": "4711"})
    monkeypatch.setattr(login, "SESSION_SECONDS", -1.0)
    assert oidc.find_user(cookie) is None


def test_the_way_to_the_provider_is_open_and_no_other(oidc, monkeypatch):
    monkeypatch.setattr(OidcLogin, "login_path", lambda self, name: f"auth/login?provider={name}")
    client = visit(Access(public_hosts=frozenset({"pictures.example.com"}), login=Login(oidc=oidc)))
    for path in ("/auth/login", "/oauth2callback", "/auth/logout"):
        assert client.get(path).text == "passed"
    for path in ("/", "/library", "/auth/login/x", "/_stcore/stream"):
        assert client.get(path).status_code == 401
    assert 'href="../../../auth/login?provider=default"' in client.get("/a/b/c/", headers=HTML).text
    client.cookies.update(sign({"sub": "<b>"}))
    assert "&lt;b&gt; may not use this app" in client.get("/", headers=HTML).text
    assert log_in(client).status_code == 401, "there is no password"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"client_id": ""}, r"\[auth\] lacks client_id, client_secret, server_metadata_url"),
        ({"cookie_secret": 5}, "lacks cookie_secret"),
        ({"cookie_secret": "short"}, "fewer than 32 characters"),
        ({"redirect_uri": f"{ORIGIN}/"}, "redirect_uri is the app's address with /oauth2callback"),
    ],
)
def test_a_file_of_the_provider_that_cannot_work_is_an_error(
    tmp_path, monkeypatch, change, message
):
    monkeypatch.setattr(login, "require_extra", lambda name: None)
    file = tmp_path / "oidc.toml"
    auth = AUTH | change if change != {"client_id": ""} else {k: AUTH[k] for k in list(AUTH)[:2]}
    file.write_text("[auth]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in auth.items()))
    with pytest.raises(ConfigError, match=message):
        load_oidc_login(str(file), ["*"])


def test_nobody_is_let_in_by_a_provider_until_they_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(login, "require_extra", lambda name: None)
    file = tmp_path / "oidc.toml"
    file.write_text("[auth]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in AUTH.items()))
    with pytest.raises(ConfigError, match="app_allowed_users names nobody"):
        load_oidc_login(str(file), [])
    everybody = load_oidc_login(str(file), ["*"])
    assert everybody.is_allowed(everybody.find_user(sign({"sub": "anybody"})))
    file.write_text("client_id = 1")
    with pytest.raises(ConfigError, match=r"no section \[auth\]"):
        load_oidc_login(str(file), ["*"])


def test_streamlit_takes_the_way_to_the_provider(oidc, monkeypatch):
    pytest.importorskip("authlib")
    from streamlit import auth_util

    monkeypatch.setattr(auth_util, "get_signing_secret", lambda: SECRET)
    path, _, token = oidc.login_path("default").partition("?provider=")
    assert path == "auth/login"
    assert auth_util.decode_provider_token(token)["provider"] == "default"


# --- who has to log in


def listen(host):
    try:
        return open_listener(host, 0)
    except Exception as error:
        pytest.skip(f"this machine does not listen there: {error}")


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::", "::ffff:0.0.0.0"])
def test_other_machines_are_not_let_in_without_a_login(host, password_login):
    with listen(host) as listener:
        assert not is_loopback(listener.getsockname()[0])
        with pytest.raises(ConfigError, match=r"without a login.*polylens hash-password"):
            make_access(listener, None, Config(), Login())
        with pytest.raises(ConfigError, match="without a login"):
            make_access(listener, "localhost", Config(), Login())
        assert make_access(listener, None, Config(), password_login).any_address
        published = make_access(listener, None, Config(app_published_on_localhost=True), Login())
        assert not published.any_address and "localhost" in published.hosts
        assert visit(published).get("/", headers={"host": "evil.example.com"}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_this_machine_needs_no_login_but_keeps_one(host, password_login):
    with listen(host) as listener:
        assert is_loopback(listener.getsockname()[0])
        assert not make_access(listener, "pictures.example.com", Config(), Login()).login
        guarded = make_access(listener, "pictures.example.com", Config(), password_login)
    assert visit(guarded, ORIGIN).get("/").status_code == 401, "through the proxy too"


def test_a_name_that_resolves_elsewhere_is_an_address_like_others(monkeypatch):
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("0.0.0.0", *a, **k)
    )  # /etc/hosts
    with open_listener("localhost", 0) as listener, pytest.raises(ConfigError):
        make_access(listener, None, Config(), Login())
