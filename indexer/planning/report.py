"""A plan in words, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.cli.output import format_bytes
from indexer.planning.embedding import EmbeddingEstimate
from indexer.planning.format import format_days, format_number
from indexer.planning.planner import DeploymentPlan, UploadEstimate
from indexer.stores.qdrant.profiles import PROFILES


def format_sections(plan: DeploymentPlan) -> dict[str, str]:
    """A name and its value a line; a blank name goes on with what stands above."""
    load, here, local = plan.load, plan.here, plan.embedded
    lines = {
        "collection": f"{plan.points:,} points, {plan.vectors:,} vectors of {load.dim} numbers"
        + (f", by {plan.model}" if plan.model else ""),
        "advice": f"{plan.chosen}: {plan.why}",
    }
    lines |= _continuation_lines(plan.commands, 1)
    lines |= {
        "embedded": f"{format_bytes(int(local.disk))} on disk, {format_bytes(int(local.ram))} of RAM, "
        f"{format_number(local.search_ms)} ms a search; good to {local.limit:,} points",
        "embedding": "" if plan.embedding is None else _format_embedding(plan.embedding),
        "upload": _format_upload(plan.upload),
        "here": f"{format_bytes(int(here.catalogue))} of catalogue, {format_bytes(int(here.thumbnails))} of "
        "thumbnails",
        "cost": _format_cost(plan),
    } | _continuation_lines(plan.notes, 10, "note")
    if plan.chosen not in PROFILES:
        del lines["upload"]
    return {name: value for name, value in lines.items() if value}


def _continuation_lines(lines: Sequence[str], blanks: int, name: str = " ") -> dict[str, str]:
    """Names are keys: each line has other blanks before it, from so many on."""
    return {name if not i else " " * (blanks + i): line for i, line in enumerate(lines)}


def _format_embedding(embedding: EmbeddingEstimate) -> str:
    if embedding.device == "core":
        text = f"{format_days(embedding.days)} on {embedding.devices} cores of a CPU ({embedding.basis})"
    else:
        on_all_devices = (
            f", {format_days(embedding.days)} on {embedding.devices}"
            if embedding.devices > 1
            else ""
        )
        text = f"{format_days(embedding.device_days)} on one {embedding.device}{on_all_devices} ({embedding.basis})"
        if embedding.cpu_days:
            text += (
                f", at {format_number(embedding.rate)} pictures/s; to decode, {format_days(embedding.cpu_days)} of a core: "
                f"{format_number(embedding.cores)} keep a GPU busy"
            )
    asked = (
        f"; {embedding.needed} {embedding.device}s finish in the time" if embedding.needed else ""
    )
    return text + asked


def _format_upload(upload: UploadEstimate) -> str:
    wire = f"{format_bytes(int(upload.grpc))} by gRPC, {format_bytes(int(upload.rest))} by REST"
    copies = (
        f", {format_bytes(int(upload.between_nodes))} between nodes" if upload.between_nodes else ""
    )
    rate = f"{format_number(upload.points_per_second)} points/s ({upload.basis})"
    return f"{wire}{copies}; {format_days(upload.days)} at {rate}"


def _format_cost(plan: DeploymentPlan) -> str:
    costs = plan.costs
    once = "" if costs.embedding is None else f"{costs.embedding:,.0f} to embed"
    month = "" if costs.nodes_a_month is None else f"{costs.nodes_a_month:,.0f} a month for nodes"
    return ", ".join(part for part in (once, month) if part)


def table_header(plan: DeploymentPlan) -> Sequence[str]:
    nodes = f"nodes of {format_bytes(plan.node_ram)}"
    return ("profile", "RAM", "disk", "disk a node", nodes, "because", "shards", "copies")


def table_rows(plan: DeploymentPlan) -> list[Sequence[str]]:
    """One a profile, as `head` names them; the chosen one has a star."""
    table: list[Sequence[str]] = []
    for cluster in plan.profiles:
        name = f"{cluster.profile} *" if cluster.profile == plan.chosen else cluster.profile
        sizes = [
            format_bytes(int(part))
            for part in (cluster.ram, cluster.disk, cluster.disk / cluster.nodes)
        ]
        spread = (
            str(cluster.nodes),
            cluster.decided,
            str(cluster.shards or 1),
            str(cluster.replicas),
        )
        table.append((name, *sizes, *spread))
    return table
