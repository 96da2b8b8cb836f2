"""Each key of PRIVACY.md goes to the server that it is for, and to no other."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import pytest

import embedder
from app import services
from embedder.client.http import ServerClient, parse_address
from embedder.errors import EmbedderError, UnavailableError
from embedder.origin import is_same_origin, parse_origin
from embedder.types import ModelCard
from finetune.synthesis.llm import LLMOptions, describe_destination
from indexer.api import Collection
from indexer.cli import ask_about_model_host
from indexer.collections import open_backend
from indexer.collections.model_hosts import check_model_host, remember_url
from indexer.config import ConfigError, load_config
from indexer.errors import UnnamedHostError
from tests.programs import run_program
from tests.recording_server import record

KEY = "swordfish"
PICTURE = "samples/animals/tiger.webp"
CONFIGURED = "https://models.example.org/v1"


@pytest.fixture
def servers():
    """`mine` is the server that the key is for, `other` one that somebody else named."""
    with ExitStack() as stack:
        yield stack.enter_context(record()), stack.enter_context(record())


@pytest.fixture
def mine(servers):
    return servers[0]


@pytest.fixture
def other(servers):
    return servers[1]


# which server a key is for


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://models.example.org", True),
        ("https://MODELS.example.org:443/other#model", True),
        ("https://me:pw@models.example.org/v1", True),
        ("http://models.example.org/v1", False),
        ("https://models.example.org:8443/v1", False),
        ("https://models.example.org.evil.example/v1", False),
        ("https://evil.example/models.example.org", False),
        ("https://models.example.org@evil.example/v1", False),
        ("https://evil.example#@models.example.org", False),
        ("https://evil.example?@models.example.org", False),
        ("https://127.0.0.1/v1", False),
        ("models.example.org", False),
        ("", False),
    ],
)
def test_scheme_host_and_port_make_a_server(url, same):
    assert is_same_origin(url, CONFIGURED) == same


def test_the_server_that_is_compared_is_the_one_that_is_contacted():
    """Python's IDNA makes strasse of straße; what connects does not."""
    assert parse_origin("https://straße.example").host == "xn--strae-oqa.example"
    assert httpx.URL("https://straße.example").raw_host == b"xn--strae-oqa.example"
    assert not is_same_origin("https://straße.example", "https://strasse.example")


