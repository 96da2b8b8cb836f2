"""Options come from the settings table, and old names of settings still work."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from embedder.cli.console import takes_model_settings
from indexer.cli import _options, app
from indexer.config import SETTINGS


def options_of(command) -> dict:
    return {p.name: p for p in command.params if p.param_type_name == "option"}


def test_a_flag_has_the_help_of_its_setting():
    group = typer.main.get_command(app)
    flags = 0
    for name, command in group.commands.items():
        for option in options_of(command).values():
            if option.name in SETTINGS and name != "plan":
                assert option.help == SETTINGS[option.name].help
                flags += 1
    assert flags > 40


def test_a_command_gets_the_settings_and_its_own_options():
    program, seen = typer.Typer(), []

    @program.command()
    @_options.takes_config("batch", "collection")
    def command(config, words: str, as_json: _options.Json = False):
        seen.append((config.batch, config.collection, words, as_json))

    result = CliRunner().invoke(program, ["hello", "--json", "--batch", "7"])
    assert result.exit_code == 0, result.output
    assert seen == [(7, "default", "hello", True)]
    wrong = CliRunner().invoke(program, ["hello", "--batch", "many"])
    assert wrong.exit_code == 2
    assert "batch = 'many'" in wrong.output


def test_a_model_command_gets_its_settings():
    program, seen = typer.Typer(), []

    @program.command()
    @takes_model_settings()
    def command(settings):
        seen.append(settings)

    flags = ["--dim", "64", "--pixel-budget", "250k", "--trust-remote-code", "--device", "cpu"]
    environment = {"POLYLENS_MODEL_API_KEY": "secret"}
    assert CliRunner().invoke(program, flags, env=environment).exit_code == 0
    [settings] = seen
    assert (settings.dim, settings.pixel_budget, settings.device) == (64, 250_000, "cpu")
    assert (settings.trust_remote_code, settings.api_key) == (True, "secret")
    wrong = CliRunner().invoke(program, ["--dim", "0"])
    assert wrong.exit_code == 2
    assert "1 or more" in wrong.output


@pytest.mark.parametrize(
    ("variable", "value", "new"),
    [
        ("POLYLENS_WORKERS", "2", "POLYLENS_DECODE_THREADS or POLYLENS_CLUSTER"),
        ("POLYLENS_QDRANT_PATIENCE", "3", "POLYLENS_QDRANT_RETRY_SECONDS"),
    ],
)
def test_an_old_variable_is_one_line_on_stderr(indexer, variable, value, new):
    done = indexer("config", "show", "--json", **{variable: value})
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert variable in line and new in line
