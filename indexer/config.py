"""The settings table: every setting of the indexer and the app, and where its value comes from.

One field of `Config` per setting. The table drives polylens.toml, the environment, the flags and
help of the commands, `indexer config show`, .env.example and docs/settings.md.

The only module that reads the environment. Later sources win:
defaults < ./polylens.toml (else the user's) < ./.env < POLYLENS_* (and QDRANT_*) < flags.
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from urllib.parse import urlsplit

from embedder.origin import is_same_origin, parse_host_and_port, parse_origin
from embedder.redaction import redacted_repr
from embedder.settings import (
    MODEL_SETTINGS,
    Setting,
    parse_bool,
    parse_int,
    parse_key_url,
    parse_size,
)
from indexer.errors import ConfigError
from indexer.paths import redact_url

TOML_FILE = "polylens.toml"
READ_SHARE = 0.9  # of a read's time: the rest is for what comes around its requests
PROFILES = ("small", "large", "huge")
PASSWORD_HASH_PATTERN = r"scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2}):([\w-]{22,}):([\w-]{43,})"
"""scrypt:LOG2_N:R:P:SALT:KEY, the last two in URL-safe Base64: a shell would expand none of it."""


def default_store() -> str:
    from platformdirs import user_data_path

    return str(user_data_path("polylens", appauthor=False))


def parse_name(value: object) -> str:
    """The name of a collection or a tenant; it becomes the name of a folder."""
    text = str(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("expected 1-64 letters, digits, '.', '_' or '-', a letter or digit first")
    return text


def parse_store(value: object) -> str:
    """A URL or a folder; a folder becomes absolute, so that a later chdir does not move it."""
    text = str(value).strip()
    if not text:
        raise ValueError("expected a folder or an http(s) URL")
    if "://" not in text:
        return parse_path(text)
    try:
        _ = urlsplit(text).port
    except ValueError:
        raise ValueError(
            "expected http(s)://HOST:PORT; in a name or a password, write / as %2F, ? as %3F, "
            "# as %23 and @ as %40"
        ) from None
    return text.rstrip("/")


def parse_path(value: object) -> str:
    """A folder or a file, made absolute."""
    path = os.path.expanduser(str(value).strip())
    if path.startswith("~"):
        user = path.partition("/")[0]
        raise ValueError(f"there is no home folder {user}; a folder of that name is ./{user}")
    return str(Path(path).absolute())


def split_list(value: object, separator: str = ",") -> list[str]:
    parts = value if isinstance(value, list) else str(value).split(separator)
    return [text for part in parts if (text := str(part).strip())]


def parse_paths(value: object) -> tuple[str, ...]:
    """Several folders: a list, or a text in which the system's separator of paths is between."""
    return tuple(map(parse_path, split_list(value, os.pathsep)))


def parse_users(value: object) -> tuple[str, ...]:
    """Who may log in: a list, or a text with commas."""
    return tuple(split_list(value))


def parse_password_hash(value: object) -> str:
    text = str(value).strip()
    if not re.fullmatch(PASSWORD_HASH_PATTERN, text):
        raise ValueError("expected the line that `polylens hash-password` prints")
    return text