@pytest.mark.parametrize(
    ("environment", "toml", "flags", "url"),
    [
        ({}, "", {}, None),
        ({"POLYLENS_MODEL_API_KEY": KEY}, "", {}, None),
        ({"POLYLENS_MODEL_API_KEY": KEY, "POLYLENS_MODEL": CONFIGURED}, "", {}, CONFIGURED),
        ({"POLYLENS_MODEL_API_KEY": KEY, "POLYLENS_MODEL": "starter"}, "", {}, None),
        ({"POLYLENS_MODEL_API_KEY": KEY}, f'model = "{CONFIGURED}"', {}, CONFIGURED),
        # a flag names another server than the key's
        ({"POLYLENS_MODEL_API_KEY": KEY}, "", {"model": "http://other"}, None),
        (
            {"POLYLENS_MODEL_API_KEY": KEY, "POLYLENS_MODEL": CONFIGURED},
            "",
            {"model": "http://other"},
            CONFIGURED,
        ),
        # a key beside it is for it
        ({}, "", {"model": "http://other", "model_api_key": KEY}, "http://other"),
        ({"POLYLENS_MODEL": CONFIGURED}, "", {"model_api_key": KEY}, CONFIGURED),
        (
            {"POLYLENS_MODEL_API_KEY_URL": CONFIGURED},
            "",
            {"model": "http://other", "model_api_key": KEY},
            "http://other",
        ),
        # what is said wins
        (
            {"POLYLENS_MODEL_API_KEY": KEY, "POLYLENS_MODEL_API_KEY_URL": "http://third"},
            f'model = "{CONFIGURED}"',
            {"model": "http://other"},
            "http://third",
        ),
    ],
)
def test_the_server_of_the_model_key(monkeypatch, tmp_path, environment, toml, flags, url):
    (tmp_path / "polylens.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_config(flags).model_api_key_url == url


def test_what_is_no_url_is_an_error():
    with pytest.raises(ConfigError, match="expected http"):
        load_config({"model_api_key_url": "models.example.org"})
    with pytest.raises(ConfigError, match="expected a host"):
        load_config({"allow_model_hosts": "good.example, http://evil.example"})


# the key of a model server


def test_the_model_key_goes_to_its_server(mine, other, monkeypatch):
    monkeypatch.setenv("POLYLENS_MODEL_API_KEY", KEY)
    monkeypatch.setenv("POLYLENS_MODEL", f"{mine.url}/v1")
    done = run_program("embedder", "embed", "hi", "--model", f"{mine.url}/v1")
    assert (done.returncode, KEY in mine.sent) == (0, True), done.stderr
    done = run_program("embedder", "embed", "hi", "--model", f"{other.url}/v1")
    assert (done.returncode, KEY in other.sent) == (0, False), done.stderr
    assert other.requests
    done = run_program(
        "embedder", "embed", "hi", "--model", f"{other.url}/v1", "--model-api-key", KEY
    )
    assert KEY in other.sent


@pytest.mark.parametrize("program", ["evaluate", "compare"])
def test_a_model_that_an_evaluation_names_gets_no_key(other, monkeypatch, tmp_path, program):
    """The Quality page starts these commands in the app's environment, with what visitors type."""
    (tmp_path / "pairs.jsonl").write_text('{"qry": "a", "pos_text": "b"}\n')
    monkeypatch.setenv("POLYLENS_MODEL_API_KEY", KEY)
    url, pairs = f"{other.url}/v1", tmp_path / "pairs.jsonl"
    named = ["--model", url] if program == "evaluate" else [url, url]
    run_program("finetune", program, *named, pairs)
    assert other.requests
    assert KEY not in other.sent


def test_a_refusal_says_what_to_set(other):
    other.status = 401
    settings = embedder.Settings(api_key=KEY, api_key_url=CONFIGURED)
    with pytest.raises(UnavailableError, match=r"is for https://models\.example\.org: ") as error:
        embedder.load(f"{other.url}/v1", settings)
    assert f"set POLYLENS_MODEL_API_KEY_URL={other.url}" in str(error.value)
    with pytest.raises(UnavailableError, match="the settings name no server for it"):
        embedder.load(f"{other.url}/v1", replace(settings, api_key_url=""))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_carries_no_key(mine, other, status):
    mine.status, mine.headers = status, {"Location": f"{other.url}/v1/models"}
    client = ServerClient(parse_address(mine.url), api_key=KEY, timeout=5)
    for send in (
        lambda: client.get("/models"),
        lambda: client.post("/embeddings", {"input": ["a"]}),
    ):
        with pytest.raises(EmbedderError, match="redirects to"):
            send()
    assert KEY in mine.sent
    assert not other.requests


# a collection may not name a host


@pytest.fixture
def foreign(config, other):
    """A collection of somebody else's, whose model is on a server."""
    card = ModelCard(
        name=f"{other.url}/v1#m", family="remote", revision="-", dim=4, modalities=("text",),
        composes=False, languages=(), license="", source="", fingerprint="theirs",
    )  # fmt: skip
    folder = Path(config.store) / "default"
    folder.mkdir(parents=True)
    meta = {"format": 1, "created": "2026-01-01T00:00:00", "card": asdict(card)}
    (folder / "collection.json").write_text(json.dumps(meta))
    return replace(config, model_api_key=KEY)


def test_a_collection_contacts_no_host_that_nobody_named(foreign, other):
    with pytest.raises(UnnamedHostError, match=f"--allow-model-host {other.url[7:]}"):
        Collection(foreign).load_model()
    services.configure(foreign)
    with pytest.raises(UnnamedHostError, match="POLYLENS_ALLOW_MODEL_HOSTS"):
        services.load_collection_model("default", Collection(foreign).card)
    for command in (["search", "red"], ["doctor"], ["similar", PICTURE]):
        done = run_program("indexer", *command, "--store", foreign.store)
        assert done.returncode == 1
        assert "--allow-model-host" in done.stdout + done.stderr
    assert not other.requests


def test_a_host_that_is_named_is_contacted_without_the_key(foreign, other):
    """The fingerprints differ, which only an answer of the server tells."""
    host = other.url.removeprefix("http://")
    done = run_program(
        "indexer", "search", "red", "--store", foreign.store, "--allow-model-host", host,
        env={"POLYLENS_MODEL_API_KEY": KEY},
    )  # fmt: skip
    assert "was made with" in done.stderr
    assert other.requests
    assert KEY not in other.sent


@pytest.mark.parametrize("name", ["http://{}/v1#m", "remote:http://{}/v1", "remote:HTTP://{}/v1"])
def test_however_a_card_spells_its_server(config, name):
    with pytest.raises(UnnamedHostError):
        check_model_host(config, name.format("evil.example"))


def test_an_adapter_downloads_no_model_that_nobody_named(config, tmp_path):
    pytest.importorskip("huggingface_hub")
    adapter = tmp_path / "run" / "model"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/model"}')
    (adapter.parent / "run.json").write_text("{}")
    for name in (adapter, adapter.parent, f"e5v:{adapter}"):
        with pytest.raises(UnnamedHostError, match="/somebody/model, a host that nobody"):
            check_model_host(config, str(name))
        check_model_host(replace(config, model=str(name)), str(name))
    (adapter / "somebody" / "model").mkdir(parents=True)  # beside it
    check_model_host(config, str(adapter))


def test_hosts_are_named_with_their_port(config):
    model = "http://gpu.example:8100/v1"
    for hosts in ("gpu.example:8100", "a.example, GPU.example.:8100"):
        check_model_host(load_config({"allow_model_hosts": hosts}), model)
    for hosts in ("gpu.example", "gpu.example:81", "evil.gpu.example:8100"):
        with pytest.raises(UnnamedHostError):
            check_model_host(load_config({"allow_model_hosts": hosts}), model)
    check_model_host(load_config({"model": "http://gpu.example:8100/v2#other"}), model)
    for named in ("https://gpu.example:8100/v1", "starter"):
        with pytest.raises(UnnamedHostError):
            check_model_host(load_config({"model": named}), model)


def test_a_model_of_ones_own_is_named_once(config, other, tmp_path):
    """Whoever makes a collection with a server need not name it with every search."""
    (tmp_path / "a.txt").write_text("a red door")
    store = ("--store", config.store)
    done = run_program(
        "indexer", "ingest", tmp_path / "a.txt", *store, "--model", f"{other.url}/v1"
    )
    assert done.returncode == 0, done.stderr
    done = run_program("indexer", "search", "red", *store)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "xdg-data" / "polylens" / "model_hosts"
    assert file.read_text() == f"{other.url}\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_download_that_only_a_collection_names_is_asked_for(config):
    """The starter, folders, and models that are in the cache load without a question."""
    pytest.importorskip("huggingface_hub")
    with pytest.raises(UnnamedHostError, match=r"https://huggingface.co/somebody/model"):
        check_model_host(config, "somebody/model")
    with pytest.raises(UnnamedHostError, match=r"royokong/e5-v"):
        check_model_host(config, "sentence_transformer:e5-v")
    check_model_host(load_config({"allow_model_hosts": "huggingface.co"}), "somebody/model")
    check_model_host(load_config({"model": "e5-v"}), "royokong/e5-v")
    check_model_host(config, "somebody/model", with_downloads=False)
    check_model_host(config, "starter")
    check_model_host(config, "/somewhere/a/model")
    remember_url("https://huggingface.co/somebody/model")
    check_model_host(config, "somebody/model")
    with pytest.raises(UnnamedHostError):
        check_model_host(config, "somebody/else")


def test_a_cached_model_needs_no_name(config, monkeypatch, tmp_path):
    monkeypatch.setattr("embedder.checkpoint.find_cached", lambda name: tmp_path)
    check_model_host(config, "somebody/model")


@pytest.mark.parametrize("answer", ["y", "n"])
def test_the_question_at_a_terminal(config, monkeypatch, answer):
    with pytest.raises(UnnamedHostError) as error:
        check_model_host(config, "http://gpu.example/v1")
    assert not ask_about_model_host(error.value)  # nobody is there
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    says_yes = answer == "y"
    monkeypatch.setattr("typer.confirm", lambda text, **_: "gpu.example" in text and says_yes)
    assert ask_about_model_host(error.value) == says_yes
    if says_yes:
        check_model_host(config, "http://gpu.example/v1")
    else:
        with pytest.raises(UnnamedHostError):
            check_model_host(config, "http://gpu.example/v1")


def test_a_visitor_names_no_server(config, other):
    from app.jobs import EvaluationRequest, IngestJob, start_evaluation

    services.configure(replace(config, model_api_key=KEY))
    job = IngestJob("default", Path(config.store), f"{other.url}/v1", prune=False)
    job.wait(20)
    assert "POLYLENS_ALLOW_MODEL_HOSTS" in job.error
    request = EvaluationRequest(after="starter", before=f"{other.url}/v1", pairs=Path("pairs"))
    with pytest.raises(UnnamedHostError):
        start_evaluation(None, request)
    assert not other.requests


# the keys of Qdrant


def connection(**flags: object):
    return open_backend(load_config(flags)).connection


@pytest.mark.parametrize("name", ["QDRANT_API_KEY", "QDRANT_READ_API_KEY"])
def test_a_qdrant_key_goes_to_its_server(mine, other, monkeypatch, name):
    monkeypatch.setenv(name, KEY)
    assert connection(store=mine.url).api_key is None
    monkeypatch.setenv("QDRANT_URL", mine.url)
    assert connection().api_key == KEY
    assert connection(store=f"{mine.url}/base").api_key == KEY
    other.status = mine.status = 401
    done = run_program("indexer", "status", "--store", other.url)
    assert "POLYLENS_QDRANT_API_KEY_URL" in done.stderr
    assert other.requests
    assert KEY not in other.sent
    run_program("indexer", "status")
    assert KEY in mine.sent
    monkeypatch.setenv("POLYLENS_QDRANT_API_KEY_URL", other.url)
    assert (connection().api_key, connection(store=other.url).api_key) == (None, KEY)


def test_migrate_sends_each_key_to_its_end(mine, other, monkeypatch):
    mine.status = other.status = 401
    monkeypatch.setenv("QDRANT_URL", mine.url)
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    run_program("indexer", "migrate", other.url, mine.url)
    assert other.requests
    assert KEY not in other.sent
    monkeypatch.setenv("QDRANT_SOURCE_API_KEY", "source")
    done = run_program("indexer", "migrate", other.url, mine.url)
    assert "QDRANT_SOURCE_URL" in done.stderr
    assert "source" not in other.sent
    monkeypatch.setenv("QDRANT_SOURCE_URL", other.url)
    run_program("indexer", "migrate", other.url, mine.url)
    assert "source" in other.sent
    assert KEY not in other.sent


def test_a_redirect_carries_no_qdrant_key(mine, other, monkeypatch):
    monkeypatch.setenv("QDRANT_URL", mine.url)
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    monkeypatch.setenv("POLYLENS_QDRANT_RETRY_SECONDS", "0")
    mine.status, mine.headers = 307, {"Location": other.url}
    assert run_program("indexer", "status").returncode == 1
    assert KEY in mine.sent
    assert not other.requests


# the keys of a language model


def test_the_key_of_openai_goes_to_openai(monkeypatch):
    options = LLMOptions(endpoint="http://127.0.0.1/v1", llm="m", api_key=KEY)
    assert "the key" not in (describe_destination(options)[1] or "")
    far = replace(options, endpoint="http://llm.example/v1")
    assert "and the key" in describe_destination(far)[1]
    assert "the key" not in describe_destination(replace(far, api_key_url=CONFIGURED))[1]
