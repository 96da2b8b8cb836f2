"""What the release check says of a package that does not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.programs import ROOT
from tools.check_release import check_app, check_searches, clean_environment


@pytest.fixture
def program(tmp_path):
    """`program(lines)`: a program of the installed package, as a shell script."""

    def write(lines: str):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return path

    return write


def test_a_wrong_best_hit_fails(program, tmp_path):
    answer = json.dumps({"hits": [{"path": "/pictures/windmill.jpg"}]})
    with pytest.raises(SystemExit, match=r"'a lighthouse' should find lighthouse\.jpg, not \['wi"):
        check_searches(program(f"echo '{answer}'"), tmp_path)


def test_a_program_that_fails_shows_its_messages(program, tmp_path):
    with pytest.raises(SystemExit, match=r"program ingest samples --quiet` ended with 1\nno model"):
        check_searches(program("echo no model >&2; exit 1"), tmp_path)


def test_an_app_that_ends_shows_its_messages(program, tmp_path):
    with pytest.raises(SystemExit, match=r"the app does not start\n(.*\n)*no streamlit"):
        check_app(program("echo no streamlit; exit 1"), tmp_path)


def test_neither_settings_nor_the_checkout_reach_the_package(tmp_path):
    """PYTHONPATH made pip find the package in the checkout and install nothing."""
    code = "from tools.check_release import PIP_ENVIRONMENT; print(*PIP_ENVIRONMENT)"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "POLYLENS_MODEL": "x", "PIP_QUIET": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    names = set(done.stdout.split())
    assert "PIP_QUIET" in names and not {"PYTHONPATH", "POLYLENS_MODEL"} & names
    assert clean_environment(tmp_path)["HOME"].startswith(str(tmp_path))
