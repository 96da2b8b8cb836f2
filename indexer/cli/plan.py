"""`indexer plan`: what a collection will need, before you buy hardware."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer import Option

from embedder.cli.console import print_fields, print_table, write_json
from embedder.hardware import format_bytes
from indexer.cli import _options

if TYPE_CHECKING:
    from embedder import ModelCard
    from indexer.config import Config
    from indexer.planning import DeploymentPlan

T = TypeVar("T")
app = typer.Typer()

MIN_NODE_RAM = 10**9  # of a node

EXAMPLES = """
Examples:

  indexer plan --images 100M
  indexer plan --images 20M --captions 1.5 --model Qwen/Qwen3-VL-Embedding-2B --dim 1024
  indexer plan --images 1B --model royokong/e5-v --gpu h100 --gpus 64 --days 30
  indexer plan --images 100M --dim 768 --node-ram 128GB --node-month 400 --gpu-hour 2.5 --json
"""


@app.command(epilog=EXAMPLES)
@_options.takes_flags("dim", "store", "collection", "model")
def plan(
    flags: dict[str, Any],
    images: Annotated[str, Option(metavar="N", help="Images, such as 100M or 1B.")],
    texts: Annotated[str, Option(metavar="N", help="Chunks of text; a short text is one.")] = "0",
    captions: Annotated[
        float, Option(min=0, metavar="N", help="Captions per image, on average.")
    ] = 0.0,
    profile: Annotated[
        str | None,
        Option(metavar="small|large|huge", help="Plan for this profile, not for the best one."),
    ] = None,
    replicas: Annotated[
        int | None, Option(min=1, metavar="N", help="Copies of each shard.")
    ] = None,
    node_ram: Annotated[str, Option(metavar="SIZE", help="RAM of a node.")] = "64GB",
    gpu: Annotated[
        str, Option(metavar="NAME", help="The GPU that embeds, such as a100, l40s or l4.")
    ] = "h100",
    gpus: Annotated[int, Option(min=1, metavar="N", help="How many GPUs.")] = 1,
    days: Annotated[
        float | None, Option(min=0.001, metavar="N", help="Days that the embedding may take.")
    ] = None,
    utilisation: Annotated[
        float,
        Option(min=0.01, max=1, metavar="N", help="Share of a GPU's peak that the model reaches."),
    ] = 0.4,
    points_per_second: Annotated[
        float | None, Option(min=0.1, metavar="N", help="The upload speed measured on your server.")
    ] = None,
    gpu_hour: Annotated[
        float | None, Option(min=0, metavar="PRICE", help="Cost of a GPU per hour.")
    ] = None,
    node_month: Annotated[
        float | None, Option(min=0, metavar="PRICE", help="Cost of a node per month.")
    ] = None,
    as_json: _options.Json = False,
) -> None:
    """Show what a collection of that size needs: RAM, disk, nodes, GPU-days, and the commands."""
    from indexer.collections import open_backend
    from indexer.config import parse_profile
    from indexer.planning.planner import (
        COLLECTION_PLACEHOLDER,
        URL_PLACEHOLDER,
        PlanRequest,
        parse_count,
    )
    from indexer.planning.planner import plan as make_plan
    from indexer.stores.base import redact_password

    _check_finite(
        captions=captions,
        days=days,
        utilisation=utilisation,
        points_per_second=points_per_second,
        gpu_hour=gpu_hour,
        node_month=node_month,
    )
    config = _options.resolve_flags(**flags)
    card, dim = _resolve_model(config)
    request = PlanRequest(
        images=_parse_option("--images", parse_count, images),
        dim=dim,
        texts=_parse_option("--texts", parse_count, texts),
        captions=captions,
        card=card,
        profile=_parse_option("--profile", parse_profile, profile) if profile else None,
        replicas=replicas,
        node_ram=_parse_option("--node-ram", _parse_ram, node_ram),
        gpu=_check_gpu(gpu),
        gpus=gpus,
        days=days,
        utilization=utilisation,
        points_per_second=points_per_second,
        gpu_hour=gpu_hour,
        node_month=node_month,
        collection=config.collection if flags["collection"] else COLLECTION_PLACEHOLDER,
        url=redact_password(config.store) if open_backend(config).is_shared else URL_PLACEHOLDER,
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


def _parse_option(flag: str, parse: Callable[[object], T], value: object) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise typer.BadParameter(f"{flag} {value}: {error}") from None


def _check_finite(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise typer.BadParameter(f"--{name.replace('_', '-')} {value}: expected a number")


def _parse_ram(value: object) -> int:
    from embedder.settings import parse_size

    ram = parse_size(value)
    if ram < MIN_NODE_RAM:
        raise ValueError("expected 1 GB or more; write the unit, as in 64GB")
    return ram


def _check_gpu(name: str) -> str:
    from indexer.planning.timing import GPUS

    if name.lower() not in GPUS:
        raise typer.BadParameter(f"--gpu {name}: expected one of {', '.join(GPUS)}")
    return name.lower()


def _resolve_model(config: Config) -> tuple[ModelCard | None, int]:
    """The card of a known model, and the dimension of its vectors; nothing is downloaded."""
    from embedder import DEFAULT_MODEL, list_models
    from embedder.model_card import find_preset, validate_dim

    if config.model is None and config.dim is not None:
        return None, config.dim
    name = config.model or DEFAULT_MODEL
    card = find_preset(list_models(), name)
    if card is not None:
        return card, validate_dim(card, config.dim)
    if config.dim is None:
        known = ", ".join(card.name for card in list_models())
        raise typer.BadParameter(
            f"the dimension of the vectors of {name!r} is not known here: add --dim N, or name one "
            f"of {known}"
        )
    return None, config.dim


def _print_plan(deployment: DeploymentPlan) -> None:
    from indexer.planning.planner import format_sections, format_table

    print_fields(format_sections(deployment))
    print()
    print_table(*format_table(deployment))
    print()
    sizes = [
        (name, format_bytes(part["disk"]), format_bytes(part["ram"]))
        for name, part in deployment.size.pieces.items()
    ]
    print_table((f"one copy, {deployment.size.profile}", "disk", "RAM"), sizes)
