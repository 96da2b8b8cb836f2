"""The planner: results worked out by hand, the engine's own files, and the tables in the docs."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from typer.testing import CliRunner

from embedder import list_models
from indexer.cli import app
from indexer.cli.plan import parse_count
from indexer.collections.schema import INTEGERS, KEYWORDS
from indexer.planning import PlanRequest, plan
from indexer.planning import constants as of
from indexer.planning.planner import format_count, format_days, format_number
from indexer.planning.sizing import (
    CollectionLoad,
    count_shards,
    estimate_search_ms,
    list_components,
    original_vector_bytes,
    quantized_vector_bytes,
    size_cluster,
    sum_components,
)
from indexer.planning.timing import MODEL_COSTS
from indexer.search.bm25 import build_document_vector
from indexer.stores.qdrant.schema import PROFILES
from tools.generate_scaling_docs import render_tables

ROOT = Path(__file__).parents[2]
M = 10**6
KNOWN = {card.name: card for card in list_models()}


def bytes_a_point(load: CollectionLoad, profile: str) -> dict[str, tuple[float, float]]:
    parts = list_components(load, PROFILES[profile])
    return {part.name: (part.disk / load.points, part.ram / load.points) for part in parts}


def make_request(images: int, dim: int = 384, **more) -> PlanRequest:
    return PlanRequest(images=images, dim=dim, **{"names": False, **more})


def test_a_point_is_the_sum_of_its_structures():
    """dim 1024, no captions; space for an image vector and a text vector."""
    parts = bytes_a_point(CollectionLoad(M, 0, 0.0, 1024), "small")
    assert parts["original vectors"] == (2 * 1024 * 4, 2 * 1024 * 4)
    assert parts["quantized vectors"] == (0, 0)
    assert parts["HNSW graphs"] == (pytest.approx(16 * 2 * 4 * 1.2 * 1.25),) * 2
    assert parts["facets, indexed"] == pytest.approx((158.4, 158.4))  # 44 bytes x 3.6
    assert parts["look-ups, indexed"] == pytest.approx((504.0, 504.0))  # 140 bytes x 3.6
    assert parts["words, stored"] == (128 + 3 * 8, 0)
    assert parts["words, indexed"] == (30, 30)
    assert parts["ids and versions"] == (52, 52)
    assert parts["payload"] == (1050, 1050 * 3)  # 700 bytes x 1.5


def test_what_is_on_disk_takes_no_ram():
    large = bytes_a_point(CollectionLoad(M, 0, 0.0, 1024), "large")
    assert large["original vectors"] == (2 * 1024 * 2, 0)
    assert large["quantized vectors"] == (2 * (1024 / 2 + 8),) * 2
    assert large["payload"] == (1050, 0)
    huge = bytes_a_point(CollectionLoad(M, 0, 0.0, 1024), "huge")
    assert huge["quantized vectors"] == (2 * (1024 / 4 + 8),) * 2
    assert huge["HNSW graphs"][1] == huge["facets, indexed"][1] == 0


def test_the_example_in_qdrants_docs():
    """Two million vectors of dim 768: 5.72 GiB, and 0.72 at four bits but for their 8 bytes."""
    load = CollectionLoad(M, 0, 0.0, 768)
    assert original_vector_bytes(load, PROFILES["small"]) / 2**30 == pytest.approx(5.72, abs=0.005)
    four = quantized_vector_bytes(load, PROFILES["large"]) - 2 * M * of.QUANTIZED_EXTRA_BYTES
    assert four / 2**30 == pytest.approx(0.72, abs=0.005)


def test_captions_and_texts():
    load = CollectionLoad(images=100, texts=50, captions=0.5, dim=10)
    assert (load.points, load.vectors, load.slots) == (150, 200, 300)
    assert load.payload == 100 * 700 + 50 * 77 + 50 * 1400
    assert load.words == 100 * (3 + 3.5) + 50 * 130
    assert CollectionLoad(100, 0, 1.5, 10).vectors == 200  # an image's captions make one vector


def test_copies_and_headroom():
    parts = list_components(CollectionLoad(M, 0, 0.0, 1024), PROFILES["small"])
    ram, disk = sum_components(parts, 2)
    assert disk == pytest.approx((8192 + 192 + 662.4 + 152 + 30 + 52 + 1050) * M * 2 * 1.2)
    assert ram == pytest.approx((8192 + 192 + 662.4 + 30 + 52 + 3150) * M * 2 * 1.2)


def test_the_profiles_are_those_of_the_store():
    """A profile's bytes follow its line in stores/qdrant/schema.py, and every line has bytes."""
    load = CollectionLoad(M, 0, 0.0, 384)
    coarser = replace(PROFILES["large"], bits="bits2")
    assert quantized_vector_bytes(load, coarser) == 2 * M * (384 / 4 + 8)
    assert original_vector_bytes(load, replace(coarser, datatype="float32")) == 2 * M * 384 * 4
    assert all(list_components(load, profile) for profile in PROFILES.values())


