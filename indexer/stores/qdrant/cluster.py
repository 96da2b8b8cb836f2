"""A cluster of Qdrant: which nodes are lost, and how many copies a write needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


def compute_write_consistency(replicas: int) -> int:
    """Of `replicas` copies, compute how many must take a write before it is acknowledged.

    A majority, so that a node's loss does not take what was acknowledged with it, but never all:
    the loss of one node must not stop an ingest. So 1 of 2, where what one node has acknowledged
    can die with it, 2 of 3, and 3 of 4 or 5.
    """
    return max(1, min(replicas - 1, replicas // 2 + 1))


def describe_lost_nodes(client: QdrantClient, message: str = "") -> str:
    """Say which nodes of the server's cluster do not answer; "" if all do, or if it is alone.

    Args:
        client: The client of one of the nodes.
        message: The node's error, which may name another one before the cluster knows.
    """
    status: Any = client.cluster_status()
    if status.status != "enabled":
        return ""
    nodes = [peer.uri for peer in status.peers.values()]
    failing = set(status.message_send_failures)
    lost = [uri for uri in nodes if uri in failing or uri.rstrip("/") in message]
    if not lost:
        return ""
    verb = "does not answer" if len(lost) == 1 else "do not answer"
    text = f"of the {len(nodes)} nodes of its cluster, {' and '.join(sorted(lost))} {verb}"
    # more than half must agree before a collection or an alias can be changed
    return text if status.raft_info.leader else f"{text}, and the others have no leader"
