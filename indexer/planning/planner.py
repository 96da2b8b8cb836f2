"""Plans the deployment of a collection that does not exist yet, and shows the plan as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder import DEFAULT_MODEL, ModelCard
from embedder.cli.console import pluralize
from embedder.hardware import format_bytes
from embedder.redaction import redact_secrets, redacted_repr
from indexer.planning import constants as of
from indexer.planning.sizing import (
    ClusterSize,
    CollectionLoad,
    EmbeddedStoreSize,
    size_cluster,
    size_embedded_store,
)
from indexer.planning.timing import (
    DEFAULT_UTILIZATION,
    EmbeddingEstimate,
    UploadEstimate,
    estimate_embedding,
    estimate_upload,
)
from indexer.stores.qdrant.schema import PROFILES

NODE_RAM = 64 * 10**9
COLLECTION_PLACEHOLDER, URL_PLACEHOLDER = "NAME", "https://HOST:6333"  # for the reader to fill in
EMBEDDED_STORE = "embedded"
MAX_LARGE_NODES = 12  # of the profile large; above that, huge is better
MANY_POINTS = 10_000_000  # from here on, a scan by one machine takes long


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """The question. None leaves the choice to the plan. Prices are in any currency."""

    images: int
    dim: int
    texts: int = 0
    captions: float = 0.0
    names: bool = True
    card: ModelCard | None = None
    profile: str | None = None
    replicas: int | None = None
    node_ram: int = NODE_RAM
    gpu: str = "h100"
    gpus: int = 1
    days: float | None = None
    utilization: float = DEFAULT_UTILIZATION
    points_per_second: float | None = None  # measured on the server
    gpu_hour: float | None = None
    node_month: float | None = None
    collection: str = COLLECTION_PLACEHOLDER  # shown in the commands
    url: str = URL_PLACEHOLDER

    __repr__ = redacted_repr

    @property
    def load(self) -> CollectionLoad:
        return CollectionLoad(self.images, self.texts, self.captions, self.dim, self.names)


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """Bytes on the machine that ingests: one catalog, and a thumbnail per image."""

    catalog: float
    thumbnails: float


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Costs at the given prices; None without a price."""

    embedding: float | None
    nodes_a_month: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """The answer. `chosen` is a profile, or "embedded" if no server is needed.

    The field names are the keys of `plan --json`.
    """

    load: CollectionLoad
    points: int
    vectors: int
    model: str | None
    node_ram: int
    chosen: str
    why: str
    profiles: tuple[ClusterSize, ...]
    embedded: EmbeddedStoreSize
    here: LocalStorage
    embedding: EmbeddingEstimate | None
    upload: UploadEstimate
    costs: CostEstimate
    commands: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def size(self) -> ClusterSize:
        """The size in the chosen profile; in `small` if the embedded store is enough."""
        return next((s for s in self.profiles if s.profile == self.chosen), self.profiles[0])


def plan(request: PlanRequest) -> DeploymentPlan:
    """Make the plan, with the sizes of every profile; loads nothing and sends no request."""
    load = request.load
    sizes = tuple(size_cluster(load, name, request.replicas, request.node_ram) for name in PROFILES)
    embedded = size_embedded_store(load)
    chosen, reason = _choose_profile(sizes, embedded, request.profile, request.replicas)
    size = next((s for s in sizes if s.profile == chosen), sizes[0])
    embedding = estimate_embedding(
        load,
        request.card,
        gpu=request.gpu,
        gpus=request.gpus,
        utilization=request.utilization,
        days=request.days,
    )
    is_local = chosen == EMBEDDED_STORE
    gpu_cost = node_cost = None
    if embedding and embedding.device != "core" and request.gpu_hour is not None:
        gpu_cost = request.gpu_hour * embedding.device_days * 24
    if not is_local and request.node_month is not None:
        node_cost = request.node_month * size.nodes
    files = load.images + load.texts
    captioned = load.images * min(load.captions, 1.0)
    return DeploymentPlan(
        load=load,
        points=load.points,
        vectors=load.vectors,
        model=request.card.name if request.card else None,
        node_ram=request.node_ram,
        chosen=chosen,
        why=reason,
        profiles=sizes,
        embedded=embedded,
        here=LocalStorage(
            files * of.CATALOG_FILE_BYTES + captioned * of.CATALOG_CAPTION_BYTES,
            float(load.images * of.THUMBNAIL_BYTES),
        ),
        embedding=embedding,
        upload=estimate_upload(load, size, request.points_per_second),
        costs=CostEstimate(gpu_cost, node_cost),
        commands=tuple(_build_commands(request, chosen, size)),
        notes=tuple(_collect_notes(load, embedding, is_local=is_local)),
    )