def test_nodes_by_ram():
    """353 GB in two copies over nodes that lend 51.2 GB."""
    found = size_cluster(CollectionLoad(100 * M, 0, 0.0, 1024), "large", 2, 64 * 10**9)
    ram = 2 * 1.2 * 100 * M * (1040 + 192 + 158.4 + 30 + 52)
    assert found.ram == pytest.approx(ram)
    assert (found.nodes, found.decided, found.shards) == (7, "RAM", 14)
    assert found.vectors_a_node == pytest.approx(200 * M / 7)


def test_a_node_holds_at_most_100_million_vectors():
    found = size_cluster(CollectionLoad(1000 * M, 0, 0.0, 384), "huge", 1, 2 * 10**12)
    assert (found.nodes, found.decided) == (10, "100 million vectors per node")


def test_copies_need_three_nodes_and_several_nodes_get_copies():
    one = size_cluster(CollectionLoad(M, 0, 0.0, 384), "small", None, 64 * 10**9)
    assert (one.nodes, one.replicas, one.shards, one.whole) == (1, 1, 0, True)
    two = size_cluster(CollectionLoad(M, 0, 0.0, 384), "small", 2, 64 * 10**9)
    assert (two.nodes, two.replicas, two.shards, two.whole) == (3, 2, 3, True)
    many = size_cluster(CollectionLoad(10 * M, 0, 0.0, 384), "small", None, 64 * 10**9)
    assert (many.nodes, many.replicas, many.whole) == (4, 2, False)
    assert size_cluster(CollectionLoad(M, 0, 0.0, 384), "small", 5, 64 * 10**9).nodes == 5


@pytest.mark.parametrize(
    ("nodes", "points", "wanted"),
    [(1, M, 0), (3, M, 3), (1, 10 * M, 12), (4, 100 * M, 12), (5, 100 * M, 10), (12, 500 * M, 24)],
)
def test_shards_spread_evenly(nodes, points, wanted):
    assert count_shards(nodes, points) == wanted


@pytest.mark.parametrize(
    ("images", "dim", "chosen"),
    [
        (10_000, 4096, "embedded"),
        (2 * M, 384, "embedded"),
        (3 * M, 384, "small"),
        (M, 4096, "small"),
        (10 * M, 2048, "large"),
        (100 * M, 384, "large"),
        (100 * M, 4096, "huge"),
        (1000 * M, 384, "huge"),
    ],
)
def test_the_simplest_sufficient_profile_is_chosen(images, dim, chosen):
    assert plan(make_request(images, dim)).chosen == chosen


def test_a_requested_profile_is_planned():
    found = plan(make_request(M, profile="huge"))
    assert (found.chosen, found.size.profile) == ("huge", "huge")
    assert plan(make_request(M, replicas=2)).chosen == "small"  # the embedded store has no copies


def test_the_commands():
    assert plan(make_request(1000, card=KNOWN["starter"])).commands == (
        "indexer ingest FOLDER --no-names --collection NAME",
    )
    assert plan(make_request(1000, card=KNOWN["starter"], names=True)).commands == (
        "indexer ingest FOLDER --collection NAME",
    )
    qwen = KNOWN["Qwen/Qwen3-VL-Embedding-2B"]
    _, create, ingest = plan(make_request(100 * M, 1024, card=qwen)).commands
    assert create == (
        "indexer collections create NAME --model Qwen/Qwen3-VL-Embedding-2B --dim 1024 "
        "--no-names --profile large --shards 14 --replicas 2"
    )
    assert ingest.endswith("--workers ray://HEAD:10001")
    once = plan(make_request(100 * M, profile="huge", replicas=1)).commands[1]
    assert once.endswith("--profile huge --shards 12 --replicas 1")  # its own would be 2
    assert "--replicas" not in plan(make_request(100 * M, profile="huge")).commands[1]


def test_the_embedded_store_follows_the_benchmarks():
    assert estimate_search_ms(38_400_000) == 13.1
    assert estimate_search_ms(384_000_000) == pytest.approx(51.6)
    found = plan(make_request(M)).embedded
    assert found.fits
    assert estimate_search_ms(found.limit * 384) == pytest.approx(100, abs=0.1)
    assert found.disk > found.ram > M * 2 * 384 * 2


