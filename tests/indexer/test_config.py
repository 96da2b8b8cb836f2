"""The sources of settings, and the errors for wrong ones."""

from __future__ import annotations

import pytest

from embedder.settings import parse_size
from indexer.config import load_config, load_settings
from indexer.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200", 200),
        ("200MB", 200_000_000),
        ("200 MiB", 200 << 20),
        ("150M", 150_000_000),
        ("1k", 1000),
    ],
)
def test_sizes(text, value):
    assert parse_size(text) == value


def test_later_sources_win(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "polylens.toml").write_text(
        'collection = "toml"\nbatch = 7\nmodel = "toml"\ndevice = "t"\n'
    )
    (tmp_path / ".env").write_text("POLYLENS_BATCH=8\nPOLYLENS_MODEL=dotenv\nPOLYLENS_DEVICE=d\n")
    monkeypatch.setenv("POLYLENS_MODEL", "environment")
    monkeypatch.setenv("POLYLENS_DEVICE", "e")
    config = load_config({"device": "flag", "batch": None})
    assert (config.collection, config.batch) == ("toml", 8)
    assert (config.model, config.device) == ("environment", "flag")
    origins = {s.name: s.origin for s in load_settings({"device": "flag"})}
    assert origins["batch"] == ".env"
    assert origins["max_pixels"] == "default"
    assert origins["device"] == "flag"


def test_qdrants_own_variables(monkeypatch):
    monkeypatch.setenv("QDRANT_URL", "http://localhost:6333/")
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    config = load_config()
    assert config.store == "http://localhost:6333"
    assert config.qdrant_api_key == "secret"
    assert "servers" in config.local_folder.parts
    monkeypatch.setenv("POLYLENS_STORE", "/data")
    assert load_config().store == "/data"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"collection": "../etc"}, "1-64 letters"),
        ({"max_bytes": "many"}, "200MB"),
        ({"batch": "-1"}, "1 or more"),
        ({"store": ""}, "folder"),
    ],
)
def test_a_wrong_value_is_named(flags, message):
    with pytest.raises(ConfigError, match=message):
        load_config(flags)


def test_an_unknown_setting_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "polylens.toml").write_text('colection = "x"\n')
    with pytest.raises(ConfigError, match=r"'colection'.*collection"):
        load_config()


def test_a_broken_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "polylens.toml").write_text("batch = \n")
    with pytest.raises(ConfigError, match=r"polylens\.toml"):
        load_config()


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected", "new"),
    [
        ("POLYLENS_QDRANT_PATIENCE", "5", "qdrant_retry_seconds", 5.0, "QDRANT_RETRY_SECONDS"),
        ("POLYLENS_QDRANT_STREAMS", "3", "upload_concurrency", 3, "UPLOAD_CONCURRENCY"),
        ("POLYLENS_WORKERS", "4", "decode_threads", 4, "DECODE_THREADS or POLYLENS_CLUSTER"),
        ("POLYLENS_WORKERS", "ray:auto", "cluster", "ray:auto", "POLYLENS_CLUSTER"),
    ],
)
def test_an_old_variable_is_read_with_a_warning(monkeypatch, variable, value, name, expected, new):
    monkeypatch.setenv(variable, value)
    with pytest.warns(FutureWarning, match=rf"{variable} .*{new}"):
        config = load_config()
    assert getattr(config, name) == expected


def test_an_old_key_is_read_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "polylens.toml").write_text('workers = "local:2"\nqdrant_streams = 5\n')
    messages = []
    config = load_config(warn=messages.append)
    assert (config.cluster, config.decode_threads, config.upload_concurrency) == ("local:2", 0, 5)
    assert len(messages) == 2
    assert "qdrant_streams" in messages[1] and "upload_concurrency" in messages[1]


def test_a_new_name_wins_over_the_old_one_of_the_same_source(monkeypatch):
    monkeypatch.setenv("POLYLENS_WORKERS", "4")
    monkeypatch.setenv("POLYLENS_DECODE_THREADS", "5")
    assert load_config(warn=lambda _: None).decode_threads == 5


def test_the_flag_for_workers_is_threads_or_a_cluster_and_wins(monkeypatch, recwarn):
    monkeypatch.setenv("POLYLENS_CLUSTER", "ray:auto")
    config = load_config({"workers": "3"})
    assert (config.decode_threads, config.cluster) == (3, None)
    config = load_config({"workers": "local:2"})
    assert (config.decode_threads, config.cluster) == (0, "local:2")
    assert not recwarn.list
    with pytest.raises(ConfigError, match="threads, local:N"):
        load_config({"workers": "many"})


def test_every_setting_is_set_by_its_variable(monkeypatch):
    monkeypatch.setenv("POLYLENS_TRUST_REMOTE_CODE", "yes")
    monkeypatch.setenv("POLYLENS_MAX_PIXELS", "2M")
    monkeypatch.setenv("POLYLENS_CLUSTER", "local:2")
    config = load_config()
    assert (config.trust_remote_code, config.max_pixels, config.cluster) == (
        True,
        2_000_000,
        "local:2",
    )
