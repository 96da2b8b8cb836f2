"""Which profile to take, what to type, and what to know before doing so."""

from __future__ import annotations

from collections.abc import Sequence

from embedder import DEFAULT_MODEL, ModelCard
from indexer.planning.cluster import Size
from indexer.planning.embedded import Embedded
from indexer.planning.embedding import Embedding
from indexer.planning.sizes import Load
from indexer.stores.layout import PROFILES

EMBEDDED = "embedded"
MOST_NODES = 12  # in the profile large, before huge is better
MANY = 10_000_000  # files, from which one machine is a long walk


def chosen(
    sizes: Sequence[Size], local: Embedded, asked: str | None, replicas: int | None
) -> tuple[str, str]:
    """The profile (or "embedded") and why: the simplest that will do."""
    if asked:
        return asked, "it was asked for"
    if local.fits and not replicas:
        return EMBEDDED, (
            f"a search takes some {local.search_ms:.0f} ms without a server; reasons for one would "
            "be copies of the data, or writers on several machines"
        )
    small, large, huge = sizes
    if small.whole:
        return small.profile, "everything fits into the RAM of a node, and nothing waits for a disk"
    if large.nodes <= MOST_NODES:
        return large.profile, (
            "RAM holds the quantised vectors and the graphs; the originals are on disk and put the "
            "best candidates in order"
        )
    return huge.profile, (
        f"large would take {large.nodes} nodes; here RAM holds little but the quantised vectors, "
        "and fast local disks do the rest"
    )


def model_flags(card: ModelCard | None, dim: int) -> str:
    """How a new collection is told its model; the starter need not be named."""
    model = card.name if card else "MODEL"
    named = f" --model {model}" if model != DEFAULT_MODEL else ""
    return named + (f" --dim {dim}" if card is not None and card.dim != dim else "")


def commands(
    name: str, size: Size, *, model: str, collection: str, url: str, many: bool
) -> list[str]:
    """What to type next; what stands in capitals is for the reader to fill in."""
    if name == EMBEDDED:
        return [f"indexer ingest FOLDER{model} --collection {collection}"]
    shards = f" --shards {size.shards}" if size.shards else ""
    usual = size.replicas == (PROFILES[name].replicas or 1)
    copies = "" if usual else f" --replicas {size.replicas}"
    workers = " --workers ray://HEAD:10001" if many else ""
    return [
        f"export QDRANT_URL={url} QDRANT_API_KEY=KEY",
        f"indexer collections create {collection}{model} --profile {name}{shards}{copies}",
        f"indexer ingest FOLDER --collection {collection}{workers}",
    ]


def notes(load: Load, made: Embedding | None, *, local: bool) -> list[str]:
    """What the figures do not say by themselves."""
    told = []
    if made is None:
        told.append(
            "nothing is known of what this model costs to run; time one batch, and multiply"
        )
    elif not made.fits:
        told.append(f"the model does not fit into one {made.device}; name another with --gpu")
    elif made.cores > 16 and load.images:
        told.append(
            f"{made.cores:.0f} cores would keep one {made.device} busy; with fewer, the CPU "
            "decides how long it takes"
        )
    if not local:
        told += _of_the_server(load)
    if load.points >= MANY:
        told.append("the catalogue of files is one SQLite file on the machine that ingests")
    return told


def _of_the_server(load: Load) -> list[str]:
    told = ["indexer reindex keeps the old index until the new one is in use: twice the disk"]
    if load.vectors < load.slots:
        told.append(
            "every point takes the space of a picture's and of a text's vector, also where it has "
            "one of them"
        )
    return told