def test_days_of_a_gpu():
    """31.5 x 10^12 operations per image at 40 % of 989 x 10^12 per second."""
    found = plan(make_request(M, 4096, card=KNOWN["royokong/e5-v"], gpus=4, days=0.25)).embedding
    assert found.basis == "estimate"
    assert found.rate == pytest.approx(989 * 0.4 / 31.5)
    assert found.device_days == pytest.approx(M * 31.5 / (989 * 0.4) / 86_400)
    assert found.days == pytest.approx(found.device_days / 4)
    assert found.needed == 4  # 0.92 days in a quarter of a day
    assert found.cpu_days == pytest.approx(M * (7.8 + 37) / 1000 / 86_400)
    assert found.cores == pytest.approx(found.rate * 44.8 / 1000)


def test_captions_cost_operations_and_each_is_embedded():
    model = KNOWN["Qwen/Qwen3-VL-Embedding-2B"]
    bare = plan(make_request(M, 2048, card=model)).embedding.device_days
    spoken = plan(make_request(M, 2048, card=model, captions=1.5, texts=10)).embedding.device_days
    more = (1.5 * M + 10 * 12) * 0.133 / (989 * 0.4) / 86_400
    assert spoken - bare == pytest.approx(more)


def test_the_starter_is_marked_as_measured():
    found = plan(make_request(M, card=KNOWN["starter"], texts=M)).embedding
    assert (found.device, found.basis) == ("core", "measured")
    assert found.days == pytest.approx((M / 39.1 + M / 131) / 86_400)


def test_a_model_that_does_not_fit_gets_a_note():
    found = plan(make_request(M, 4096, card=KNOWN["intfloat/mmE5-mllama-11b-instruct"], gpu="l4"))
    assert not found.embedding.fits
    assert any("does not fit into one L4" in note for note in found.notes)


def test_a_fast_model_gets_a_note_about_the_cpu():
    found = plan(make_request(M, 768, card=KNOWN["google/siglip2-base-patch16-256"]))
    assert any("cores would keep one H100 busy" in note for note in found.notes)


def test_the_cost_of_most_known_models_is_counted():
    wemm = {f"tencent/WeMM-Embedding-{size}" for size in ("2B", "4B", "9B")}
    wemm |= {f"Alibaba-NLP/gme-Qwen2-VL-{size}-Instruct" for size in ("2B", "7B")}
    not_counted = {"TIGER-Lab/VLM2Vec-Full", "facebook/metaclip-2-worldwide-huge-quickgelu"}
    assert KNOWN.keys() - MODEL_COSTS.keys() == {"starter"} | not_counted | wemm
    assert MODEL_COSTS.keys() <= KNOWN.keys()
    unknown = plan(make_request(M, 3072, card=KNOWN["TIGER-Lab/VLM2Vec-Full"]))
    assert unknown.embedding is None
    assert any("is not known" in note for note in unknown.notes)


def test_upload_bytes_and_speed():
    """Three nodes, two copies, 4,000 vectors of dim 512 per second each."""
    found = plan(make_request(M, 1024, profile="large", replicas=2)).upload
    assert found.grpc == M * (1024 * 4 + 700 * 1.2)
    assert found.rest == M * (1024 * 21 + 700 * 1.2)
    assert found.between_nodes == found.grpc
    assert found.points_per_second == 4000 * 512 / 1024 * 3 / 2
    seen = plan(make_request(86_400 * 10, points_per_second=10.0)).upload
    assert (seen.days, seen.basis) == (1.0, "given")


def test_costs_use_the_given_prices():
    model = KNOWN["royokong/e5-v"]
    found = plan(make_request(10 * M, 4096, card=model, gpu_hour=2.0, node_month=100.0))
    assert found.costs.embedding == pytest.approx(found.embedding.device_days * 24 * 2)
    assert found.costs.nodes_a_month == 300
    none = plan(make_request(10 * M, 4096, card=model)).costs
    assert (none.embedding, none.nodes_a_month) == (None, None)
    assert (
        plan(make_request(1000, card=KNOWN["starter"], node_month=100.0)).costs.nodes_a_month
        is None
    )


def test_numbers_are_parsed_and_formatted():
    assert parse_count("1B") == 1000 * M  # not a byte
    assert parse_count("2.5 M") == 2_500_000
    assert parse_count("1,000,000") == M
    with pytest.raises(ValueError, match="expected a number"):
        parse_count("many")
    assert [
        format_count(M),
        format_count(1000 * M),
        format_count(2_500_000),
        format_count(1234),
    ] == [
        "1M",
        "1B",
        "2.5M",
        "1,234",
    ]
    assert [format_days(1 / 48), format_days(0.5), format_days(3), format_days(1000)] == [
        "30 minutes",
        "12 hours",
        "3 days",
        "2.74 years",
    ]
    assert [format_number(8619.4), format_number(39.12), format_number(0.04591)] == [
        "8,619",
        "39.1",
        "0.0459",
    ]


