"""The image and the services are what docs/deploy.md says: read, parsed, and asked for health.

Nothing is built or started here but the health checks, which are the containers' own commands.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from setuptools import find_packages
from typer.main import get_command

import app.cli
import embedder.cli.program
import finetune.cli
import indexer.cli
from indexer.config import ENV_ALIASES, SETTINGS

ROOT = Path(__file__).parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
EXAMPLE = (ROOT / "compose.env.example").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
IGNORED = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
DEPLOY = (ROOT / "docs" / "deploy.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROGRAMS = {
    "polylens": app.cli.app,
    "indexer": indexer.cli.app,
    "embedder": embedder.cli.program.app,
    "finetune": finetune.cli.app,
}
VARIABLE = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")
KEYS = {"QDRANT_API_KEY": "full", "QDRANT_READ_API_KEY": "read"}


def services(**given: str) -> dict[str, dict]:
    """The services as Compose would see them with `given` in .env."""

    def value(match: re.Match[str]) -> str:
        return given.get(match[1]) or (match[3] if match[2] == "-" else "needed")

    return yaml.safe_load(VARIABLE.sub(value, COMPOSE))["services"]


SERVICES = services()
OURS = [name for name in SERVICES if name != "qdrant"]
LASTING = [name for name in SERVICES if name != "indexer"]


def parse(words: list[str]) -> None:
    """Raises click's error where the program knows no such command, option or value."""
    command, name, rest, context = get_command(PROGRAMS[words[0]]), words[0], words[1:], None
    while getattr(command, "commands", None):
        context = command.make_context(name, rest, parent=context)
        words = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, words)
    command.make_context(name, rest, parent=context)


# --- the image


def test_the_base_is_pinned_and_every_stage_uses_it():
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-[a-z]+$", DOCKERFILE, re.M)
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert stages == ["python:${PYTHON}"] * 2


def test_what_is_copied_is_there_and_is_all_that_the_build_gets():
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M)
    sources = {word.rstrip("/") for line in lines for word in line.split()[:-1]}
    assert all((ROOT / source).exists() for source in sources)
    assert IGNORED[1] == "*", "all is kept out but what is named"
    assert {line.removeprefix("!") for line in IGNORED if line.startswith("!")} == sources


def test_the_image_has_every_package_with_its_data():
    tools = PROJECT["tool"]["setuptools"]
    include = tools["packages"]["find"]["include"]
    tops = {pattern.removesuffix("*") for pattern in include}
    assert all(re.search(rf"^COPY {top}/ {top}/$", DOCKERFILE, re.M) for top in tops)
    found = {path.parent for top in tops for path in (ROOT / top).rglob("__init__.py")}
    there = {".".join(path.relative_to(ROOT).parts) for path in found}
    assert there == set(find_packages(str(ROOT), include=include))
    for package, globs in tools["package-data"].items():
        for pattern in globs:
            data = list((ROOT / package.replace(".", "/")).glob(pattern))
            assert data, f"{package}: {pattern}"
            assert not any(path.suffix == ".pyc" for path in data)


def test_code_comes_after_the_requirements_and_torch_without_cuda():
    assert "ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu\n" in DOCKERFILE
    steps = ("COPY requirements", "-r requirements", "COPY app")
    places = [DOCKERFILE.index(step) for step in steps]
    assert places == sorted(places)
    torch = re.search(r"grep '(\^torch==)'", DOCKERFILE)[1]
    assert re.search(torch, (ROOT / "requirements.txt").read_text(), re.M)


def test_the_image_is_run_by_a_user_with_a_number():
    assert re.search(r"^ARG UID=[1-9]\d+$", DOCKERFILE, re.M)
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["${UID}:${UID}"]


def test_the_version_is_the_packages():
    version = PROJECT["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in DOCKERFILE
    images = {SERVICES[name]["image"] for name in OURS}
    assert images == {f"polylens:{version}", f"polylens:{version}-cuda"}


def test_the_image_serves_the_app_unless_told_otherwise():
    words = yaml.safe_load(re.findall(r"^CMD (.*)", DOCKERFILE, re.M)[-1])
    parse(words)
    assert words[:2] == ["polylens", "app"]
    assert "--host=0.0.0.0" in words  # of the container


# --- the services


def test_qdrant_is_pinned_within_one_minor_version_of_its_client():
    image = re.fullmatch(
        r"qdrant/qdrant:v(\d+)\.(\d+)\.\d+-unprivileged", SERVICES["qdrant"]["image"]
    )
    requirement = re.search(
        r"^qdrant-client>=(\d+)\.(\d+)", (ROOT / "requirements.txt").read_text(), re.M
    )
    assert image[1] == requirement[1]
    assert abs(int(image[2]) - int(requirement[2])) <= 1


def test_what_to_do_where_few_files_may_be_open_is_told():
    assert "nofile: ${QDRANT_FILES:-65536}" in (ROOT / "docker-compose.yml").read_text()
    for name in ("compose.env.example", "docs/deploy.md"):
        assert "QDRANT_FILES" in (ROOT / name).read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name):
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "env_file"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_limits(name):
    service = SERVICES[name]
    assert re.fullmatch(r"\d+g", service["mem_limit"])
    assert service["pids_limit"]
    assert "cpus" in service
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["restart"] == ("no" if name == "indexer" else "unless-stopped")