def _choose_profile(
    sizes: Sequence[ClusterSize],
    embedded: EmbeddedStoreSize,
    requested: str | None,
    replicas: int | None,
) -> tuple[str, str]:
    """Return the simplest profile (or "embedded") that is enough, and why."""
    if requested:
        return requested, "it was requested"
    if embedded.fits and not replicas:
        return EMBEDDED_STORE, (
            f"a search takes about {embedded.search_ms:.0f} ms without a server; use one for "
            "copies of the data, or for writers on several machines"
        )
    small, large, huge = sizes
    if small.whole:
        reason = "everything fits into the RAM of one node, so nothing waits for a disk"
        return small.profile, reason
    if large.nodes <= MAX_LARGE_NODES:
        return large.profile, (
            "RAM holds the quantized vectors and the graphs; the originals are on disk and rescore "
            "the best candidates"
        )
    return huge.profile, (
        f"large would take {large.nodes} nodes; here RAM holds little but the quantized vectors, "
        "and fast local disks do the rest"
    )


def _build_commands(request: PlanRequest, chosen: str, size: ClusterSize) -> list[str]:
    """Return the commands to run next; the reader fills in what is in capitals."""
    card, collection = request.card, request.collection
    model = card.name if card else "MODEL"
    model_flags = f" --model {model}" if model != DEFAULT_MODEL else ""
    model_flags += f" --dim {request.dim}" if card is not None and card.dim != request.dim else ""
    model_flags += "" if request.names else " --no-names"
    if chosen == EMBEDDED_STORE:
        return [f"indexer ingest FOLDER{model_flags} --collection {collection}"]
    shards = f" --shards {size.shards}" if size.shards else ""
    is_default = size.replicas == (PROFILES[chosen].replicas or 1)
    replicas = "" if is_default else f" --replicas {size.replicas}"
    workers = " --workers ray://HEAD:10001" if size.nodes > 1 or request.gpus > 1 else ""
    create = f"indexer collections create {collection}{model_flags}"
    return [
        f"export QDRANT_URL={redact_secrets(request.url)} QDRANT_API_KEY=KEY",
        f"{create} --profile {chosen}{shards}{replicas}",
        f"indexer ingest FOLDER --collection {collection}{workers}",
    ]


def _collect_notes(
    load: CollectionLoad, embedding: EmbeddingEstimate | None, *, is_local: bool
) -> list[str]:
    """Return what the numbers do not say by themselves."""
    notes = []
    if embedding is None:
        notes.append("the cost of running this model is not known; time one batch, and multiply")
    elif not embedding.fits:
        notes.append(f"the model does not fit into one {embedding.device}; name another with --gpu")
    elif embedding.cores > 16 and load.images:
        notes.append(
            f"{embedding.cores:.0f} cores would keep one {embedding.device} busy; with fewer, the "
            "CPU decides how long it takes"
        )
    if not is_local:
        notes.append(
            "indexer reindex keeps the old index until the new one is in use: twice the disk"
        )
        if load.vectors < load.slots:
            notes.append(
                "every point takes the space of a vector of each kind (image, text and name), even "
                "if it has only one of them"
            )
    if load.points >= MANY_POINTS:
        notes.append("the catalog of files is one SQLite file on the machine that ingests")
    return notes


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
    here, local, costs = plan.here, plan.embedded, plan.costs
    vectors = f"{pluralize(plan.vectors, 'vector')} of dim {plan.load.dim}"
    model = f", by {plan.model}" if plan.model else ""
    prices = [
        "" if costs.embedding is None else f"{costs.embedding:,.0f} to embed",
        "" if costs.nodes_a_month is None else f"{costs.nodes_a_month:,.0f} a month for nodes",
    ]
    lines = {
        "collection": f"{pluralize(plan.points, 'point')}, {vectors}{model}",
        "advice": f"{plan.chosen}: {plan.why}",
        **_continuation_lines(plan.commands, 1),
        "embedded": f"{format_bytes(local.disk)} on disk, {format_bytes(local.ram)} of RAM, "
        f"{format_number(local.search_ms)} ms a search; good up to {local.limit:,} points",
        "embedding": "" if plan.embedding is None else _format_embedding(plan.embedding),
        "upload": _format_upload(plan.upload) if plan.chosen in PROFILES else "",
        "here": f"{format_bytes(here.catalog)} of catalog, "
        f"{format_bytes(here.thumbnails)} of thumbnails",
        "cost": ", ".join(filter(None, prices)),
        **_continuation_lines(plan.notes, 10, "note"),
    }
    return {name: value for name, value in lines.items() if value}


def format_table(plan: DeploymentPlan) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return the header and the rows of the table of profiles; the chosen one has a star."""
    nodes = f"nodes of {format_bytes(plan.node_ram)}"
    header = ("profile", "RAM", "disk", "disk per node", nodes, "because", "shards", "copies")
    rows = [
        (
            f"{size.profile} *" if size.profile == plan.chosen else size.profile,
            *map(format_bytes, (size.ram, size.disk, size.disk / size.nodes)),
            str(size.nodes),
            size.decided,
            str(size.shards or 1),
            str(size.replicas),
        )
        for size in plan.profiles
    ]
    return header, rows


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
    copies = f", {format_bytes(upload.between_nodes)} between nodes" if upload.between_nodes else ""
    rate = f"{format_number(upload.points_per_second)} points/s ({upload.basis})"
    wire = f"{format_bytes(upload.grpc)} by gRPC, {format_bytes(upload.rest)} by REST"
    return f"{wire}{copies}; {format_days(upload.days)} at {rate}"