def test_the_tables_in_the_docs_are_up_to_date():
    page = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    assert page.count("<!-- table: ") == 12
    assert render_tables(page) == page, "run: python -m tools.generate_scaling_docs"


def test_the_constants_agree_with_the_benchmarks():
    """Another run may differ a little; where it differs more, update planning/constants.py."""
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")

    def read_value(line: str) -> float:
        return float(re.search(rf"^\| {line} \| ([\d.]+)", page, re.M)[1])

    assert read_value("pictures, a whole ingest.*?") == pytest.approx(
        of.STARTER_IMAGES_PER_SECOND, rel=0.2
    )
    assert read_value("texts, the model alone") == pytest.approx(
        of.STARTER_TEXTS_PER_SECOND, rel=0.2
    )
    assert read_value("Polylens, thumbnails included") == pytest.approx(of.DECODE_MS, rel=0.2)
    assert read_value("1,000,000") == pytest.approx(of.SEARCH_MEASUREMENTS[1][1], rel=0.2)


def test_planning_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'qdrant_client', 'qdrant_edge'}"
    code = f"import sys, indexer.planning, indexer.cli.plan; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


ENGINE_POINTS, ENGINE_DIM = 2_000, 256


@pytest.fixture(scope="module")
def files() -> Iterator[dict[str, float]]:
    """Bytes a point in the files of Qdrant's own engine, laid out as `large` and optimised."""
    import qdrant_edge as edge

    disk = TemporaryDirectory(dir="/var/tmp")  # a file system in memory counts other blocks
    folder = Path(disk.name)
    vector = edge.EdgeVectorParams(
        size=ENGINE_DIM,
        distance=edge.Distance.Cosine,
        datatype=edge.VectorStorageDatatype.Float16,
        on_disk=True,
    )
    bits = edge.TurboQuantQuantizationConfig(always_ram=True, bits=edge.TurboQuantBitSize.Bits4)
    config = edge.EdgeConfig(
        vectors={"image": vector, "text": vector},
        sparse_vectors={"bm25": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        on_disk_payload=True,
        quantization_config=bits,
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=32, full_scan_threshold=10),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=10, default_segment_number=1),
    )
    shard = edge.EdgeShard.create(str(folder), config)
    for key in (*KEYWORDS, *INTEGERS):
        kind = edge.PayloadSchemaType.Integer if key in INTEGERS else edge.PayloadSchemaType.Keyword
        shard.update(edge.UpdateOperation.create_field_index(key, kind))
    points = [_engine_point(edge, number) for number in range(ENGINE_POINTS)]
    shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()
    shard.flush()
    shard.close()
    yield _largest_segment(folder / "segments")
    disk.cleanup()


def _engine_point(edge, number: int):
    """An image without captions: its `text` vector is missing."""
    row = np.random.default_rng(number).standard_normal(ENGINE_DIM)
    content, name = hashlib.sha256(str(number).encode()).hexdigest(), f"photo-{number:07d}.jpg"
    folder = f"/home/someone/Pictures/{number // 500:05d}"
    payload = {"kind": "image", "format": "jpeg", "content": content, "name": name}
    payload |= {"folder": [folder], "paths": [f"{folder}/{name}"], "year": 2000 + number % 25}
    words = build_document_vector(((name, None),))
    sparse = edge.SparseVector(list(words.indices), list(words.values))
    dense = (row / np.linalg.norm(row)).tolist()
    return edge.Point(str(uuid.UUID(content[:32])), {"image": dense, "bm25": sparse}, payload)


def _largest_segment(folder: Path) -> dict[str, float]:
    found = []
    for segment in folder.iterdir():
        sizes = {f: f.stat().st_blocks * 512 for f in segment.rglob("*") if f.is_file()}
        found.append({str(f.relative_to(segment)): b / ENGINE_POINTS for f, b in sizes.items()})
    return max(found, key=lambda sizes: sizes.get("vector_storage-image/quantized.data", 0))


