"""The source distribution and the wheel that is built from it: our packages, all of them, alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.programs import ROOT, SCRIPTS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PACKAGES = ("app", "embedder", "finetune", "indexer")
OTHERS = ("bench", "recipes", "tools")  # folders with code that is not installed
BUILD = """
import sys
from setuptools import build_meta
getattr(build_meta, sys.argv[1])(sys.argv[2])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Built from the unpacked source distribution, as pip does it where there is no wheel."""
    folder = tmp_path_factory.mktemp("packaging")
    source, dist = folder / "source", folder / "dist"
    for name in (*PACKAGES, *OTHERS):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    (source / "tests").mkdir()
    for path in [*ROOT.glob("[!.]*"), *ROOT.glob("tests/*.py")]:
        if path.is_file():
            shutil.copy(path, source / path.relative_to(ROOT))
    _build("build_sdist", source, dist)
    (archive,) = dist.iterdir()
    shutil.unpack_archive(archive, folder)
    _build("build_wheel", folder / archive.name.removesuffix(".tar.gz"), dist)
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


def _build(hook: str, source: Path, dist: Path) -> None:
    command = [sys.executable, "-c", BUILD, hook, str(dist)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel):
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == ours


def test_the_wheel_installs_every_command(wheel):
    lines = metadata(wheel, "entry_points.txt").splitlines()
    assert dict(line.split(" = ") for line in lines if " = " in line) == SCRIPTS


def test_the_metadata_leads_to_the_project(wheel):
    told = Parser().parsestr(metadata(wheel, "METADATA"))
    assert (told["Name"], told["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert told["License-Expression"] == "Apache-2.0"
    for name in PROJECT["license-files"]:
        assert metadata(wheel, f"licenses/{name}") == (ROOT / name).read_text("utf-8")
    urls = dict(line.split(", ", 1) for line in told.get_all("Project-URL"))
    assert urls == PROJECT["urls"]
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= urls.keys()
    assert told.get_payload() == (ROOT / "README.md").read_text("utf-8")
