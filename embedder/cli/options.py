"""Command-line options made from the settings table, and those that choose and load a model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer import Option

from embedder.settings import MODEL_SETTINGS, Setting
from embedder.types import Settings

Json = Annotated[bool, Option("--json", help="Print one JSON object.")]
MODEL_PANEL = "The model"
API_KEY_VARIABLE = "POLYLENS_MODEL_API_KEY"

Command = Callable[..., None]


def make_option(row: Setting, *names: str, parse: bool = False, **keywords: Any) -> Any:
    """The typer option of a setting; `names` where they do not follow from the parameter's.

    With `parse`, the command gets the setting's value instead of the text on the command line.
    """

    def convert(text: str) -> object:
        try:
            return row.parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    own: dict[str, Any] = {
        "metavar": row.metavar or None,
        "help": row.help,
        "show_default": row.default is not False and (row.shown_default.replace("`", "") or False),
    }
    if parse and row.parse is not str:
        own["parser"] = convert
    return Option(*names, **own | keywords)


def inject(
    target: str, build: Callable[..., object], options: Mapping[str, Any] | None = None
) -> Callable[[Command], Command]:
    """A decorator for a command: it takes the parameters of `build` as options beside its own.

    Their values do not reach the command; what `build` makes of them does, as the parameter
    `target`. `options` (parameter -> annotation) are taken instead of the parameters of `build`.
    """

    def decorate(command: Command) -> Command:
        if options is None:
            added = _read_parameters(build)
        else:
            added = [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=False if get_args(annotation)[0] is bool else None,
                    annotation=annotation,
                )
                for name, annotation in options.items()
            ]

        @functools.wraps(command)
        def run(**values: object) -> None:
            chosen = {parameter.name: values.pop(parameter.name) for parameter in added}
            command(**values, **{target: build(**chosen)})

        parameters = _read_parameters(command, target) + added
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _read_parameters(function: Callable[..., object], without: str = "") -> list[inspect.Parameter]:
    """The parameters with their annotations as objects, which typer needs; all keyword-only.

    The types of the parameter `without` and of what is returned may be imported for type checking
    alone.
    """
    own = {k: v for k, v in function.__annotations__.items() if k not in (without, "return")}
    hints = get_type_hints(
        SimpleNamespace(__annotations__=own), function.__globals__, include_extras=True
    )
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name in own
    ]


def complete_model_name(incomplete: str) -> list[str]:
    """What the shell offers for --model."""
    from embedder.api import list_models

    try:
        return [card.name for card in list_models() if card.name.startswith(incomplete)]
    except Exception:  # a shell cannot show an error
        return []


def _model_option(name: str, *flags: str, **keywords: Any) -> Any:
    panel = {"rich_help_panel": MODEL_PANEL}
    return make_option(MODEL_SETTINGS[name], *flags, parse=True, **panel | keywords)


Model = Annotated[
    str, _model_option("model", autocompletion=complete_model_name, show_default=True)
]
Dtype = Annotated[str | None, _model_option("dtype")]
MODEL_OPTIONS: Mapping[str, Any] = {
    "device": Annotated[str | None, _model_option("device")],
    "dtype": Dtype,
    "dim": Annotated[int | None, _model_option("dim")],
    "pixel_budget": Annotated[int | None, _model_option("pixel_budget")],
    "trust_remote_code": Annotated[bool, _model_option("trust_remote_code", "--trust-remote-code")],
    "model_api_key": Annotated[
        str | None, _model_option("model_api_key", "--model-api-key", envvar=API_KEY_VARIABLE)
    ],
}


def takes_model_settings(*names: str) -> Callable[[Command], Command]:
    """A decorator: the command has these options (all of a model's without `names`), and gets
    `settings`."""

    def build(model_api_key: str | None = None, **values: Any) -> Settings:
        return Settings(**values, api_key=model_api_key)

    chosen = names or tuple(MODEL_OPTIONS)
    return inject("settings", build, {name: MODEL_OPTIONS[name] for name in chosen})