def test_ports_are_on_this_machine_alone_and_qdrant_has_none():
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert published == {
        "qdrant": [],
        "indexer": [],
        "app": ["127.0.0.1:8501:8501"],
        "embedder": [],
    }
    assert SERVICES["qdrant"]["networks"] == ["store"]
    assert yaml.safe_load(COMPOSE)["networks"]["store"] == {"internal": True}


def test_whoever_needs_qdrant_waits_until_it_is_ready():
    for name in ("indexer", "app"):
        assert SERVICES[name]["depends_on"] == {"qdrant": {"condition": "service_healthy"}}
    assert all("test" in SERVICES[name]["healthcheck"] for name in LASTING)
    assert SERVICES["indexer"]["healthcheck"] == {"disable": True}


def test_pictures_are_mounted_to_be_read():
    for name in ("indexer", "app"):
        pictures, *others = services(PICTURES="/photos")[name]["volumes"]
        assert pictures == {
            "type": "bind",
            "source": "/photos",
            "target": "/pictures",
            "read_only": True,
        }
        assert others == ["data:/data", "models:/models"]
    assert (ROOT / SERVICES["app"]["volumes"][0]["source"]).is_dir(), "pictures to try it with"
    named = {volume for service in SERVICES.values() for volume in service["volumes"][-2:]}
    assert {v.split(":")[0] for v in named} == set(yaml.safe_load(COMPOSE)["volumes"])


def test_the_app_has_the_key_that_reads_and_no_other():
    told = services(**KEYS)
    assert told["qdrant"]["environment"]["QDRANT__SERVICE__API_KEY"] == "full"
    assert told["qdrant"]["environment"]["QDRANT__SERVICE__READ_ONLY_API_KEY"] == "read"
    assert told["indexer"]["environment"]["QDRANT_API_KEY"] == "full"
    assert told["app"]["environment"]["QDRANT_READ_API_KEY"] == "read"
    assert "full" not in str(told["app"])
    assert not {"full", "read"} & set(map(str, told["embedder"]["environment"].values()))


@pytest.mark.parametrize("name", OURS)
def test_settings_of_a_service_are_settings_of_the_program(name):
    own = {f"POLYLENS_{key.upper()}": key for key in SETTINGS} | dict(ENV_ALIASES)
    for variable, value in SERVICES[name]["environment"].items():
        if variable == "POLYLENS_SERVE_API_KEY":
            continue
        if value:
            SETTINGS[own[variable]].parse(value)
        assert variable in own


@pytest.mark.parametrize("name", OURS)
def test_the_program_knows_the_command_of_a_service(name):
    words = [*SERVICES[name].get("entrypoint", []), *SERVICES[name]["command"]]
    parse(words)


def test_the_app_is_known_by_the_name_that_a_proxy_gives_it():
    command = services(APP_HOST="pictures.example.com")["app"]["command"]
    assert "--public-host=pictures.example.com" in command


def test_the_example_has_every_variable_with_its_default():
    told = dict(re.findall(r"^(?:# )?([A-Z_]+)=(\S*)", EXAMPLE, re.M))
    used = {name: default for name, kind, default in VARIABLE.findall(COMPOSE) if kind == "-"}
    needed = {name for name, kind, _ in VARIABLE.findall(COMPOSE) if kind == "?"}
    assert set(told) == set(used) | needed
    shown = {"POLYLENS_MODEL": "http://embedder:8100/v1"}  # what it may be
    assert {name: told[name] for name in used} == used | shown
    assert {name for name in needed if not told[name]} == needed == set(KEYS)


# --- health


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server that gives `status` to all; its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def checked(test: list[str], port: int) -> bool:
    kind, *words = (re.sub(r"\b(6333|8100|8501)\b", str(port), word) for word in test)
    assert kind == "CMD"
    words = [word.replace("$$", "$") for word in words]
    words[0] = sys.executable if words[0] == "python" else words[0]
    done = subprocess.run(words, check=False, timeout=10, capture_output=True)
    return done.returncode == 0


