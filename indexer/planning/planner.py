"""A question about a collection that is not there yet, and its answer. Plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from embedder import ModelCard
from indexer.planning import constants as of
from indexer.planning.advice import (
    build_commands,
    choose_profile,
    collect_notes,
    format_model_flags,
)
from indexer.planning.cluster import ClusterSize, size_cluster
from indexer.planning.devices import DEFAULT_UTILIZATION
from indexer.planning.embedded_store import EmbeddedStoreSize, size_embedded_store
from indexer.planning.embedding import (
    SECONDS_PER_DAY,
    EmbeddingEstimate,
    EmbeddingHardware,
    estimate_embedding,
)
from indexer.planning.storage import CollectionLoad
from indexer.stores.qdrant.profiles import PROFILES

NODE_RAM = 64 * 10**9
COLLECTION_PLACEHOLDER, URL_PLACEHOLDER = "NAME", "https://HOST:6333"  # for the reader to fill in


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is asked. None leaves the choice to the plan. Prices are in any currency."""

    images: int
    dim: int
    texts: int = 0
    captions: float = 0.0
    card: ModelCard | None = None
    profile: str | None = None
    replicas: int | None = None
    node_ram: int = NODE_RAM
    gpu: str = "h100"
    gpus: int = 1
    days: float | None = None
    utilization: float = DEFAULT_UTILIZATION
    points_per_second: float | None = None  # that the server was seen to take
    gpu_hour: float | None = None
    node_month: float | None = None
    collection: str = COLLECTION_PLACEHOLDER  # in what is to be typed
    url: str = URL_PLACEHOLDER

    @property
    def load(self) -> CollectionLoad:
        return CollectionLoad(self.images, self.texts, self.captions, self.dim)


@dataclass(frozen=True, slots=True)
class UploadEstimate:
    """Bytes of the whole collection on the wire, once; `days` of the server alone, embedding may
    take longer. `basis` is "given" or "estimate"."""

    grpc: float
    rest: float
    between_nodes: float
    points_per_second: float
    days: float
    basis: str


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """Bytes on the machine that ingests: one catalogue, and a thumbnail a picture."""

    catalogue: float
    thumbnails: float


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """At the prices that were given; None where one was not."""

    embedding: float | None
    nodes_a_month: float | None


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """The answer. `chosen` is a profile, or "embedded" where no server is needed."""

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
        """Of the chosen profile; of `small` where the embedded store will do."""
        return next((s for s in self.profiles if s.profile == self.chosen), self.profiles[0])


def plan(request: PlanRequest) -> DeploymentPlan:
    """Everything at once, for every profile; nothing is loaded, read or asked of a network."""
    load = request.load
    sizes = tuple(size_cluster(load, name, request.replicas, request.node_ram) for name in PROFILES)
    embedded_store = size_embedded_store(load)
    name, why = choose_profile(sizes, embedded_store, request.profile, request.replicas)
    size = next((s for s in sizes if s.profile == name), sizes[0])
    work = EmbeddingHardware(request.gpu, request.gpus, request.utilization, request.days)
    embedding_estimate = estimate_embedding(load, request.card, work)
    return DeploymentPlan(
        load=load,
        points=load.points,
        vectors=load.vectors,
        model=request.card.name if request.card else None,
        node_ram=request.node_ram,
        chosen=name,
        why=why,
        profiles=sizes,
        embedded=embedded_store,
        here=_estimate_local_storage(load),
        embedding=embedding_estimate,
        upload=_estimate_upload(load, size, request.points_per_second),
        costs=_estimate_costs(request, size, embedding_estimate, local=name not in PROFILES),
        commands=tuple(_build_next_commands(request, name, size)),
        notes=tuple(collect_notes(load, embedding_estimate, local=name not in PROFILES)),
    )


def _build_next_commands(request: PlanRequest, name: str, size: ClusterSize) -> list[str]:
    return build_commands(
        name,
        size,
        model=format_model_flags(request.card, request.dim),
        collection=request.collection,
        url=request.url,
        many=size.nodes > 1 or request.gpus > 1,
    )


def _estimate_local_storage(load: CollectionLoad) -> LocalStorage:
    files = load.images + load.texts
    captions = load.images * min(load.captions, 1.0) * of.CATALOG_CAPTION_BYTES
    return LocalStorage(
        files * of.CATALOG_FILE_BYTES + captions, float(load.images * of.THUMBNAIL_BYTES)
    )


def _estimate_upload(
    load: CollectionLoad, size: ClusterSize, measured_rate: float | None
) -> UploadEstimate:
    """A node indexes some 4,000 vectors of 512 numbers a second while they arrive, longer ones in
    proportion, and each copy is indexed by itself."""
    payload = load.payload * of.WIRE_PAYLOAD_FACTOR
    values = load.vectors * load.dim
    vectors_per_second = (
        of.VECTORS_INDEXED_PER_SECOND
        * of.INDEXING_BENCHMARK_DIM
        / load.dim
        * size.nodes
        / size.replicas
    )
    rate = measured_rate or vectors_per_second * load.points / load.vectors
    grpc = values * of.GRPC_BYTES_PER_VALUE + payload
    return UploadEstimate(
        grpc=grpc,
        rest=values * of.REST_BYTES_PER_VALUE + payload,
        between_nodes=grpc * (size.replicas - 1),
        points_per_second=rate,
        days=load.points / rate / SECONDS_PER_DAY,
        basis="given" if measured_rate else "estimate",
    )


def _estimate_costs(
    request: PlanRequest,
    size: ClusterSize,
    embedding_estimate: EmbeddingEstimate | None,
    *,
    local: bool,
) -> CostEstimate:
    hours = (
        embedding_estimate.device_days * 24
        if embedding_estimate and embedding_estimate.device != "core"
        else None
    )
    by_hour = request.gpu_hour * hours if request.gpu_hour is not None and hours else None
    month = request.node_month
    return CostEstimate(by_hour, None if month is None or local else month * size.nodes)
