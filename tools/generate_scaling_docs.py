"""Write the tables of docs/scaling.md from the planner: python -m tools.generate_scaling_docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from embedder import DEFAULT_MODEL, list_models
from embedder.hardware import format_bytes
from indexer.errors import IndexerError
from indexer.planning import constants as of
from indexer.planning.planner import (
    NODE_RAM,
    DeploymentPlan,
    PlanRequest,
    format_count,
    format_days,
    format_number,
    plan,
)
from indexer.planning.sizing import (
    CollectionLoad,
    list_components,
    max_points,
    size_cluster,
    size_embedded_store,
)
from indexer.planning.timing import (
    MODEL_COSTS,
    EmbeddingEstimate,
    estimate_embedding,
)
from indexer.stores.qdrant.schema import PROFILES

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
DIMS = (384, 1024, 2048, 4096)
IMAGE_COUNTS = (10**6, 10**7, 10**8, 10**9)
TABLE_PATTERN = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.S)
LAION_POINTS = 400_000_000
SHOWN_GPUS = ("h100", "a100", "l40s", "l4")
STARTER = "starter, on 2 CPU cores"
GPU_HOUR_PRICE, NODE_MONTH_PRICE = 2.5, 400.0  # example prices of a GPU and of a node
PRICED_MODELS = ("google/siglip2-base-patch16-256", "Qwen/Qwen3-VL-Embedding-2B", "royokong/e5-v")
Rows = Iterator[Sequence[str]]


def render_tables(page: str) -> str:
    """Return `page` with every marked table rendered; raises `IndexerError` for an unknown one."""
    return TABLE_PATTERN.sub(lambda match: match[1] + _render_table(match[2]) + match[3], page)


def _render_table(name: str) -> str:
    if name not in TABLES:
        raise IndexerError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return _to_markdown(TABLES[name]())


def _to_markdown(rows: Rows) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plan_images(images: int, dim: int) -> DeploymentPlan:
    return plan(PlanRequest(images=images, dim=dim))


def _profile_rows(name: str) -> Rows:
    yield ["images", "dim", "RAM", "disk", "nodes", "because", "shards", "copies"]
    for images in IMAGE_COUNTS:
        for dim in DIMS:
            found = size_cluster(
                CollectionLoad(images, 0, 0.0, dim, names=True), name, None, NODE_RAM
            )
            sizes = [format_bytes(found.ram), format_bytes(found.disk), str(found.nodes)]
            last = [found.decided, str(found.shards or 1), str(found.replicas)]
            yield [format_count(images), str(dim), *sizes, *last]


def _advice_rows() -> Rows:
    yield ["images", *(f"dim {dim}" for dim in DIMS)]
    for images in IMAGE_COUNTS:
        yield [format_count(images), *(_advice_text(_plan_images(images, dim)) for dim in DIMS)]


def _advice_text(found: DeploymentPlan) -> str:
    if found.chosen not in PROFILES:
        return found.chosen
    if found.size.nodes == 1:
        return f"{found.chosen}, 1 node"
    return f"{found.chosen}, {found.size.nodes} nodes, {found.size.shards} shards"


def _point_rows() -> Rows:
    load = CollectionLoad(10**6, 0, 0.0, 1024, names=True)
    yield ["structure", *(f"{name}: disk" for name in PROFILES), *(f"{n}: RAM" for n in PROFILES)]
    found = [list_components(load, profile) for profile in PROFILES.values()]
    for parts in zip(*found, strict=True):
        disk = [format_number(part.disk / load.points) for part in parts]
        yield [parts[0].name, *disk, *(format_number(part.ram / load.points) for part in parts)]
    sums = [format_number(sum(p.disk for p in parts) / load.points) for parts in found]
    yield [
        "total",
        *sums,
        *(format_number(sum(p.ram for p in parts) / load.points) for parts in found),
    ]


def _embedded_rows() -> Rows:
    yield ["dim", "points at 100 ms a search", "disk then", "RAM then", "1,000,000 points"]
    for dim in DIMS:
        most = round(max_points(dim), -3)
        there = size_embedded_store(CollectionLoad(most, 0, 0.0, dim, names=True))
        million = size_embedded_store(CollectionLoad(10**6, 0, 0.0, dim, names=True)).search_ms
        sizes = [format_bytes(there.disk), format_bytes(there.ram)]
        yield [str(dim), f"{most:,}", *sizes, f"{million:.0f} ms"]


def _embedding_rows() -> Rows:
    yield [
        "model",
        "10^12 operations per image",
        "images/s, H100",
        *map(format_count, IMAGE_COUNTS),
        "cores",
    ]
    starter = [_estimate_on_gpu("h100", DEFAULT_MODEL, images).days for images in IMAGE_COUNTS]
    yield [
        STARTER,
        "",
        f"{of.STARTER_IMAGES_PER_SECOND}, measured",
        *map(format_days, starter),
        "2",
    ]
    for name, cost in MODEL_COSTS.items():
        found = [_estimate_on_gpu("h100", name, images) for images in IMAGE_COUNTS]
        spent = [format_days(one.device_days) for one in found]
        cells = [
            format_number(cost.image_tflop),
            format_number(found[0].rate),
            *spent,
            format_number(found[0].cores),
        ]
        yield [f"`{name}`", *cells]


def _estimate_on_gpu(gpu: str, name: str, images: int) -> EmbeddingEstimate:
    card = next(card for card in list_models() if card.name == name)
    found = estimate_embedding(CollectionLoad(images, 0, 0.0, card.dim), card, gpu=gpu)
    if found is None:
        raise IndexerError(f"{name} has no cost in indexer/planning/timing.py")
    return found


def _gpu_rows() -> Rows:
    yield ["model", *(gpu.upper() for gpu in SHOWN_GPUS)]
    for name in MODEL_COSTS:
        found = [_estimate_on_gpu(gpu, name, 10**6) for gpu in SHOWN_GPUS]
        yield [f"`{name}`", *(format_days(one.device_days) if one.fits else "-" for one in found)]


def _upload_rows() -> Rows:
    yield ["images", "dim", "gRPC", "REST", "profile", "nodes", "points/s", "time"]
    for images in IMAGE_COUNTS[1:]:
        for dim in DIMS:
            found = _plan_images(images, dim)
            sent = found.upload
            ends = [format_number(sent.points_per_second), format_days(sent.days)]
            wire = [format_bytes(sent.grpc), format_bytes(sent.rest)]
            yield [
                format_count(images),
                str(dim),
                *wire,
                found.chosen,
                str(found.size.nodes),
                *ends,
            ]


def _local_rows() -> Rows:
    yield ["images", "catalog", "thumbnails"]
    for images in IMAGE_COUNTS:
        found = _plan_images(images, 384).here
        yield [
            format_count(images),
            format_bytes(found.catalog),
            format_bytes(found.thumbnails),
        ]


def _cost_rows() -> Rows:
    yield ["images", "model", "GPU-hours", "embedding, once", "nodes", "a month"]
    for images in IMAGE_COUNTS[1:]:
        for card in (card for card in list_models() if card.name in PRICED_MODELS):
            found = plan(
                PlanRequest(
                    images=images,
                    dim=card.dim,
                    card=card,
                    gpu_hour=GPU_HOUR_PRICE,
                    node_month=NODE_MONTH_PRICE,
                )
            )
            made, paid = found.embedding, found.costs
            hours = format_number(made.device_days * 24) if made else ""
            spent = [format_number(paid.embedding or 0), str(found.size.nodes)]
            yield [
                format_count(images),
                f"`{card.name}`",
                hours,
                *spent,
                f"{paid.nodes_a_month or 0:,.0f}",
            ]


def _laion_rows() -> Rows:
    """LAION-400M in Qdrant's own example: one vector, 1 bit per value, few links, no indexes."""
    vectors = LAION_POINTS * (512 / 8 + of.QUANTIZED_EXTRA_BYTES)
    ram = {
        "quantized vectors": vectors,
        "HNSW graph, m = 6": LAION_POINTS * 6 * of.LINK_BYTES,
        "ids and versions": float(LAION_POINTS * of.ID_TRACKER_BYTES),
    }
    yield ["RAM of", "planner"]
    yield from ([name, format_bytes(part)] for name, part in ram.items())
    yield ["total", format_bytes(sum(ram.values()))]


TABLES: dict[str, Callable[[], Rows]] = {
    **{name: partial(_profile_rows, name) for name in PROFILES},
    "advice": _advice_rows,
    "point": _point_rows,
    "embedded": _embedded_rows,
    "embedding": _embedding_rows,
    "gpus": _gpu_rows,
    "upload": _upload_rows,
    "here": _local_rows,
    "costs": _cost_rows,
    "laion": _laion_rows,
}


def main() -> None:
    PAGE.write_text(render_tables(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
