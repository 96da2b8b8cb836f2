"""Where settings come from, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from indexer.config import load_config, load_settings
from indexer.errors import ConfigError
from indexer.parsing import parse_size


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


def test_qdrants_own_names(monkeypatch):
    monkeypatch.setenv("QDRANT_URL", "http://localhost:6333/")
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    config = load_config()
    assert config.store == "http://localhost:6333"
    assert config.qdrant_api_key == "secret"
    assert config.is_remote
    monkeypatch.setenv("POLYLENS_STORE", "/data")
    assert load_config().store == "/data"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"collection": "../etc"}, "1-64 letters"),
        ({"max_bytes": "many"}, "200MB"),
        ({"batch": "-1"}, "0 or more"),
        ({"store": ""}, "folder"),
    ],
)
def test_a_wrong_value_is_named(flags, says):
    with pytest.raises(ConfigError, match=says):
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
