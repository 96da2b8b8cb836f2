"""The hosts that a collection's model may be on.

A collection names its model, and may come from somebody else: a snapshot, a copied folder, a shared
server. So a model server or a download that only a collection names is not contacted, not even on
this machine, where other users have servers too. The user names hosts: in `model`, in
`allow_model_hosts`, by making a collection with such a model, or by agreeing once. The last two are
remembered in `model_hosts` in the data folder.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from embedder.families.registry import find_contacted_url
from embedder.files import make_private_dir, open_private
from embedder.origin import DEFAULT_PORTS, parse_host_and_port, parse_origin
from indexer.config import Config, default_store
from indexer.errors import UnnamedHostError

MODEL_HOSTS_FILE = "model_hosts"


def check_model_host(config: Config, name: str, *, with_downloads: bool = True) -> None:
    """Raise `UnnamedHostError` if loading the model contacts a host that nobody has named.

    A model in this machine's folders or caches contacts none. Without `with_downloads`, models of
    the Hugging Face Hub pass: for a name that a person has typed.
    """
    url = find_contacted_url(name)
    if url is None or _is_allowed(url, config):
        return
    if not with_downloads and urlsplit(url).path:
        return
    host = str(parse_origin(url)).partition("://")[2]
    raise UnnamedHostError(
        f"the model {name} is at {url}, a host that nobody on this machine has named; nothing was "
        f"sent. If you trust it, type --allow-model-host {host}, or set "
        f"POLYLENS_ALLOW_MODEL_HOSTS={host}",
        url,
    )


def remember_model_host(name: str) -> None:
    """Remember that the user named what loading the model contacts, if that can be written."""
    url = find_contacted_url(name)
    if url is not None:
        with suppress(OSError):
            remember_url(url)


def remember_url(url: str) -> None:
    """Remember what the user has named or agreed to, in a private file; raises `OSError`."""
    if url in _read_remembered():
        return
    path = _locate_file()
    make_private_dir(path.parent)
    with open_private(path, "ab") as file:
        file.write(f"{url}\n".encode())


def _is_allowed(url: str, config: Config) -> bool:
    if config.model and find_contacted_url(config.model) == url:
        return True
    origin = parse_origin(url)
    assert origin is not None
    for host, port in map(parse_host_and_port, config.allow_model_hosts):
        if host == origin.host and origin.port in ([port] if port else DEFAULT_PORTS.values()):
            return True
    return url in _read_remembered()


def _read_remembered() -> list[str]:
    try:
        return _locate_file().read_text("utf-8").split()
    except OSError:
        return []


def _locate_file() -> Path:
    return Path(default_store()) / MODEL_HOSTS_FILE
