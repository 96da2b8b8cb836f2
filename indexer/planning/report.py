"""A plan as text for the terminal, and numbers as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from embedder.hardware import format_bytes
from embedder.settings import parse_size
from indexer.planning.embedding import EmbeddingEstimate
from indexer.planning.planner import DeploymentPlan, UploadEstimate
from indexer.planning.sizing import ClusterSize
from indexer.stores.qdrant.profiles import PROFILES


def parse_count(value: object) -> int:
    """Parse "100M" as 100,000,000; a B is a billion here, not a byte. Raises `ValueError`."""
    text = str(value).strip()
    billions = re.fullmatch(r"([\d.]+)\s*[bB]", text)
    return int(float(billions[1]) * 1e9) if billions else parse_size(text.replace(",", ""))


def format_count(number: int) -> str:
    """Format 1,000,000 as 1M; a number that is not round is written in full."""
    for unit, name in ((10**9, "B"), (10**6, "M")):
        if number >= unit and number % (unit // 10) == 0:
            return f"{number / unit:g}{name}"
    return f"{number:,}"


def format_number(value: float) -> str:
    """Format with three digits: 8,620; 39.1; 0.0459."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def format_days(value: float) -> str:
    """Format 0.5 as 12 hours; in days from two days on, in years from two years on."""
    if value < 1 / 24:
        return f"{format_number(value * 24 * 60)} minutes"
    if value < 2:
        return f"{format_number(value * 24)} hours"
    return f"{format_number(value)} days" if value < 730 else f"{format_number(value / 365)} years"


def format_sections(plan: DeploymentPlan) -> dict[str, str]:
    """Return the lines of the summary: name -> value; a blank name continues the line above."""
    load, here, local, costs = plan.load, plan.here, plan.embedded, plan.costs
    model = f", by {plan.model}" if plan.model else ""
    prices = [
        "" if costs.embedding is None else f"{costs.embedding:,.0f} to embed",
        "" if costs.nodes_a_month is None else f"{costs.nodes_a_month:,.0f} a month for nodes",
    ]
    lines = {
        "collection": f"{plan.points:,} points, {plan.vectors:,} vectors of dim {load.dim}{model}",
        "advice": f"{plan.chosen}: {plan.why}",
        **_continuation_lines(plan.commands, 1),
        "embedded": f"{_bytes(local.disk)} on disk, {_bytes(local.ram)} of RAM, "
        f"{format_number(local.search_ms)} ms a search; good up to {local.limit:,} points",
        "embedding": "" if plan.embedding is None else _format_embedding(plan.embedding),
        "upload": _format_upload(plan.upload) if plan.chosen in PROFILES else "",
        "here": f"{_bytes(here.catalogue)} of catalog, {_bytes(here.thumbnails)} of thumbnails",
        "cost": ", ".join(filter(None, prices)),
        **_continuation_lines(plan.notes, 10, "note"),
    }
    return {name: value for name, value in lines.items() if value}


def format_table(plan: DeploymentPlan) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return the header and the rows of the table of profiles; the chosen one has a star."""
    nodes = f"nodes of {_bytes(plan.node_ram)}"
    header = ("profile", "RAM", "disk", "disk per node", nodes, "because", "shards", "copies")
    return header, [_format_row(size, size.profile == plan.chosen) for size in plan.profiles]


def _format_row(size: ClusterSize, is_chosen: bool) -> Sequence[str]:
    return (
        f"{size.profile} *" if is_chosen else size.profile,
        *(_bytes(part) for part in (size.ram, size.disk, size.disk / size.nodes)),
        str(size.nodes),
        size.decided,
        str(size.shards or 1),
        str(size.replicas),
    )


def _bytes(number: float) -> str:
    return format_bytes(int(number))


def _continuation_lines(lines: Sequence[str], blanks: int, name: str = " ") -> dict[str, str]:
    """Return the lines under distinct blank names: names are keys."""
    return {name if not i else " " * (blanks + i): line for i, line in enumerate(lines)}


def _format_embedding(embedding: EmbeddingEstimate) -> str:
    device, devices = embedding.device, embedding.devices
    if device == "core":
        text = f"{format_days(embedding.days)} on {devices} CPU cores ({embedding.basis})"
    else:
        on_all = f", {format_days(embedding.days)} on {devices}" if devices > 1 else ""
        text = f"{format_days(embedding.device_days)} on one {device}{on_all} ({embedding.basis})"
        if embedding.cpu_days:
            text += (
                f", at {format_number(embedding.rate)} images/s; decoding takes "
                f"{format_days(embedding.cpu_days)} of one core: "
                f"{format_number(embedding.cores)} cores keep a GPU busy"
            )
    needed = f"; {embedding.needed} {device}s finish in the time" if embedding.needed else ""
    return text + needed


def _format_upload(upload: UploadEstimate) -> str:
    copies = f", {_bytes(upload.between_nodes)} between nodes" if upload.between_nodes else ""
    rate = f"{format_number(upload.points_per_second)} points/s ({upload.basis})"
    wire = f"{_bytes(upload.grpc)} by gRPC, {_bytes(upload.rest)} by REST"
    return f"{wire}{copies}; {format_days(upload.days)} at {rate}"
