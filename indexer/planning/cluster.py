"""How many nodes and shards: https://qdrant.tech/documentation/capacity-planning/, "Topology"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from indexer.planning import constants as of
from indexer.planning.storage import CollectionLoad, list_components, sum_components
from indexer.stores.qdrant.profiles import PROFILES

DEFAULT_SHARDS = 12  # divides evenly over 1, 2, 3, 4, 6 and 12 nodes
MIN_POINTS_TO_SHARD = (
    10_000_000  # points, from which a collection is cut for more nodes than it needs
)
MIN_REPLICATED_NODES = 3  # nodes, so that one may fail


@dataclass(frozen=True, slots=True)
class ClusterSize:
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


def size_cluster(
    load: CollectionLoad, profile: str, replicas: int | None, node_ram: int
) -> ClusterSize:
    """The cluster for `load` in `profile`; nodes have `node_ram` bytes. Where it takes several
    nodes and nobody has said otherwise, there are two copies: the more nodes, the oftener one is
    away."""
    single = _size_cluster(load, profile, replicas or PROFILES[profile].replicas or 1, node_ram)
    if replicas or single.nodes == 1 or single.replicas > 1:
        return single
    return _size_cluster(load, profile, 2, node_ram)


def _size_cluster(load: CollectionLoad, profile: str, replicas: int, node_ram: int) -> ClusterSize:
    components = list_components(load, PROFILES[profile])
    ram, disk = sum_components(components, replicas)
    nodes, decided = _count_nodes(ram, load.vectors * replicas, replicas, node_ram)
    return ClusterSize(
        profile=profile,
        ram=ram,
        disk=disk,
        replicas=replicas,
        nodes=nodes,
        decided=decided,
        whole=ram / replicas <= node_ram * of.USABLE_RAM_SHARE,
        shards=count_shards(nodes, load.points),
        vectors_a_node=load.vectors * replicas / nodes,
        pieces={part.name: {"disk": part.disk, "ram": part.ram} for part in components},
    )


def _count_nodes(ram: float, vectors: int, replicas: int, node_ram: int) -> tuple[int, str]:
    """ceil(RAM / (a node's x 0.8)); at most about 100 million vectors on each; three at least
    where there are copies, which is what they are for."""
    requirements = [
        (math.ceil(ram / (node_ram * of.USABLE_RAM_SHARE)), "RAM"),
        (math.ceil(vectors / of.MAX_VECTORS_PER_NODE), "100 million vectors a node"),
        (max(MIN_REPLICATED_NODES, replicas), "one may fail")
        if replicas > 1
        else (1, "one holds it"),
    ]
    nodes = max(count for count, _ in requirements)
    return nodes, next(why for count, why in reversed(requirements) if count == nodes)


def count_shards(nodes: int, points: int) -> int:
    """Two or more a node, evenly: a shard lies on one node whole. A small collection has one a
    node, as each shard has its price; 0 where one will do."""
    if points < MIN_POINTS_TO_SHARD:
        return nodes if nodes > 1 else 0
    return DEFAULT_SHARDS if DEFAULT_SHARDS % nodes == 0 and nodes < DEFAULT_SHARDS else 2 * nodes