def test_the_engines_files_are_as_large_as_planned(files):
    parts = bytes_a_point(CollectionLoad(ENGINE_POINTS, 0, 0.0, ENGINE_DIM), "large")
    room = [files[f"vector_storage-{name}/matrix.dat"] for name in ("image", "text")]
    assert sum(room) == pytest.approx(parts["original vectors"][0], rel=0.02)
    assert room[0] == room[1]  # also that of the text, which no point has
    bits = [files[f"vector_storage-{name}/quantized.data"] for name in ("image", "text")]
    assert sum(bits) == pytest.approx(parts["quantized vectors"][0], rel=0.03)
    stored = sum(b for f, b in files.items() if f.startswith("vector_storage-bm25/store"))
    assert stored == pytest.approx(parts["words, stored"][0], rel=0.25)


def test_the_engines_graph_and_indexes_are_not_larger_than_planned(files):
    parts = bytes_a_point(CollectionLoad(ENGINE_POINTS, 0, 0.0, ENGINE_DIM), "large")
    graph = sum(b for f, b in files.items() if f.startswith("vector_index-image/"))
    assert 0.3 < graph / parts["HNSW graphs"][0] < 1.1  # few points have short links
    ids = sum(b for f, b in files.items() if f.startswith("id_tracker"))
    assert ids < parts["ids and versions"][0]


def run(*words: str):
    return CliRunner().invoke(app, ["plan", *words])


def test_the_command_prints_a_plan(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run("--images", "100M", "--node-month", "400", "--no-names")
    assert done.exit_code == 0, done.output
    assert "100,000,000 points, 100,000,000 vectors of dim 384, by starter" in done.stdout
    assert "export QDRANT_URL=https://HOST:6333 QDRANT_API_KEY=KEY" in done.stdout
    assert "create NAME --no-names --profile large --shards 12 --replicas 2" in done.stdout
    assert "29.6 days on 2 CPU cores (measured)" in done.stdout
    assert "cost" in done.stdout
    assert "1,600 a month for nodes" in done.stdout
    assert "large *\t199.8 GB\t977.9 GB\t244.5 GB\t4\tRAM\t12\t2" in done.stdout


def test_the_commands_name_the_collection_and_the_server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    store = "https://me:secret@qdrant.example:6333"
    done = run("--images", "100M", "--collection", "archive", "--store", store)
    assert "export QDRANT_URL=https://me:***@qdrant.example:6333 QDRANT_API_KEY=KEY" in done.stdout
    assert "indexer collections create archive --profile large" in done.stdout
    assert "secret" not in done.output


def test_the_command_prints_json(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    parts = json.loads(run("--images", "1B", "--dim", "768", "--no-names", "--json").stdout)
    assert (parts["points"], parts["load"]["dim"], parts["model"]) == (1000 * M, 768, None)
    assert [size["profile"] for size in parts["profiles"]] == list(PROFILES)
    assert parts["profiles"][0]["pieces"]["original vectors"]["ram"] == 1000 * M * 2 * 768 * 4


def test_names_need_a_vector_and_a_text_more_for_each_image(monkeypatch, tmp_path):
    with_names, without = make_request(M, names=True).load, make_request(M).load
    assert with_names.vectors - without.vectors == M
    assert with_names.slots - without.slots == M
    monkeypatch.chdir(tmp_path)
    named, plain = (
        json.loads(run("--images", "1M", flag, "--json").stdout)
        for flag in ("--names", "--no-names")
    )
    assert named == json.loads(run("--images", "1M", "--json").stdout)
    assert named["vectors"] == 2 * plain["vectors"]
    assert named["embedding"]["device_days"] > plain["embedding"]["device_days"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "some/model"], "add --dim N"),
        (["--model", "some/model"], "e5-v"),
        (["--node-ram", "64"], "as in 64GB"),
        (["--gpu", "b7"], "h200, h100"),
        (["--profile", "tiny"], "small, large, huge"),
        (["--days", "inf"], "expected a number"),
        (["--images", "0"], "nothing to plan for"),
        (["--images", "lots"], "'lots': expected a number, with a suffix such as 200MB or 150M"),
        (["--gpus", "none"], "'none': expected a whole number, 1 or more"),
    ],
)
def test_invalid_options_are_usage_errors(words, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run("--images", "1M", *words)
    assert done.exit_code == 2
    plain = re.sub(r"[\s│]+", " ", done.output)
    assert message in plain


def test_a_dim_that_the_model_was_not_trained_for(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run("--images", "1M", "--model", "royokong/e5-v", "--dim", "512")
    assert "dim 4096, not 512" in str(done.exception)


def test_an_unknown_model_is_planned_by_its_dim(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run("--images", "1M", "--model", "http://gpu-box:8100/v1", "--dim", "1024")
    assert done.exit_code == 0, done.output
    assert "the cost of running this model is not known" in done.stdout