def parse_seconds(value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected a number of seconds")
    return seconds


def parse_hosts(value: object) -> tuple[str, ...]:
    """Hosts, each perhaps with a port: a list, or a text with commas."""
    hosts = tuple(split_list(value))
    for host in hosts:
        parse_host_and_port(host)
    return hosts


def parse_timeout(value: object) -> float:
    seconds = parse_seconds(value)
    if not seconds:
        raise ValueError("expected a number of seconds above 0")
    return seconds


def parse_profile(value: object) -> str:
    if value not in PROFILES:
        raise ValueError(f"expected one of {', '.join(PROFILES)}")
    return str(value)


def parse_cluster(value: object) -> str:
    """Where the workers are: local:N, ray:auto, ray://HOST:PORT."""
    text = str(value).strip()
    if re.fullmatch(r"local:[1-9]\d*|ray:auto|ray://[^/\s:]+:\d+|ray://\[[^\]\s]+\]:\d+", text):
        return text
    raise ValueError("expected local:N, ray:auto or ray://HOST:PORT")


def parse_workers(value: object) -> int | str:
    """What --workers takes: a number of decoding threads, or a cluster."""
    if re.fullmatch(r"\d+", str(value).strip()):
        return int(str(value))
    try:
        return parse_cluster(value)
    except ValueError:
        raise ValueError(
            "expected a number of threads, local:N, ray:auto or ray://HOST:PORT"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting, resolved. Sizes are in bytes or pixels."""

    store: str = Setting(
        "Where collections are: a folder, or a Qdrant server's URL.",
        parse_store,
        "PATH|URL",
        default_store,
        default_text="your data folder",
        example="~/image-index",
        env=("QDRANT_URL",),
    ).field()
    collection: str = Setting("The collection.", parse_name, default="default").field()
    model: str | None = MODEL_SETTINGS["model"].field()
    device: str | None = MODEL_SETTINGS["device"].field()
    dtype: str | None = MODEL_SETTINGS["dtype"].field()
    dim: int | None = MODEL_SETTINGS["dim"].field()
    pixel_budget: int | None = MODEL_SETTINGS["pixel_budget"].field()
    quantize: str | None = MODEL_SETTINGS["quantize"].field()
    trust_remote_code: bool = MODEL_SETTINGS["trust_remote_code"].field()
    model_api_key: str | None = MODEL_SETTINGS["model_api_key"].field()
    model_api_key_url: str | None = MODEL_SETTINGS["model_api_key_url"].field()
    allow_model_hosts: tuple[str, ...] = Setting(
        "Hosts that a collection's model may be on: HOST or HOST:PORT, with commas.",
        parse_hosts,
        "HOST[:PORT],...",
        (),
        default_text="the host in `model`, and those agreed to",
        example="gpu.example.org:8100",
    ).field()
    qdrant_api_key: str | None = Setting(
        "The key of the Qdrant server.", metavar="KEY", env=("QDRANT_API_KEY",), secret=True
    ).field()
    qdrant_read_api_key: str | None = Setting(
        "The key that the app searches with; it may be read-only.",
        metavar="KEY",
        default_text="the key of the server",
        env=("QDRANT_READ_API_KEY",),
        secret=True,
    ).field()
    qdrant_source_api_key: str | None = Setting(
        "The key of the server that `migrate` reads, if it has its own.",
        metavar="KEY",
        default_text="the key of the server",
        env=("QDRANT_SOURCE_API_KEY",),
        secret=True,
    ).field()
    qdrant_api_key_url: str | None = Setting(
        "The Qdrant server that the keys are for; they are sent to no other.",
        parse_key_url,
        "URL",
        default_text="the URL in `store`",
        example="https://qdrant.example.org:6333",
    ).field()
    qdrant_source_api_key_url: str | None = Setting(
        "The server that `qdrant_source_api_key` is for.",
        parse_key_url,
        "URL",
        example="https://old.example.org:6333",
        env=("QDRANT_SOURCE_URL",),
    ).field()
    qdrant_grpc_port: int | None = Setting(
        "The server's gRPC port, for faster uploads.",
        parse_int(1, 65535),
        "PORT",
        default_text="none: REST",
        example="6334",
    ).field()
    qdrant_ca: str | None = Setting(
        "A file with the certificate authority of the server.",
        parse_path,
        "FILE",
        default_text="the system's",
        example="~/ca.pem",
    ).field()
    qdrant_timeout: float = Setting(
        "Seconds that one request may take.", parse_timeout, "N", 60.0
    ).field()
    qdrant_read_timeout: float = Setting(
        "Seconds in which a search must have its answer, with all retries.",
        parse_timeout,
        "N",
        10.0,
    ).field()
    qdrant_retry_seconds: float = Setting(
        "Seconds to retry while the server is away or busy.",
        parse_seconds,
        "N",
        120.0,
        old_names=("qdrant_patience",),
    ).field()
    upload_concurrency: int = Setting(
        "Uploads to a server at the same time.",
        parse_int(1),
        "N",
        2,
        old_names=("qdrant_streams",),
    ).field()
    profile: str | None = Setting(
        "How a server stores a new collection: small, large or huge.",
        parse_profile,
        "|".join(PROFILES),
        default_text="small",
    ).field()
    shards: int | None = Setting(
        "Shards of a new collection on a server.",
        parse_int(1),
        "N",
        default_text="the profile's",
        example="6",
    ).field()
    replicas: int | None = Setting(
        "Copies of each shard, on as many servers.",
        parse_int(1),
        "N",
        default_text="the profile's",
        example="2",
    ).field()
    tenant: str | None = Setting(
        "Write and search the points of one tenant only.", parse_name, default_text="all tenants"
    ).field()
    max_bytes: int = Setting(
        "Skip larger files.", parse_size, "SIZE", 200 * (1 << 20), default_text="200MiB"
    ).field()
    max_pixels: int = Setting(
        "Skip larger images.", parse_size, "N", 150_000_000, default_text="150M"
    ).field()
    batch: int = Setting(
        "Files per batch: half are embedded while half are written.", parse_int(1), "N", 64
    ).field()
    decode_threads: int = Setting(
        "Threads that decode images; 0 means one per core, at most 8.",
        parse_int(0),
        "N",
        0,
    ).field()
    cluster: str | None = Setting(
        "Distribute the ingest: N processes here (local:N), or a Ray cluster.",
        parse_cluster,
        "local:N|ray:auto|ray://HOST:PORT",
        default_text="this process alone",
        example="local:4",
    ).field()
    names: bool | None = Setting(
        "Embed what the names of files say, so that images are found by it in any language.",
        parse_bool,
        default_text="as the collection was ingested last; a new one: yes",
        example="no",
    ).field()
    reranker: str | None = Setting(
        "A model that puts the best hits of a search in a better order: a name or a folder.",
        metavar="NAME|FOLDER",
        default_text="none",
        example="qwen3-vl-reranker-2b",
    ).field()
    rerank_depth: int = Setting(
        "How many of the best hits the reranker scores.", parse_int(2, 1000), "N", 50
    ).field()
    reranker_pixel_budget: int | None = Setting(
        "The most pixels of an image that the reranker sees, such as 250k; fewer are faster.",
        parse_size,
        "N",
        default_text="the reranker's",
        example="250k",
    ).field()
    runs: str = Setting(
        "The folder of fine-tuning runs, for the Quality page.",
        parse_path,
        "FOLDER",
        lambda: str(Path(default_store()) / "runs"),
        default_text="`runs` in your data folder",
        example="~/runs",
    ).field()
    library_roots: tuple[str, ...] | None = Setting(
        "The folders under which the app may read pictures, runs and pairs; several as in PATH.",
        parse_paths,
        "FOLDERS",
        default_text="your home folder, while only this machine reaches the app",
        example="~/Pictures",
    ).field()
    app_password_hash: str | None = Setting(
        "The hash of the app's password; `polylens hash-password` makes it.",
        parse_password_hash,
        "HASH",
        secret=True,
    ).field()
    app_oidc_file: str | None = Setting(
        "A TOML file whose `[auth]` section says how people log in to the app with OpenID Connect.",
        parse_path,
        "FILE",
        example="~/oidc.toml",
    ).field()
    app_allowed_users: tuple[str, ...] = Setting(
        "Who may log in with OpenID Connect, with commas: addresses, @domains, subjects, or *.",
        parse_users,
        "NAMES",
        (),
        default_text="nobody",
        example="me@example.com",
    ).field()
    app_published_on_localhost: bool = Setting(
        "The app is in a container whose port is published on localhost alone: it needs no login.",
        parse_bool,
        "",
        False,
    ).field()
    debug: bool = Setting(
        "Show tracebacks instead of one-line errors.", parse_bool, default=False
    ).field()

    __repr__ = redacted_repr

    @property
    def store_api_key(self) -> str | None:
        """The key to send to the store; None where the settings have it for another server."""
        key = self.qdrant_api_key or self.qdrant_read_api_key
        return key if is_same_origin(self.store, self.qdrant_api_key_url) else None

    def for_reading(self) -> Config:
        """The settings of a program that only reads: it has an answer, or an error in words, within
        `qdrant_read_timeout`. What writes waits longer for a server that comes back."""
        seconds = self.qdrant_read_timeout * READ_SHARE
        return replace(
            self,
            qdrant_timeout=min(self.qdrant_timeout, seconds),
            qdrant_retry_seconds=min(self.qdrant_retry_seconds, seconds),
        )

    @property
    def local_folder(self) -> Path:
        """The folder of this store's collections; for a server, of what is kept here beside it.

        A server's folder is named after its URL without what grants access.
        """
        if "://" not in self.store:
            return Path(self.store)
        return server_dir(redact_url(self.store))


def server_dir(url: str) -> Path:
    """The folder of what is kept here beside the server at `url`, which becomes its name."""
    return Path(default_store()) / "servers" / re.sub(r"[^A-Za-z0-9.-]+", "_", url)


SETTINGS: Mapping[str, Setting] = {f.name: f.metadata["setting"] for f in fields(Config)}
WORKERS = Setting(
    "Decoding threads, or a cluster: N processes here (local:N), or Ray.",
    parse_workers,
    "N|local:N|ray:auto|ray://HOST:PORT",
    default_text="one thread per core",
)
"""The --workers flag: it sets `decode_threads` or `cluster`."""

KEY_OWNERS: Mapping[str, tuple[str, str]] = {
    "model_api_key_url": ("model_api_key", "model"),
    "qdrant_api_key_url": ("qdrant_api_key", "store"),
}
"""The setting that says which server a key is for -> the key, and the setting whose URL it is by
default."""
RENAMED: Mapping[str, tuple[str, ...]] = {
    **{old: (name,) for name, row in SETTINGS.items() for old in row.old_names},
    "workers": ("decode_threads", "cluster"),
}
"""Old names of settings, still read with a warning."""
ENV_ALIASES: Mapping[str, str] = {v: name for name, row in SETTINGS.items() for v in row.env}


@dataclass(frozen=True, slots=True)
class Resolved:
    """The value of one setting, and the source that set it."""

    name: str
    value: object = field(repr=False)  # it may be a secret
    origin: str

    @property
    def shown(self) -> object:
        """The value without secrets."""
        return SETTINGS[self.name].mask(self.value)


def _warn(message: str) -> None:
    warnings.warn(message, FutureWarning, stacklevel=4)


def load_config(
    flags: Mapping[str, object] | None = None, warn: Callable[[str], None] = _warn
) -> Config:
    """Resolve the settings; `flags` that are None count as not given. Raises `ConfigError`.

    `warn` is called with a sentence for each old name that a file or the environment uses.
    """
    return Config(**{s.name: s.value for s in load_settings(flags, warn)})  # type: ignore[arg-type]


def load_settings(
    flags: Mapping[str, object] | None = None, warn: Callable[[str], None] = _warn
) -> list[Resolved]:
    """Each setting with its origin, in the order of the table; raises `ConfigError`."""
    found = {
        name: Resolved(name, row.compute_default(), "default") for name, row in SETTINGS.items()
    }
    configured = found
    for origin, values in _read_sources(flags or {}):
        if origin == "flag":
            configured = dict(found)
        for name in sorted(values, key=lambda name: name not in RENAMED):  # a new name wins
            if name in RENAMED and origin != "flag":
                warn(_describe_renaming(name, origin))
            for new_name, value in _parse_value(name, values[name], origin).items():
                found[new_name] = Resolved(new_name, value, origin)
    for name, (key, owner) in KEY_OWNERS.items():
        is_flag = found[key].origin == "flag"
        if found[name].origin == "default" or (is_flag and found[name].origin != "flag"):
            # a key of the configuration is not for a server that only a flag names
            named = (found if is_flag else configured)[owner]
            is_url = parse_origin(str(named.value)) is not None
            found[name] = Resolved(name, named.value if is_url else None, named.origin)
    return list(found.values())


def _describe_renaming(name: str, origin: str) -> str:
    in_environment = origin in (".env", "environment")
    old, *new = (f"POLYLENS_{n.upper()}" if in_environment else n for n in (name, *RENAMED[name]))
    return f"{old} (from {origin}) is an old name: use {' or '.join(new)}"


def _parse_value(name: str, raw: object, origin: str) -> dict[str, object]:
    """The values of the settings that `name` sets: one, or the two of --workers."""
    new_name = RENAMED.get(name, (name,))[0]
    row = WORKERS if name == "workers" else SETTINGS.get(new_name)
    if row is None:
        known = ", ".join(SETTINGS)
        raise ConfigError(f"{origin} sets {name!r}, which is not a setting; known: {known}")
    try:
        value = row.parse(raw)
    except ValueError as error:
        raise ConfigError(f"{name} = {row.mask(raw)!r} (from {origin}): {error}") from error
    if name != "workers":
        return {new_name: value}
    cluster = isinstance(value, str)
    return {"decode_threads": 0 if cluster else value, "cluster": value if cluster else None}


def _read_sources(flags: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    from platformdirs import user_config_path

    candidates = (Path(TOML_FILE), user_config_path("polylens", appauthor=False) / TOML_FILE)
    toml = next((path for path in candidates if path.is_file()), None)
    if toml:
        try:
            yield str(toml), tomllib.loads(toml.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{toml} cannot be read: {error}") from error
    if Path(".env").is_file():
        from dotenv import dotenv_values

        yield ".env", _parse_environment(dotenv_values(".env"))
    yield "environment", _parse_environment(os.environ)
    yield "flag", {name: value for name, value in flags.items() if value is not None}


def _parse_environment(environment: Mapping[str, str | None]) -> dict[str, object]:
    """The settings in `environment`; POLYLENS_STORE wins over QDRANT_URL."""
    variables = {**ENV_ALIASES, **{f"POLYLENS_{n.upper()}": n for n in (*RENAMED, *SETTINGS)}}
    return {name: value for v, name in variables.items() if (value := environment.get(v))}
