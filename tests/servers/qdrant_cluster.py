"""The peers of the stand-in's cluster, and which of them are lost.

After lib/collection/src/shards/replica_set/update.rs of qdrant/qdrant, 1.19.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from qdrant_client import models
from qdrant_strict import Refused

ASKED = 1  # the peer that answers


class Cluster:
    """`form(3)`, then `lose(2)` and `regain(2)`. One peer is no cluster, as Qdrant is delivered."""

    def __init__(self) -> None:
        self.form(1)

    def form(self, peers: int) -> None:
        self.peers, self.lost = range(1, peers + 1), set[int]()

    def lose(self, peer: int) -> None:
        if peer == ASKED or peer not in self.peers:
            raise ValueError(f"peer {peer} cannot be lost; there are {list(self.peers)[1:]}")
        self.lost.add(peer)

    def regain(self, peer: int) -> None:
        self.lost.remove(peer)

    def uri(self, peer: int) -> str:
        return f"http://qdrant-{peer}:6335/"

    def status(self) -> dict[str, Any]:
        """The answer to `GET /cluster`: a lost peer is still a member."""
        if len(self.peers) == 1:
            return {"status": "disabled"}
        now = datetime.now(UTC).isoformat()
        return {
            "status": "enabled",
            "peer_id": ASKED,
            "peers": {str(peer): {"uri": self.uri(peer)} for peer in self.peers},
            "raft_info": {
                "term": 1,
                "commit": 10,
                "pending_operations": 0,
                "leader": ASKED,
                "role": "Leader",
                "is_voter": True,
            },
            "consensus_thread_status": {"consensus_thread_status": "working", "last_update": now},
            "message_send_failures": {
                self.uri(peer): {
                    "count": 12,
                    "latest_error": "Error in closure supplied to transport channel pool: "
                    + self._no_connection(peer),
                    "latest_error_timestamp": now,
                }
                for peer in sorted(self.lost)
            },
        }

    def _no_connection(self, peer: int) -> str:
        return (
            f'status: Unavailable, message: "Failed to connect to {self.uri(peer)}, error: '
            'transport error", details: [], metadata: MetadataMap { headers: {} }'
        )

    def shards(self, given: models.CreateCollection) -> Iterator[list[int]]:
        """The peers of each shard's replicas."""
        replicas = min(given.replication_factor or 1, len(self.peers))
        for shard in range(given.shard_number or len(self.peers)):
            yield [self.peers[(shard + i) % len(self.peers)] for i in range(replicas)]

    def refusal(self, given: models.CreateCollection) -> Refused | None:
        """Why a write cannot be done: too few replicas of a shard would have it."""
        shards = list(self.shards(given))
        failed = []
        for peers in shards:
            needed = min(given.write_consistency_factor or 1, len(peers))
            if len(set(peers) - self.lost) < needed:
                failed.append(next(peer for peer in peers if peer in self.lost))
        if not failed:
            return None
        first = f"Service internal error: Tonic status error: {self._no_connection(failed[0])}"
        if len(failed) == len(shards):
            return Refused(500, first)
        return Refused(
            500,
            f"Service internal error: {len(failed)} out of {len(shards)} shards failed to apply "
            f"operation. First error captured: {first}",
        )

    def describe(self, given: models.CreateCollection, count: int) -> models.CollectionClusterInfo:
        """A collection's shards. Replicas are dead once writes go on without them."""
        active, dead = models.ReplicaState.ACTIVE, models.ReplicaState.DEAD
        leaves_out = set() if self.refusal(given) else self.lost
        shards = list(self.shards(given))
        return models.CollectionClusterInfo(
            peer_id=ASKED,
            shard_count=len(shards),
            local_shards=[
                models.LocalShardInfo(
                    shard_id=i,
                    points_count=count // len(shards) + (i < count % len(shards)),
                    state=active,
                )
                for i, peers in enumerate(shards)
                if ASKED in peers
            ],
            remote_shards=[
                models.RemoteShardInfo(
                    shard_id=i, peer_id=peer, state=dead if peer in leaves_out else active
                )
                for i, peers in enumerate(shards)
                for peer in peers
                if peer != ASKED
            ],
            shard_transfers=[],
        )
