"""Secrets in URLs and in settings objects: what is shown of them."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import re
import time
from pathlib import Path

import pytest

from embedder.client.http import parse_address
from embedder.errors import EmbedderError, UnusableFileError
from embedder.redaction import redact_secrets
from finetune.errors import FinetuneError
from indexer.config import SETTINGS, Resolved, load_config
from indexer.errors import ConfigError

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "embedder", "finetune", "indexer")
SECRET = "swordfish"
URL = f"http://me:{SECRET}@host:6333/v1"
SECRET_NAMES = re.compile(r"(^|_)(key|password|secret|token|credentials)$")
FIELD_NAMES = re.compile(SECRET_NAMES.pattern + r"|(^|_)(url|store|endpoint|address)$")
WITHOUT_SECRETS = {  # keys of an index and of a batch; paths; what is left of a parsed URL
    "CollectionIndex", "Bucket", "Address", "Permissions", "ServerInfo",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:swordfish@host:6333", "http://me:***@host:6333"),
        ("https://swordfish@host/x", "https://***@host/x"),
        ("s3://KEY:swordfish@bucket/a.tar", "s3://KEY:***@bucket/a.tar"),
        ("abfs://container@account/a", "abfs://container@account/a"),
        ("http://me:sword/fish@host:6333/a", "http://me:***@host:6333/a"),
        ("http://me:sword#fish@host", "http://me:***@host"),
        ("http://me:a@swordfish@host", "http://me:***@host"),
        ("http://me:sword'fish@host", "http://me:***@host"),
        ("{'url': 'http://me:swordfish@host'}", "{'url': 'http://me:***@host'}"),
        ("http://host:6333/@user/a.jpg", "http://host:6333/@user/a.jpg"),
        ("http://host:6333", "http://host:6333"),
        ("in 'http://me:swordfish@': mail a@b.c", "in 'http://me:***@': mail a@b.c"),
        ("https://h/i.jpg?id=1&X-Amz-Signature=swordfish", "https://h/i.jpg?id=1&X-Amz-Signature=***"),
        ("GET /v1?api_key=swordfish&page=2 failed", "GET /v1?api_key=***&page=2 failed"),
        ("proxy=http://me:swordfish@p and https://x:swordfish@q", "proxy=http://me:***@p and https://x:***@q"),
        ("https://h/x?pwd=swordfish&AccessKey=swordfish", "https://h/x?pwd=***&AccessKey=***"),
        ("a caption: you & me = us?", "a caption: you & me = us?"),
    ],
)  # fmt: skip
def test_what_is_shown_of_a_url(text, shown):
    assert redact_secrets(text) == shown
    assert redact_secrets(shown) == shown


@pytest.mark.parametrize(
    "part", ["a://", "http://a:b", "a.b-c+", "http://", "?token", "token", "a@", "&a", "x:"]
)
def test_long_texts_take_linear_time(part):
    """Each took minutes where a pattern looks through the rest of the text at each character."""
    for text in (part * 50_000, f"?{part * 50_000}", f"http://{part * 50_000}://"):
        start = time.process_time()
        redact_secrets(text)
        assert time.process_time() - start < 2


@pytest.mark.parametrize("error", [EmbedderError, ConfigError, FinetuneError])
def test_errors_mask_secrets(error):
    raised = pickle.loads(pickle.dumps(error(f"{URL} cannot be reached")))
    assert str(raised) == "http://me:***@host:6333/v1 cannot be reached"
    assert SECRET not in repr(raised)


def test_the_detail_of_a_file_masks_secrets():
    assert SECRET not in UnusableFileError("unreadable", f"{URL}: 404").detail


def find_dataclasses() -> list[type]:
    """Every dataclass of the repository with a text field for a secret or for a URL."""
    found = []
    for file in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = file.read_text("utf-8")
        names = re.findall(r"^    (\w+): .*\bstr\b", text, re.MULTILINE)
        if "@dataclass" not in text or not any(map(FIELD_NAMES.search, names)):
            continue  # importing everything would take 20 s
        module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        found += [
            value
            for value in vars(module).values()
            if dataclasses.is_dataclass(value)
            and value.__module__ == module.__name__
            and any(FIELD_NAMES.search(field.name) for field in dataclasses.fields(value))
        ]
    return found


def test_the_repr_of_every_settings_object_hides_its_secrets():
    """Each is filled without its constructor: its fields get a key or a URL with a password."""
    classes = find_dataclasses()
    names = {one.__name__ for one in classes}
    assert {"Config", "Connection", "Settings", "LLMOptions", "Address"} <= names
    for one in classes:
        instance = object.__new__(one)
        for field in dataclasses.fields(one):
            value = SECRET if SECRET_NAMES.search(field.name) else URL
            is_shown = not FIELD_NAMES.search(field.name) or one.__name__ in WITHOUT_SECRETS
            value = None if is_shown else value
            object.__setattr__(instance, field.name, value)
        assert SECRET not in repr(instance), one


def test_the_repr_of_the_settings_hides_the_password_of_a_models_url():
    assert "http://me:***@host:6333/v1" in repr(load_config({"model": URL}))


def test_an_address_is_without_its_credentials():
    assert SECRET not in repr(parse_address(URL))


def test_a_resolved_setting_hides_its_value():
    for name, row in SETTINGS.items():
        if row.secret:
            assert SECRET not in repr(Resolved(name, SECRET, "flag"))
            assert Resolved(name, SECRET, "flag").shown == "***"
    assert SECRET not in repr(Resolved("store", URL, "flag"))
    assert Resolved("batch", 64, "default").shown == 64
