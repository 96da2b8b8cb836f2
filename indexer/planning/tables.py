"""The tables of docs/scaling.md, so that no figure in them is anything but what `plan` says.

`python -m indexer.planning docs/scaling.md` writes them anew between the page's markers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from embedder import DEFAULT_MODEL, cards
from embedder.tables import size
from indexer.errors import IndexerError
from indexer.planning import figures as of
from indexer.planning.cluster import sized
from indexer.planning.devices import COSTS, UTILISATION
from indexer.planning.embedded import embedded, limit
from indexer.planning.embedding import Embedding, Work, embedding
from indexer.planning.planner import NODE_RAM, Plan, Question, plan
from indexer.planning.sizes import Load, pieces
from indexer.planning.wording import count, days, figure
from indexer.stores.layout import PROFILES

DIMS = (384, 1024, 2048, 4096)
SIZES = (10**6, 10**7, 10**8, 10**9)
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.S)
LAION_POINTS = 400_000_000
SHOWN_GPUS = ("h100", "a100", "l40s", "l4")
STARTER = "starter, on 2 cores of a CPU"
HOUR, MONTH = 2.5, 400.0  # of a GPU and of a node, in the table of costs; nobody's offer
PRICED = ("google/siglip2-base-patch16-256", "Qwen/Qwen3-VL-Embedding-2B", "royokong/e5-v")
Rows = Iterator[Sequence[str]]


def written(page: str) -> str:
    """`page` with every marked table made anew; raises `IndexerError` for one that there is not."""
    return MARKED.sub(lambda found: found[1] + _table(found[2]) + found[3], page)


def _table(name: str) -> str:
    if name not in TABLES:
        raise IndexerError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return _markdown(TABLES[name]())


def _markdown(rows: Rows) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _pictures(images: int, dim: int) -> Plan:
    return plan(Question(images=images, dim=dim))


def _profile(name: str) -> Rows:
    yield ["pictures", "numbers", "RAM", "disk", "nodes", "because", "shards", "copies"]
    for images in SIZES:
        for dim in DIMS:
            found = sized(Load(images, 0, 0.0, dim), name, None, NODE_RAM)
            sizes = [size(int(found.ram)), size(int(found.disk)), str(found.nodes)]
            last = [found.decided, str(found.shards or 1), str(found.replicas)]
            yield [count(images), str(dim), *sizes, *last]


def _advice() -> Rows:
    yield ["pictures", *(f"{dim} numbers" for dim in DIMS)]
    for images in SIZES:
        yield [count(images), *(_advised(_pictures(images, dim)) for dim in DIMS)]


def _advised(found: Plan) -> str:
    if found.chosen not in PROFILES:
        return found.chosen
    if found.size.nodes == 1:
        return f"{found.chosen}, 1 node"
    return f"{found.chosen}, {found.size.nodes} nodes, {found.size.shards} shards"


def _point() -> Rows:
    load = Load(10**6, 0, 0.0, 1024)
    yield ["structure", *(f"{name}: disk" for name in PROFILES), *(f"{n}: RAM" for n in PROFILES)]
    found = [pieces(load, profile) for profile in PROFILES.values()]
    for parts in zip(*found, strict=True):
        disk = [figure(part.disk / load.points) for part in parts]
        yield [parts[0].name, *disk, *(figure(part.ram / load.points) for part in parts)]
    sums = [figure(sum(p.disk for p in parts) / load.points) for parts in found]
    yield ["together", *sums, *(figure(sum(p.ram for p in parts) / load.points) for parts in found)]


def _embedded() -> Rows:
    yield ["numbers", "points at 100 ms a search", "disk then", "RAM then", "1,000,000 points"]
    for dim in DIMS:
        most = round(limit(dim), -3)
        there = embedded(Load(most, 0, 0.0, dim))
        million = embedded(Load(10**6, 0, 0.0, dim)).search_ms
        sizes = [size(int(there.disk)), size(int(there.ram))]
        yield [str(dim), f"{most:,}", *sizes, f"{million:.0f} ms"]


def _embedding() -> Rows:
    yield ["model", "10^12 operations a picture", "pictures/s, H100", *map(count, SIZES), "cores"]
    starter = [_embedded_on("h100", DEFAULT_MODEL, images).days for images in SIZES]
    yield [STARTER, "", f"{of.STARTER_PICTURES}, measured", *map(days, starter), "2"]
    for name, cost in COSTS.items():
        found = [_embedded_on("h100", name, images) for images in SIZES]
        spent = [days(one.device_days) for one in found]
        cells = [figure(cost.picture), figure(found[0].rate), *spent, figure(found[0].cores)]
        yield [f"`{name}`", *cells]


def _embedded_on(gpu: str, name: str, images: int) -> Embedding:
    card = next(card for card in cards() if card.name == name)
    found = embedding(Load(images, 0, 0.0, card.dim), card, Work(gpu, 1, UTILISATION, None))
    if found is None:
        raise IndexerError(f"{name} has no figures in indexer/planning/devices.py")
    return found


def _gpus() -> Rows:
    yield ["model", *(gpu.upper() for gpu in SHOWN_GPUS)]
    for name in COSTS:
        found = [_embedded_on(gpu, name, 10**6) for gpu in SHOWN_GPUS]
        yield [f"`{name}`", *(days(one.device_days) if one.fits else "-" for one in found)]


def _upload() -> Rows:
    yield ["pictures", "numbers", "gRPC", "REST", "profile", "nodes", "points/s", "time"]
    for images in SIZES[1:]:
        for dim in DIMS:
            found = _pictures(images, dim)
            sent = found.upload
            ends = [figure(sent.points_per_second), days(sent.days)]
            wire = [size(int(sent.grpc)), size(int(sent.rest))]
            yield [count(images), str(dim), *wire, found.chosen, str(found.size.nodes), *ends]


def _here() -> Rows:
    yield ["pictures", "catalogue", "thumbnails"]
    for images in SIZES:
        found = _pictures(images, 384).here
        yield [count(images), size(int(found.catalogue)), size(int(found.thumbnails))]


def _costs() -> Rows:
    yield ["pictures", "model", "GPU-hours", "embedding, once", "nodes", "a month"]
    for images in SIZES[1:]:
        for card in (card for card in cards() if card.name in PRICED):
            found = plan(Question(images, card.dim, card=card, gpu_hour=HOUR, node_month=MONTH))
            made, paid = found.embedding, found.costs
            hours = figure(made.device_days * 24) if made else ""
            spent = [figure(paid.embedding or 0), str(found.size.nodes)]
            yield [
                count(images),
                f"`{card.name}`",
                hours,
                *spent,
                f"{paid.nodes_a_month or 0:,.0f}",
            ]


def _laion() -> Rows:
    """LAION-400M as Qdrant laid it out: one kind of vector, at a bit, few links, no indexes."""
    vectors = LAION_POINTS * (512 / 8 + of.QUANTISED_EXTRA)
    ram = {
        "quantised vectors": vectors,
        "HNSW graph, m = 6": LAION_POINTS * 6 * of.LINK_BYTES,
        "ids and versions": float(LAION_POINTS * of.ID_TRACKER),
    }
    yield ["RAM of", "planner"]
    yield from ([name, size(int(part))] for name, part in ram.items())
    yield ["together", size(int(sum(ram.values())))]


TABLES: dict[str, Callable[[], Rows]] = {
    **{name: partial(_profile, name) for name in PROFILES},
    "advice": _advice,
    "point": _point,
    "embedded": _embedded,
    "embedding": _embedding,
    "gpus": _gpus,
    "upload": _upload,
    "here": _here,
    "costs": _costs,
    "laion": _laion,
}
