"""Which profile to take, what to type, and what to know before doing so."""

from __future__ import annotations

from collections.abc import Sequence

from embedder import DEFAULT_MODEL, ModelCard
from indexer.planning.cluster import ClusterSize
from indexer.planning.embedded_store import EmbeddedStoreSize
from indexer.planning.embedding import EmbeddingEstimate
from indexer.planning.storage import CollectionLoad
from indexer.stores.qdrant.profiles import PROFILES

EMBEDDED_STORE = "embedded"
MAX_LARGE_NODES = 12  # in the profile large, before huge is better
MANY_POINTS = 10_000_000  # files, from which one machine is a long walk


def choose_profile(
    sizes: Sequence[ClusterSize],
    local: EmbeddedStoreSize,
    requested: str | None,
    replicas: int | None,
) -> tuple[str, str]:
    """The profile (or "embedded") and why: the simplest that will do."""
    if requested:
        return requested, "it was asked for"
    if local.fits and not replicas:
        return EMBEDDED_STORE, (
            f"a search takes some {local.search_ms:.0f} ms without a server; reasons for one would "
            "be copies of the data, or writers on several machines"
        )
    small, large, huge = sizes
    if small.whole:
        return small.profile, "everything fits into the RAM of a node, and nothing waits for a disk"
    if large.nodes <= MAX_LARGE_NODES:
        return large.profile, (
            "RAM holds the quantised vectors and the graphs; the originals are on disk and put the "
            "best candidates in order"
        )
    return huge.profile, (
        f"large would take {large.nodes} nodes; here RAM holds little but the quantised vectors, "
        "and fast local disks do the rest"
    )


def format_model_flags(card: ModelCard | None, dim: int) -> str:
    """How a new collection is told its model; the starter need not be named."""
    model = card.name if card else "MODEL"
    named = f" --model {model}" if model != DEFAULT_MODEL else ""
    return named + (f" --dim {dim}" if card is not None and card.dim != dim else "")


def build_commands(
    name: str, size: ClusterSize, *, model: str, collection: str, url: str, many: bool
) -> list[str]:
    """What to type next; what stands in capitals is for the reader to fill in."""
    if name == EMBEDDED_STORE:
        return [f"indexer ingest FOLDER{model} --collection {collection}"]
    shards = f" --shards {size.shards}" if size.shards else ""
    is_default = size.replicas == (PROFILES[name].replicas or 1)
    replicas = "" if is_default else f" --replicas {size.replicas}"
    workers = " --workers ray://HEAD:10001" if many else ""
    return [
        f"export QDRANT_URL={url} QDRANT_API_KEY=KEY",
        f"indexer collections create {collection}{model} --profile {name}{shards}{replicas}",
        f"indexer ingest FOLDER --collection {collection}{workers}",
    ]


def collect_notes(
    load: CollectionLoad, embedding: EmbeddingEstimate | None, *, local: bool
) -> list[str]:
    """What the figures do not say by themselves."""
    lines = []
    if embedding is None:
        lines.append(
            "nothing is known of what this model costs to run; time one batch, and multiply"
        )
    elif not embedding.fits:
        lines.append(f"the model does not fit into one {embedding.device}; name another with --gpu")
    elif embedding.cores > 16 and load.images:
        lines.append(
            f"{embedding.cores:.0f} cores would keep one {embedding.device} busy; with fewer, the CPU "
            "decides how long it takes"
        )
    if not local:
        lines += _server_notes(load)
    if load.points >= MANY_POINTS:
        lines.append("the catalogue of files is one SQLite file on the machine that ingests")
    return lines


def _server_notes(load: CollectionLoad) -> list[str]:
    lines = ["indexer reindex keeps the old index until the new one is in use: twice the disk"]
    if load.vectors < load.slots:
        lines.append(
            "every point takes the space of a picture's and of a text's vector, also where it has "
            "one of them"
        )
    return lines
