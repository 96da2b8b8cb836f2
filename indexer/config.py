"""Settings, resolved once at the edge: defaults, polylens.toml, .env, environment, flags.

The only module that reads the environment. Later sources win:
defaults < ./polylens.toml (else the user's) < ./.env < POLYLENS_* (QDRANT_URL, QDRANT_API_KEY)
< flags.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from indexer.errors import ConfigError
from indexer.parsing import (
    parse_bool,
    parse_name,
    parse_path,
    parse_port,
    parse_positive_int,
    parse_profile,
    parse_seconds,
    parse_size,
    parse_store,
    parse_workers,
)

TOML_FILE = "polylens.toml"


def default_store() -> str:
    from platformdirs import user_data_path

    return str(user_data_path("polylens", appauthor=False))


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of the indexer and the app. Sizes are in bytes or pixels."""

    store: str
    collection: str = "default"
    model: str | None = None  # None: the collection's own, or the starter for a new one
    device: str | None = None  # None: the model chooses
    dtype: str | None = None  # the model's numbers; None: by the device
    dim: int | None = None  # of a new collection's vectors; None: the model's own
    pixel_budget: int | None = None  # of a new collection; None: the model's own
    trust_remote_code: bool = False  # run code that comes with a model's weights
    model_api_key: str | None = None  # for a model on a server
    qdrant_api_key: str | None = None
    qdrant_read_api_key: str | None = None  # what the app searches with, where it is given
    qdrant_source_api_key: str | None = None  # of the server that migrate reads, if it is another
    qdrant_grpc_port: int | None = None  # None: REST alone
    qdrant_ca: str | None = None  # a file with the certificate authority of the server
    qdrant_timeout: float = 60.0  # seconds that one request may take
    qdrant_patience: float = 120.0  # seconds to wait for a server that is away or busy
    qdrant_streams: int = 2  # uploads at a time
    profile: str | None = None  # of a new collection on a server: small (None), large or huge
    shards: int | None = None  # of a new collection on a server; None: the profile's
    replicas: int | None = None  # the same
    tenant: str | None = None  # whose points are written and searched; None: all
    max_bytes: int = 200 * (1 << 20)
    max_pixels: int = 150_000_000
    batch: int = 64
    workers: int | str = 0  # decoding threads (0: one a core, at most 8), or where workers are
    runs: str = ""  # the folder of fine-tuning runs
    debug: bool = False  # tracebacks instead of one-line errors

    @property
    def decode_threads(self) -> int:
        """Decoding threads of this process; 0: as many as there are cores, at most 8."""
        return self.workers if isinstance(self.workers, int) else 0

    @property
    def cluster(self) -> str | None:
        """Where many workers are: local:N, ray:auto or ray://HOST:PORT."""
        return self.workers if isinstance(self.workers, str) else None

    @property
    def is_remote(self) -> bool:
        return self.store.startswith(("http://", "https://"))

    @property
    def local_folder(self) -> Path:
        """The folder of this store's collections; for a server, what is kept beside it here."""
        if not self.is_remote:
            return Path(self.store)
        return Path(default_store()) / "servers" / re.sub(r"[^A-Za-z0-9.-]+", "_", self.store)


PARSERS: Mapping[str, Callable[[object], object]] = {
    "store": parse_store,
    "collection": parse_name,
    "model": str,
    "device": str,
    "dtype": str,
    "dim": parse_positive_int,
    "pixel_budget": parse_size,
    "trust_remote_code": parse_bool,
    "model_api_key": str,
    "qdrant_api_key": str,
    "qdrant_read_api_key": str,
    "qdrant_source_api_key": str,
    "qdrant_grpc_port": parse_port,
    "qdrant_ca": parse_path,
    "qdrant_timeout": parse_seconds,
    "qdrant_patience": parse_seconds,
    "qdrant_streams": parse_positive_int,
    "profile": parse_profile,
    "shards": parse_positive_int,
    "replicas": parse_positive_int,
    "tenant": parse_name,
    "max_bytes": parse_size,
    "max_pixels": parse_size,
    "batch": parse_positive_int,
    "workers": parse_workers,
    "runs": parse_path,
    "debug": parse_bool,
}
ENV_ALIASES = {
    "QDRANT_URL": "store",
    "QDRANT_API_KEY": "qdrant_api_key",
    "QDRANT_READ_API_KEY": "qdrant_read_api_key",
    "QDRANT_SOURCE_API_KEY": "qdrant_source_api_key",
}
SECRET_SETTINGS = frozenset(
    {"qdrant_api_key", "qdrant_read_api_key", "qdrant_source_api_key", "model_api_key"}
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting's value and the source that set it."""

    name: str
    value: object
    origin: str


def load_config(flags: Mapping[str, object] | None = None) -> Config:
    """The settings in force; `flags` that are None count as not given. Raises `ConfigError`."""
    return Config(**{s.name: s.value for s in load_settings(flags)})  # type: ignore[arg-type]


def load_settings(flags: Mapping[str, object] | None = None) -> list[Setting]:
    """Each setting with its origin, in the order of `Config`'s fields; raises `ConfigError`."""
    found: dict[str, Setting] = {}
    for origin, values in _read_sources(flags or {}):
        for name, raw in values.items():
            found[name] = Setting(name, _parse_value(name, raw, origin), origin)
    defaults = (Setting(f.name, _default_value(f.name), "default") for f in fields(Config))
    return [found.get(s.name, s) for s in defaults]


def _default_value(name: str) -> object:
    if name == "store":
        return default_store()
    if name == "runs":
        return str(Path(default_store()) / "runs")
    return Config.__dataclass_fields__[name].default


def _read_sources(flags: Mapping[str, object]) -> list[tuple[str, Mapping[str, object]]]:
    toml = _find_toml()
    sources = [(str(toml), _read_toml(toml))] if toml else []
    if Path(".env").is_file():
        sources.append((".env", _parse_environment(_read_dotenv())))
    sources.append(("environment", _parse_environment(os.environ)))
    sources.append(("flag", {k: v for k, v in flags.items() if v is not None}))
    return sources


def _find_toml() -> Path | None:
    from platformdirs import user_config_path

    places = (Path(TOML_FILE), user_config_path("polylens", appauthor=False) / TOML_FILE)
    return next((p for p in places if p.is_file()), None)


def _read_toml(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _read_dotenv() -> Mapping[str, str | None]:
    from dotenv import dotenv_values

    return dotenv_values(".env")


def _parse_environment(environment: Mapping[str, str | None]) -> dict[str, object]:
    """POLYLENS_* and Qdrant's own names; POLYLENS_STORE wins over QDRANT_URL."""
    values: dict[str, object] = {}
    for variable, name in ENV_ALIASES.items():
        if environment.get(variable):
            values[name] = environment[variable]
    for name in PARSERS:
        value = environment.get(f"POLYLENS_{name.upper()}")
        if value:
            values[name] = value
    return values


def _parse_value(name: str, raw: object, origin: str) -> object:
    if name not in PARSERS:
        known = ", ".join(PARSERS)
        raise ConfigError(f"{origin} sets {name!r}, which is no setting; known: {known}")
    try:
        return PARSERS[name](raw)
    except ValueError as error:
        raise ConfigError(f"{name} = {raw!r} (from {origin}): {error}") from error
