"""A question about a collection that is not there yet, and its answer. Plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from embedder import ModelCard
from indexer.planning import figures as of
from indexer.planning.advice import chosen, commands, model_flags, notes
from indexer.planning.cluster import Size, sized
from indexer.planning.devices import UTILISATION
from indexer.planning.embedded import Embedded, embedded
from indexer.planning.embedding import DAY, Embedding, Work, embedding
from indexer.planning.sizes import Load
from indexer.stores.layout import PROFILES

NODE_RAM = 64 * 10**9
COLLECTION, URL = "NAME", "https://HOST:6333"  # for the reader to fill in


@dataclass(frozen=True, slots=True)
class Question:
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
    utilisation: float = UTILISATION
    points_per_second: float | None = None  # that the server was seen to take
    gpu_hour: float | None = None
    node_month: float | None = None
    collection: str = COLLECTION  # in what is to be typed
    url: str = URL

    @property
    def load(self) -> Load:
        return Load(self.images, self.texts, self.captions, self.dim)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes of the whole collection on the wire, once; `days` of the server alone, embedding may
    take longer. `basis` is "given" or "estimate"."""

    grpc: float
    rest: float
    between_nodes: float
    points_per_second: float
    days: float
    basis: str


@dataclass(frozen=True, slots=True)
class Here:
    """Bytes on the machine that ingests: one catalogue, and a thumbnail a picture."""

    catalogue: float
    thumbnails: float


@dataclass(frozen=True, slots=True)
class Costs:
    """At the prices that were given; None where one was not."""

    embedding: float | None
    nodes_a_month: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. `chosen` is a profile, or "embedded" where no server is needed."""

    load: Load
    points: int
    vectors: int
    model: str | None
    node_ram: int
    chosen: str
    why: str
    profiles: tuple[Size, ...]
    embedded: Embedded
    here: Here
    embedding: Embedding | None
    upload: Upload
    costs: Costs
    commands: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def size(self) -> Size:
        """Of the chosen profile; of `small` where the embedded store will do."""
        return next((s for s in self.profiles if s.profile == self.chosen), self.profiles[0])


def plan(question: Question) -> Plan:
    """Everything at once, for every profile; nothing is loaded, read or asked of a network."""
    load = question.load
    sizes = tuple(sized(load, name, question.replicas, question.node_ram) for name in PROFILES)
    local = embedded(load)
    name, why = chosen(sizes, local, question.profile, question.replicas)
    size = next((s for s in sizes if s.profile == name), sizes[0])
    work = Work(question.gpu, question.gpus, question.utilisation, question.days)
    made = embedding(load, question.card, work)
    return Plan(
        load=load,
        points=load.points,
        vectors=load.vectors,
        model=question.card.name if question.card else None,
        node_ram=question.node_ram,
        chosen=name,
        why=why,
        profiles=sizes,
        embedded=local,
        here=_here(load),
        embedding=made,
        upload=_upload(load, size, question.points_per_second),
        costs=_costs(question, size, made, local=name not in PROFILES),
        commands=tuple(_typed(question, name, size)),
        notes=tuple(notes(load, made, local=name not in PROFILES)),
    )


def _typed(question: Question, name: str, size: Size) -> list[str]:
    return commands(
        name,
        size,
        model=model_flags(question.card, question.dim),
        collection=question.collection,
        url=question.url,
        many=size.nodes > 1 or question.gpus > 1,
    )


def _here(load: Load) -> Here:
    files = load.images + load.texts
    captions = load.images * min(load.captions, 1.0) * of.CATALOGUE_CAPTION
    return Here(files * of.CATALOGUE + captions, float(load.images * of.THUMBNAIL))


def _upload(load: Load, size: Size, seen: float | None) -> Upload:
    """A node indexes some 4,000 vectors of 512 numbers a second while they arrive, longer ones in
    proportion, and each copy is indexed by itself."""
    payload = load.payload * of.WIRE_PAYLOAD
    numbers = load.vectors * load.dim
    a_second = of.INDEXED_A_SECOND * of.INDEXED_DIM / load.dim * size.nodes / size.replicas
    rate = seen or a_second * load.points / load.vectors
    grpc = numbers * of.GRPC_NUMBER + payload
    return Upload(
        grpc=grpc,
        rest=numbers * of.REST_NUMBER + payload,
        between_nodes=grpc * (size.replicas - 1),
        points_per_second=rate,
        days=load.points / rate / DAY,
        basis="given" if seen else "estimate",
    )


def _costs(question: Question, size: Size, made: Embedding | None, *, local: bool) -> Costs:
    hours = made.device_days * 24 if made and made.device != "core" else None
    by_hour = question.gpu_hour * hours if question.gpu_hour is not None and hours else None
    month = question.node_month
    return Costs(by_hour, None if month is None or local else month * size.nodes)
