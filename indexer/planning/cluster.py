"""How many nodes and shards: https://qdrant.tech/documentation/capacity-planning/, "Topology"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from indexer.planning import figures as of
from indexer.planning.sizes import Load, pieces, totals
from indexer.stores.layout import PROFILES

SHARDS = 12  # divides evenly over 1, 2, 3, 4, 6 and 12 nodes
ROOM_TO_GROW = 10_000_000  # points, from which a collection is cut for more nodes than it needs
AVAILABLE = 3  # nodes, so that one may fail


@dataclass(frozen=True, slots=True)
class Size:
    """What a profile needs. RAM and disk are of all nodes, in bytes; `decided` says what asked for
    so many nodes, and `whole` whether one of them would hold a copy; `shards` of 0 leaves the
    number to the server."""

    profile: str
    ram: float
    disk: float
    replicas: int
    nodes: int
    decided: str
    whole: bool
    shards: int
    vectors_a_node: float
    pieces: dict[str, dict[str, float]]  # of one copy, without headroom


def sized(load: Load, profile: str, replicas: int | None, node_ram: int) -> Size:
    """The cluster for `load` in `profile`; nodes have `node_ram` bytes. Where it takes several
    nodes and nobody has said otherwise, there are two copies: the more nodes, the oftener one is
    away."""
    alone = _sized(load, profile, replicas or PROFILES[profile].replicas or 1, node_ram)
    if replicas or alone.nodes == 1 or alone.replicas > 1:
        return alone
    return _sized(load, profile, 2, node_ram)


def _sized(load: Load, profile: str, copies: int, node_ram: int) -> Size:
    parts = pieces(load, PROFILES[profile])
    ram, disk = totals(parts, copies)
    nodes, decided = _nodes(ram, load.vectors * copies, copies, node_ram)
    return Size(
        profile=profile,
        ram=ram,
        disk=disk,
        replicas=copies,
        nodes=nodes,
        decided=decided,
        whole=ram / copies <= node_ram * of.USABLE,
        shards=shards(nodes, load.points),
        vectors_a_node=load.vectors * copies / nodes,
        pieces={part.name: {"disk": part.disk, "ram": part.ram} for part in parts},
    )


def _nodes(ram: float, vectors: int, copies: int, node_ram: int) -> tuple[int, str]:
    """ceil(RAM / (a node's x 0.8)); at most about 100 million vectors on each; three at least
    where there are copies, which is what they are for."""
    wanted = [
        (math.ceil(ram / (node_ram * of.USABLE)), "RAM"),
        (math.ceil(vectors / of.VECTORS_A_NODE), "100 million vectors a node"),
        (max(AVAILABLE, copies), "one may fail") if copies > 1 else (1, "one holds it"),
    ]
    most = max(count for count, _ in wanted)
    return most, next(why for count, why in reversed(wanted) if count == most)


def shards(nodes: int, points: int) -> int:
    """Two or more a node, evenly: a shard lies on one node whole. A small collection has one a
    node, as each shard has its price; 0 where one will do."""
    if points < ROOM_TO_GROW:
        return nodes if nodes > 1 else 0
    return SHARDS if SHARDS % nodes == 0 and nodes < SHARDS else 2 * nodes
