"""How the app is served: who may connect, on which socket, with which configuration."""

from __future__ import annotations

import signal
import socket

import pytest
import uvicorn
from starlette.applications import Starlette

from app.server import AppServer, choose_url_host
from app.streamlit_config import OPTIONS, configure_streamlit
from embedder import EmbedderError
from embedder.listener import open_listener


@pytest.fixture
def streamlit_config():
    """Streamlit's configuration, which is that of the tests again afterwards."""
    from streamlit import config

    files, options = config.get_config_files, config._config_options
    yield config
    config.get_config_files, config._config_options = files, options


def test_nothing_comes_from_the_files_of_the_current_folder_or_from_variables(
    streamlit_config, tmp_path, monkeypatch
):
    folder = tmp_path / ".streamlit"
    folder.mkdir()
    (folder / "config.toml").write_text("[theme]\nlinkColor = '#f00'\n[server]\nenableCORS = false")
    (folder / "secrets.toml").write_text("[auth]\ncookie_secret = 'x'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_AGENT_API", "true")
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_CORS", "false")
    monkeypatch.setenv("STREAMLIT_SERVER_COOKIE_SECRET", "known to others")
    configure_streamlit(8501, "localhost")
    option = streamlit_config.get_option
    assert option("theme.linkColor") is None
    assert option("server.enableCORS") is True
    assert option("secrets.files") == []
    assert option("server.enableAgentApi") is False
    assert len(option("server.cookieSecret")) == 64


def test_every_option_is_known_and_set(streamlit_config):
    assert set(OPTIONS) <= set(streamlit_config._config_options_template)
    configure_streamlit(1234, "pictures.example.com")
    option = streamlit_config.get_option
    assert {key: option(key) for key in OPTIONS} == dict(OPTIONS)
    assert option("browser.gatherUsageStats") is False
    assert option("server.enableXsrfProtection") is True
    assert option("server.enableAgentApi") is False
    assert option("server.enableCORS") is True
    assert option("server.trustedUserHeaders") == {}
    assert option("server.enableStaticServing") is False
    assert option("client.allowedOrigins") == []
    assert (option("server.port"), option("browser.serverPort")) == (1234, 1234)
    assert option("browser.serverAddress") == "pictures.example.com"


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.1", "localhost"), ("0.0.0.0", "localhost"), ("127.0.0.2", "127.0.0.2")],
)
def test_the_url_has_a_host_that_a_browser_can_open(host, name):
    with open_listener(host, 0) as listener:
        assert choose_url_host(listener) == name


def test_an_address_that_cannot_be_had_is_one_error_with_what_to_do():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(EmbedderError, match=r"another program uses this port; .* --port"):
            open_listener("127.0.0.1", other.getsockname()[1])
    for host, message in (
        ("192.0.2.1", "this machine does not have this address; .* --host"),
        ("no such host", "there is no host of this name; .* --host"),
        ("a..b", "there is no host of this name; .* --host"),
    ):
        with pytest.raises(EmbedderError, match=message):
            open_listener(host, 8501)


def test_a_second_signal_ends_it_without_a_traceback(caplog):
    def send_two_signals() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    server = AppServer(uvicorn.Config(Starlette(), log_config=None), send_two_signals)
    with open_listener("127.0.0.1", 0) as listener:
        server.run(sockets=[listener])
    assert server.force_exit
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
