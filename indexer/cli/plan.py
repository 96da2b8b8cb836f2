"""`indexer plan`: what a collection will need, before you buy hardware."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from embedder.cli.console import (
    inject,
    make_option,
    print_fields,
    print_line,
    print_table,
    write_json,
)
from embedder.hardware import format_bytes
from embedder.settings import Setting, parse_int, parse_size
from indexer.cli import _options
from indexer.config import parse_profile

if TYPE_CHECKING:
    from embedder import ModelCard
    from indexer.config import Config
    from indexer.planning import DeploymentPlan

app = typer.Typer()

MIN_NODE_RAM = 10**9  # of a node

EXAMPLES = """
Examples:

  indexer plan --images 100M
  indexer plan --images 20M --captions 1.5 --model Qwen/Qwen3-VL-Embedding-2B --dim 1024
  indexer plan --images 1B --model royokong/e5-v --gpu h100 --gpus 64 --days 30
  indexer plan --images 100M --dim 768 --node-ram 128GB --node-month 400 --gpu-hour 2.5 --json
"""


def parse_count(value: object) -> int:
    """Parse "100M" as 100,000,000; a B is a billion here, not a byte. Raises `ValueError`."""
    text = str(value).strip()
    billions = re.fullmatch(r"([\d.]+)\s*[bB]", text)
    return int(float(billions[1]) * 1e9) if billions else parse_size(text.replace(",", ""))


def _parse_ram(value: object) -> int:
    ram = parse_size(value)
    if ram < MIN_NODE_RAM:
        raise ValueError("expected 1 GB or more; write the unit, as in 64GB")
    return ram


def _parse_gpu(value: object) -> str:
    from indexer.planning.timing import GPUS

    name = str(value).lower()
    if name not in GPUS:
        raise ValueError(f"expected one of {', '.join(GPUS)}")
    return name


def _check_finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"expected a number, not {value}")
    return value


def _parsed_option(
    help: str, parse: Callable[[object], object], metavar: str = "N", default: str = ""
) -> Any:
    return make_option(Setting(help, parse, metavar, default_text=default), parse=True)


Number = partial(Option, metavar="N", callback=_check_finite)
Price = partial(Number, metavar="PRICE", min=0)
PLAN_OPTIONS = {  # fields of a `PlanRequest`, which has the defaults
    "texts": Annotated[
        int | None, _parsed_option("Chunks of text; a short text is one.", parse_count, default="0")
    ],
    "captions": Annotated[
        float | None, Number(min=0, show_default="0", help="Captions per image, on average.")
    ],
    "names": Annotated[
        bool | None,
        Option("--names/--no-names", help="Embed what the names of files say.", show_default="yes"),
    ],
    "profile": Annotated[
        str | None,
        _parsed_option(
            "Plan for this profile, not for the best one.", parse_profile, "small|large|huge"
        ),
    ],
    "replicas": Annotated[int | None, _parsed_option("Copies of each shard.", parse_int(1))],
    "node_ram": Annotated[int | None, _parsed_option("RAM of a node.", _parse_ram, "SIZE", "64GB")],
    "gpu": Annotated[
        str | None,
        _parsed_option(
            "The GPU that embeds, such as a100, l40s or l4.", _parse_gpu, "NAME", "h100"
        ),
    ],
    "gpus": Annotated[int | None, _parsed_option("How many GPUs.", parse_int(1), default="1")],
    "days": Annotated[float | None, Number(min=0.001, help="Days that the embedding may take.")],
    "utilization": Annotated[
        float | None,
        Number(
            "--utilization",
            "--utilisation",
            min=0.01,
            max=1,
            show_default="0.4",
            help="Share of a GPU's peak that the model reaches.",
        ),
    ],
    "points_per_second": Annotated[
        float | None, Number(min=0.1, help="The upload speed measured on your server.")
    ],
    "gpu_hour": Annotated[float | None, Price(help="Cost of a GPU per hour.")],
    "node_month": Annotated[float | None, Price(help="Cost of a node per month.")],
}


def _leave_out_defaults(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@app.command(epilog=EXAMPLES)
@_options.takes_flags("dim", "store", "collection", "model")
@inject("plan_options", _leave_out_defaults, PLAN_OPTIONS)
def plan(
    flags: dict[str, Any],
    plan_options: dict[str, Any],
    images: Annotated[int, _parsed_option("Images, such as 100M or 1B.", parse_count)],
    as_json: _options.Json = False,
) -> None:
    """Show what a collection of that size needs: RAM, disk, nodes, GPU-days, and the commands."""
    from indexer.collections import open_backend
    from indexer.planning.planner import COLLECTION_PLACEHOLDER, URL_PLACEHOLDER, PlanRequest
    from indexer.planning.planner import plan as make_plan

    config = _options.resolve_flags(**flags)
    card, dim = _resolve_model(config)
    request = PlanRequest(
        images=images,
        dim=dim,
        card=card,
        collection=config.collection if flags["collection"] else COLLECTION_PLACEHOLDER,
        url=config.store if open_backend(config).is_shared else URL_PLACEHOLDER,
        **plan_options,
    )
    if request.load.points == 0:
        raise typer.BadParameter(
            "there is nothing to plan for: --images or --texts must be 1 or more"
        )
    deployment = make_plan(request)
    if as_json:
        write_json(asdict(deployment))
        return
    _print_plan(deployment)


def _resolve_model(config: Config) -> tuple[ModelCard | None, int]:
    """The card of a known model, and the dimension of its vectors; nothing is downloaded."""
    from embedder import DEFAULT_MODEL, find_model, list_models
    from embedder.families.registry import format_suggestions, shorten_name
    from embedder.model_card import validate_dim

    if config.model is None and config.dim is not None:
        return None, config.dim
    name = config.model or DEFAULT_MODEL
    card = find_model(name)
    if card is not None:
        return card, validate_dim(card, config.dim)
    if config.dim is None:
        known = ", ".join(shorten_name(card.name) or card.name for card in list_models())
        problem = (
            f"the dimension of the vectors of {name!r} is not known here: add --dim N, or name one "
            f"of {known}"
        )
        raise typer.BadParameter("; ".join(filter(None, (problem, format_suggestions(name)))))
    return None, config.dim


def _print_plan(deployment: DeploymentPlan) -> None:
    from indexer.planning.planner import format_sections, format_table

    print_fields(format_sections(deployment))
    print_line()
    print_table(*format_table(deployment))
    print_line()
    sizes = [
        (name, format_bytes(part["disk"]), format_bytes(part["ram"]))
        for name, part in deployment.size.pieces.items()
    ]
    print_table((f"one copy, {deployment.size.profile}", "disk", "RAM"), sizes)