@pytest.mark.parametrize(
    ("name", "path"),
    [("qdrant", "/readyz"), ("app", "/_stcore/health"), ("embedder", "/readyz"), ("", "")],
    ids=["qdrant", "app", "embedder", "image"],
)
def test_health_is_an_answer_of_200(name, path):
    if name:
        test = SERVICES[name]["healthcheck"]["test"]
    else:
        words = yaml.safe_load(re.search(r"CMD (\[.*HTTP.*)", DOCKERFILE)[1])
        path, test = "/_stcore/health", ["CMD", *words]
    with answering(200) as (port, asked):
        assert checked(test, port)
        assert asked == [path]
    assert not checked(test, port), "nobody there"
    with answering(503) as (port, _):
        assert not checked(test, port)


# --- docker-compose itself, where it is installed; `config` needs no engine


def compose() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = ["docker", "compose"]
    if (
        shutil.which("docker")
        and not subprocess.run([*plugin, "version"], check=False, capture_output=True).returncode
    ):
        return plugin
    pytest.skip("needs docker-compose (Debian: docker-compose)")


def config(folder: Path, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
    """`docker-compose WORDS config` in a copy of what it reads, with `given` in .env."""
    command = compose()
    shutil.copy(ROOT / "docker-compose.yml", folder)
    (folder / ".env").write_text("".join(f"{k}={v}\n" for k, v in given.items()))
    unset = {name for name, _, _ in VARIABLE.findall(COMPOSE)} | {"COMPOSE_FILE"}
    return subprocess.run(
        [*command, *words, "config"],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k not in unset},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_docker_compose_takes_the_file(tmp_path):
    done = config(tmp_path, "--profile", "gpu", **KEYS)
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load(done.stdout)["services"]
    assert set(told) == set(SERVICES)
    (device,) = told["embedder"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"


def test_docker_compose_says_which_key_is_missing(tmp_path):
    done = config(tmp_path, QDRANT_API_KEY="full")
    assert done.returncode != 0
    assert "QDRANT_READ_API_KEY is not set: copy compose.env.example to .env" in done.stderr


def test_qdrant_can_be_opened_to_this_machine(tmp_path):
    (override,) = re.findall(r"^```yaml\n(.*?)^```", DEPLOY, re.M | re.S)
    ports = yaml.safe_load(override)["services"]["qdrant"]["ports"]
    assert ports == ["127.0.0.1:6333:6333", "127.0.0.1:6334:6334"]
    (tmp_path / "docker-compose.override.yml").write_text(override)
    done = config(tmp_path, **KEYS)
    assert done.returncode == 0, done.stderr
    qdrant = yaml.safe_load(done.stdout)["services"]["qdrant"]
    assert set(qdrant["networks"]) == {"store", "default"}
    assert len(qdrant["ports"]) == 2


# --- docs/deploy.md


def lines() -> list[str]:
    """The commands in its blocks, each on one line and without its comment."""
    blocks = re.findall(r"^```sh\n(.*?)^```", DEPLOY, re.M | re.S)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [line.split("   #")[0].strip() for line in text.splitlines() if line.strip()]


def in_a_container(words: list[str]) -> list[str] | None:
    """What `docker-compose run --rm [-v MOUNT] indexer ...` runs."""
    if words[:3] != ["docker-compose", "run", "--rm"]:
        return None
    rest = words[5:] if words[3] == "-v" else words[3:]
    assert rest[0] == "indexer"
    return rest


@pytest.mark.parametrize("line", lines())
def test_a_command_of_the_docs_is_one(line):
    words = shlex.split(line)
    words = words[1:] if re.match(r"[A-Z_]+=", words[0]) else words
    inner = in_a_container(words) or words
    if inner[0] in PROGRAMS:
        parse(inner)
    elif words[0] == "docker-compose":
        plain = [word for word in words[1:] if not word.startswith("-") and not word.isdigit()]
        plain = plain[1:] if plain[0] == "gpu" else plain
        assert plain[0] in {"up", "ps", "logs", "stop"}
        assert set(plain[1:]) <= set(SERVICES)
    else:
        assert words[0] in {"cp", "openssl", "mkdir", "sudo", "git", "make", "docker"}


def test_variables_of_the_docs_are_known():
    own = {f"POLYLENS_{key.upper()}" for key in SETTINGS} | set(ENV_ALIASES)
    own |= {name for name, _, _ in VARIABLE.findall(COMPOSE)}
    own |= set(SERVICES["qdrant"]["environment"])
    told = re.findall(r"\b(?:POLYLENS|QDRANT|EMBEDDER|APP|TORCH)_[A-Z_]+\b", DEPLOY)
    assert len(told) > 20
    assert set(told) <= own


def test_links_within_the_page_lead_somewhere():
    titles = re.findall(r"^#+ (.*)$", DEPLOY, re.M)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", DEPLOY)) <= anchors
