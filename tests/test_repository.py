"""What contributors and CI meet: hooks, workflows and forms fit the Makefile and pyproject.toml."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.programs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def test_the_hooks_have_the_version_of_the_checks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = config["repos"]
    dev = map(Requirement, PROJECT["optional-dependencies"]["dev"])
    (ruff,) = (requirement for requirement in dev if requirement.name == "ruff")
    assert ruff.specifier.contains(repository["rev"].removeprefix("v"))


@pytest.mark.parametrize("path", [".ci/run", ".github/workflows/ci.yml"])
def test_ci_runs_targets_of_the_makefile(path):
    lines = re.findall(r"^(?:.*run: )?make ([a-z-]+)", (ROOT / path).read_text("utf-8"), re.M)
    assert "test" in lines
    assert set(lines) <= TARGETS


def test_the_workflow_installs_a_python_that_the_project_takes():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    (version,) = (step["with"]["python-version"] for step in steps if "setup-python" in str(step))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_every_field_of_a_form_has_a_label(path):
    form = yaml.safe_load(path.read_text("utf-8"))
    assert form["name"] and form["description"]
    fields = form["body"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)


def test_links_lead_to_the_project():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(ROOT / ".github").rglob("*.*")]
    found = {
        url
        for page in pages
        for url in re.findall(r"https://github\.com/polylens/[\w-]+", page.read_text("utf-8"))
    }
    assert found == {PROJECT["urls"]["Homepage"]}


@pytest.mark.skipif(
    sys.platform != "linux"
    or Path("/proc/driver/nvidia").exists()
    or bool(shutil.which("nvidia-smi")),
    reason="for Linux without an NVIDIA GPU",
)
def test_setup_takes_the_cpu_build_of_torch_where_there_is_no_nvidia_gpu(tmp_path):
    def print_recipe(*words: str, path: str = os.environ["PATH"]) -> str:
        command = ["make", "-n", "setup", f"VENV={tmp_path / 'venv'}", *words]
        env = {**os.environ, "PATH": path}
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=True
        ).stdout

    assert "/whl/cpu" in print_recipe()
    assert "/whl/cu130" in print_recipe("TORCH_FLAGS=--index-url https://example.com/whl/cu130")
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    recipe = print_recipe(path=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "/whl/" not in recipe and "requirements.txt" in recipe


def test_the_demo_installs_no_torch(tmp_path):
    command = ["make", "-n", "demo", f"VENV={tmp_path / 'venv'}"]
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pip install" in recipe
    assert "torch" not in recipe and "requirements.txt" not in recipe
