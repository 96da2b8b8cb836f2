"""A plan in words, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.tables import size
from indexer.planning.embedding import Embedding
from indexer.planning.planner import Plan, Upload
from indexer.planning.wording import days, figure
from indexer.stores.layout import PROFILES


def sections(found: Plan) -> dict[str, str]:
    """A name and its value a line; a blank name goes on with what stands above."""
    load, here, local = found.load, found.here, found.embedded
    told = {
        "collection": f"{found.points:,} points, {found.vectors:,} vectors of {load.dim} numbers"
        + (f", by {found.model}" if found.model else ""),
        "advice": f"{found.chosen}: {found.why}",
    }
    told |= _below(found.commands, 1)
    told |= {
        "embedded": f"{size(int(local.disk))} on disk, {size(int(local.ram))} of RAM, "
        f"{figure(local.search_ms)} ms a search; good to {local.limit:,} points",
        "embedding": "" if found.embedding is None else _embedding(found.embedding),
        "upload": _upload(found.upload),
        "here": f"{size(int(here.catalogue))} of catalogue, {size(int(here.thumbnails))} of "
        "thumbnails",
        "cost": _cost(found),
    } | _below(found.notes, 10, "note")
    if found.chosen not in PROFILES:
        del told["upload"]
    return {name: value for name, value in told.items() if value}


def _below(lines: Sequence[str], blanks: int, name: str = " ") -> dict[str, str]:
    """Names are keys: each line has other blanks before it, from so many on."""
    return {name if not i else " " * (blanks + i): line for i, line in enumerate(lines)}


def _embedding(made: Embedding) -> str:
    if made.device == "core":
        said = f"{days(made.days)} on {made.devices} cores of a CPU ({made.basis})"
    else:
        many = f", {days(made.days)} on {made.devices}" if made.devices > 1 else ""
        said = f"{days(made.device_days)} on one {made.device}{many} ({made.basis})"
        if made.cpu_days:
            said += (
                f", at {figure(made.rate)} pictures/s; to decode, {days(made.cpu_days)} of a core: "
                f"{figure(made.cores)} keep a GPU busy"
            )
    asked = f"; {made.needed} {made.device}s finish in the time" if made.needed else ""
    return said + asked


def _upload(sent: Upload) -> str:
    wire = f"{size(int(sent.grpc))} by gRPC, {size(int(sent.rest))} by REST"
    copies = f", {size(int(sent.between_nodes))} between nodes" if sent.between_nodes else ""
    rate = f"{figure(sent.points_per_second)} points/s ({sent.basis})"
    return f"{wire}{copies}; {days(sent.days)} at {rate}"


def _cost(found: Plan) -> str:
    paid = found.costs
    once = "" if paid.embedding is None else f"{paid.embedding:,.0f} to embed"
    month = "" if paid.nodes_a_month is None else f"{paid.nodes_a_month:,.0f} a month for nodes"
    return ", ".join(part for part in (once, month) if part)


def head(found: Plan) -> Sequence[str]:
    nodes = f"nodes of {size(found.node_ram)}"
    return ("profile", "RAM", "disk", "disk a node", nodes, "because", "shards", "copies")


def rows(found: Plan) -> list[Sequence[str]]:
    """One a profile, as `head` names them; the chosen one has a star."""
    told: list[Sequence[str]] = []
    for one in found.profiles:
        name = f"{one.profile} *" if one.profile == found.chosen else one.profile
        sizes = [size(int(part)) for part in (one.ram, one.disk, one.disk / one.nodes)]
        spread = (str(one.nodes), one.decided, str(one.shards or 1), str(one.replicas))
        told.append((name, *sizes, *spread))
    return told
