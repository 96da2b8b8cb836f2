"""mteb's tasks on our models, from folders as `hf download` leaves them."""

from __future__ import annotations

import json
import math
import socket

import pytest

pytest.importorskip("mteb")

import datasets
import huggingface_hub
import mteb
import numpy as np
import pyarrow as pa
import yaml
from mteb.mocks import ALL_MOCK_TASK_TEST_GRID
from mteb.types import PromptType
from PIL import Image
from pyarrow import parquet
from scipy.stats import spearmanr

import embedder
from embedder.errors import EmbedderError
from embedder.mteb import MtebEncoder
from finetune.errors import DataError, FinetuneError
from finetune.evaluation.benchmarks import BenchmarkFiles, load_benchmark
from finetune.evaluation.evaluate import compare, evaluate
from finetune.evaluation.mteb_tasks import evaluate_tasks, find_tasks
from finetune.evaluation.report import read_report
from tests.embedders import ColorEmbedder
from tests.programs import run_program

COLORS = ("red", "blue", "green", "white")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Nothing is looked up, and the tables that `datasets` makes are not kept."""

    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)  # libraries go on after some errors
        raise OSError("no network")

    for owner, name in ((socket.socket, "connect"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    yield
    assert not asked


@pytest.fixture
def image(photo, tmp_path):
    """`image(color)`: an image as `datasets` stores it."""

    def make(color):
        path = photo(tmp_path / f"{color}.png", color, size=(40, 30))
        return {"bytes": path.read_bytes(), "path": f"{color}.png"}

    return make


@pytest.fixture
def put(tmp_path):
    """`put(repository, {(config, split): rows})`: a repository of the Hub, below `put.root`."""

    def write(repository, tables):
        folder = put.root / repository
        configs = {}
        for (config, split), rows in tables.items():
            path = folder / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table = pa.Table.from_pylist(rows)
            features = {
                name: {"_type": "Image"}
                if pa.types.is_struct(table.schema.field(name).type)
                else {"dtype": str(table.schema.field(name).type), "_type": "Value"}
                for name in table.column_names
                if not pa.types.is_list(table.schema.field(name).type)
            }
            if len(features) == len(table.column_names):
                info = {"info": {"features": features}}
                table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
            parquet.write_table(table, path)
            files = configs.setdefault(config, [])
            files.append({"split": split, "path": f"{config}/{split}-*"})
        card = [{"config_name": name, "data_files": files} for name, files in configs.items()]
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': card})}---\n")
        return folder

    put = write
    put.root = tmp_path / "sets"
    return put


@pytest.fixture
def cirr(put, image):
    """CIRRIT2IRetrieval: the change of an image, and the image that is meant."""
    return put("mteb/mbeir_cirr_task7", {
        ("corpus", "test"): [
            {"id": color, "image": image(color), "modality": "image"} for color in COLORS
        ],
        ("queries", "test"): [
            {"id": f"q{n}", "text": f"make it {color}", "image": image("red")}
            for n, color in enumerate(COLORS[1:])
        ],
        ("qrels", "test"): [
            {"query-id": f"q{n}", "corpus-id": color, "score": 1}
            for n, color in enumerate(COLORS[1:])
        ],
    })  # fmt: skip


@pytest.fixture
def xm3600(put, image):
    """XM3600T2IRetrieval: a split for each language, captions in lists."""

    def row(color, captions):
        return {"image_id": color, "image": image(color), "image_locale": "en",
                "captions": captions, "captions_tokenized": captions,
                "captions_tokenized_lowercase": captions}  # fmt: skip

    languages = mteb.get_task("XM3600T2IRetrieval").hf_subsets
    tables = {("default", code): [row("red", ["red"])] for code in languages}
    tables["default", "de"] = [row("red", ["rot"]), row("blue", ["rot", "blue"])]
    return put("mteb/xm3600", tables)


@pytest.mark.parametrize("name", ["starter", "vlm2vec-qwen2vl"])
def test_a_task_from_local_data(cirr, put, image, name, model, tmp_path):
    """mteb's score is the one computed by hand from the cosines."""
    loaded = embedder.load(name) if name == "starter" else model(name, "v2")
    report = evaluate_tasks(loaded, "CIRRIT2IRetrieval", put.root, tmp_path / "out")
    assert (report.main, report.benchmark.queries, report.benchmark.documents) == (
        *("ndcg_at_10", 3, 4),
    )
    task = mteb.get_task("CIRRIT2IRetrieval")
    asked = task.metadata.prompt["query"]
    paths = {color: tmp_path / f"{color}.png" for color in COLORS}
    documents = loaded.encode_document([paths[color] for color in COLORS])
    queries = loaded.encode_query(
        [{"text": f"make it {color}", "image": paths["red"]} for color in COLORS[1:]], asked
    )
    scores = queries @ documents.T
    ranks = [1 + int((row > row[n + 1]).sum()) for n, row in enumerate(scores)]
    by_hand = np.mean([1 / math.log2(1 + rank) for rank in ranks])
    assert report.metrics["ndcg_at_10"].mean == pytest.approx(by_hand, abs=1e-5)
    assert report.metrics["hit_rate_at_1"].mean == np.mean([rank == 1 for rank in ranks]).round(5)
    assert report.metrics["ndcg_at_10"].low is None
    (group,) = report.groups
    assert (group.direction, group.dataset, group.queries) == ("it2i", "CIRRIT2IRetrieval", 3)
    assert read_report(tmp_path / "out") == report
    everything = json.loads((tmp_path / "out" / "mteb" / "CIRRIT2IRetrieval.json").read_text())
    (scores,) = everything["scores"]["test"]
    assert scores["main_score"] == report.metrics["ndcg_at_10"].mean
    assert "mrr_at_1000" in scores
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Scores are mteb" in page and "None" not in page


@pytest.fixture
def esg(put, image):
    """Vidore2ESGReportsRetrieval."""
    return put_vidore(put, image, "esg_reports_v2")


def put_vidore(put, image, name):
    """Pages, and questions in four languages."""
    asked = [("rot", "german", 0), ("blue", "german", 0), ("red", "english", 0)]
    asked += [("blue", "french", 1), ("green", "spanish", 2)]
    return put(f"vidore/{name}", {
        ("corpus", "test"): [
            {"corpus-id": n, "image": image(color)} for n, color in enumerate(COLORS)
        ],
        ("queries", "test"): [
            {"query-id": n, "query": text, "language": language}
            for n, (text, language, _) in enumerate(asked)
        ],
        ("qrels", "test"): [
            {"query-id": n, "corpus-id": page, "score": 1} for n, (*_, page) in enumerate(asked)
        ],
    })  # fmt: skip


def test_each_language_is_a_group(esg, colors):
    report = evaluate_tasks(colors, "Vidore2ESGReportsRetrieval", esg)  # the repository itself
    scores = {group.language: group.metrics["ndcg_at_5"].mean for group in report.groups}
    cosines = (
        colors.encode_query("blue")
        @ colors.encode_document([Image.new("RGB", (8, 8), color) for color in COLORS]).T
    )
    rank = 1 + int((cosines > cosines[0]).sum())  # of the red page, for "blue"
    german = (1 + 1 / math.log2(1 + rank)) / 2
    assert rank > 1
    assert scores == pytest.approx(
        {"english": 1, "french": 1, "spanish": 1, "german": german}, abs=1e-5
    )
    assert report.metrics["ndcg_at_5"].mean == pytest.approx((3 + german) / 4, abs=1e-5)


@pytest.mark.slow
def test_crossmodal_3600(xm3600, put, colors, photo):
    """mteb's figures by hand, and those of our own reader on the authors' layout."""
    report = evaluate_tasks(colors, "XM3600T2IRetrieval", xm3600)
    german = next(group for group in report.groups if group.language == "de")
    assert german.queries == 3
    second = 1 / math.log2(3)
    expected = {"hit_rate_at_1": 2 / 3, "ndcg_at_10": (2 + second) / 3}
    assert {name: german.metrics[name].mean for name in expected} == pytest.approx(
        expected, abs=1e-5
    )
    assert len(report.groups) == 36
    mean = (35 + (2 + second) / 3) / 36
    assert report.metrics["ndcg_at_10"].mean == pytest.approx(mean, abs=1e-5)
    original = put.root / "original"
    for color in ("red", "blue"):
        photo(original / "images" / f"{color}.jpg", color)
    captions = {"red": {"de": {"caption": ["rot"]}}, "blue": {"de": {"caption": ["rot", "blue"]}}}
    rows = [{"image/key": color, **languages} for color, languages in captions.items()]
    (original / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ours = evaluate(colors, load_benchmark("xm3600", BenchmarkFiles(path=original)))
    group = next(group for group in ours.groups if group.direction == "t2i")
    assert group.metrics["hit@1"].mean == pytest.approx(expected["hit_rate_at_1"])
    assert group.metrics["ndcg@10"].mean == pytest.approx(expected["ndcg_at_10"])


def test_data_that_is_downloaded_again_is_read_again(esg, image, colors, tmp_path):
    """`datasets` finds a folder again by its path, whatever is in it by now."""
    before = evaluate_tasks(colors, "Vidore2ESGReportsRetrieval", esg, tmp_path / "out")
    table = esg / "corpus" / "test-00000-of-00001.parquet"
    schema = parquet.read_schema(table)
    rows = [{"corpus-id": n, "image": image("black")} for n in range(len(COLORS))]
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), table)
    after = evaluate_tasks(colors, "Vidore2ESGReportsRetrieval", esg, tmp_path / "out")
    assert after.metrics["ndcg_at_5"].mean < before.metrics["ndcg_at_5"].mean
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"mteb", "queries.jsonl", "report.html", "report.json", "report.md"}
    assert tmp_path / "cache" == datasets.config.HF_DATASETS_CACHE


def test_a_benchmark_is_the_mean_of_its_tasks(put, image, colors, tmp_path):
    for name in ("economics_reports_v2", "esg_reports_v2", "biomedical_lectures_v2"):
        put_vidore(put, image, name)
    with pytest.raises(DataError, match="has no folder vidore/esg_reports_human_labeled_v2"):
        evaluate_tasks(colors, "ViDoRe(v2)", put.root)
    put_vidore(put, image, "esg_reports_human_labeled_v2")
    report = evaluate_tasks(colors, "ViDoRe(v2)", put.root, tmp_path / "out")
    assert (report.main, len(report.groups)) == ("main_score", 13)
    by_task = {}
    for group in report.groups:
        by_task.setdefault(group.dataset, []).append(group.metrics["main_score"].mean)
    assert len(by_task) == 4 == len(list((tmp_path / "out" / "mteb").iterdir()))
    means = [np.mean(scores) for scores in by_task.values()]
    assert report.metrics["main_score"].mean == pytest.approx(np.mean(means))


def test_a_task_that_is_a_mean_of_others(put, image, colors):
    """VisualSTS17Eng: renderings of sentences, compared by people."""
    (task,) = find_tasks("VisualSTS17Eng")
    (part,) = task.tasks
    repository = part.metadata.dataset["path"]
    pairs = [("red", "red", 5.0), ("red", "blue", 1.0), ("red", "white", 3.0)]
    rows = [{"sentence1": image(a), "sentence2": image(b), "score": s} for a, b, s in pairs]
    put(repository, {(subset, "test"): rows for subset in part.hf_subsets})
    report = evaluate_tasks(colors, "VisualSTS17Eng", put.root)
    assert report.main == "cosine_spearman"
    assert report.benchmark.queries == len(pairs) * len(part.hf_subsets)
    images = [Image.new("RGB", (8, 8), color) for _, color, _ in pairs]
    cosines = colors.encode_document(images[0]) @ colors.encode_document(images).T
    expected = spearmanr(cosines, [score for *_, score in pairs]).statistic
    assert report.metrics["cosine_spearman"].mean == pytest.approx(expected, abs=1e-4)


def test_missing_data_says_what_to_download(put, colors, cirr):
    message = (
        r"has no folder mteb/mbeir_fashioniq_task7.* hf download mteb/mbeir_fashioniq_task7 "
        r"--repo-type dataset --revision \w+ --local-dir .*/mteb/mbeir_fashioniq_task7"
    )
    with pytest.raises(DataError, match=message):
        evaluate_tasks(colors, "FashionIQIT2IRetrieval", put.root)
    (cirr / "README.md").unlink()
    with pytest.raises(DataError, match="download the whole repository, with its README"):
        evaluate_tasks(colors, "CIRRIT2IRetrieval", put.root)


def test_a_task_that_names_its_data_set_in_its_code_downloads_nothing(put, colors):
    folder = put("TUKE-KEMT/retrieval-skquad", {("corpus", "test"): [{"_id": "1", "text": "a"}]})
    with pytest.raises(DataError, match=r"is not the data set .* \((ConnectionError|Offline)"):
        evaluate_tasks(colors, "SKQuadRetrieval", folder)
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_unknown_tasks_are_named(put, colors):
    with pytest.raises(FinetuneError, match="neither a task nor a benchmark 'CIRR'"):
        evaluate_tasks(colors, "CIRR", put.root)
    with pytest.raises(FinetuneError, match="has audio, and only texts and images"):
        evaluate_tasks(colors, "ESC50", put.root)


def test_scores_of_mteb_are_not_tested_for_differences(cirr, put, colors):
    report = evaluate_tasks(colors, "CIRRIT2IRetrieval", put.root)
    with pytest.raises(FinetuneError, match="has no results of single queries"):
        compare(report, report)


def test_the_command(cirr, put, tmp_path):
    words = (put.root, "--benchmark", "mteb:CIRRIT2IRetrieval")
    done = run_program("finetune", "evaluate", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("all\t3\t")
    assert "mteb gives no intervals" in done.stderr
    assert run_program("finetune", "evaluate", *words, "--limit", "2").returncode == 2
    assert run_program("finetune", "compare", "starter", "starter", *words).returncode == 2


@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_task_with_images_runs(colors):
    """On mteb's own mocks of them."""
    encoder = MtebEncoder(colors)
    assert isinstance(encoder, mteb.EncoderProtocol)
    known = {"text", "image"}
    tasks = [one for one in ALL_MOCK_TASK_TEST_GRID if "image" in one.metadata.modalities]
    tasks = [one for one in tasks if known >= set(one.metadata.modalities)]
    assert len(tasks) > 10
    results = mteb.evaluate(encoder, tasks, cache=None, show_progress_bar=False)
    assert len(results.task_results) == len(tasks)


def test_inputs_become_those_of_the_model():
    """The role by the prompt type, the task's instruction for queries, an empty item as zeros."""
    calls = []

    class Recorder(ColorEmbedder):
        def embed(self, inputs, role, instruction=None):
            calls.append(([(one.text, len(one.images)) for one in inputs], role, instruction))
            return super().embed(inputs, role, instruction)

    task = mteb.get_task("CIRRIT2IRetrieval").metadata
    place = {"task_metadata": task, "hf_split": "test", "hf_subset": "default"}
    asked, picture = task.prompt["query"], Image.new("RGB", (8, 8), "red")
    batches = [{"text": ["blue", ""], "image": [picture, None]}, {"text": ["red"]}]
    rows = MtebEncoder(Recorder()).encode(batches, prompt_type=PromptType.query, **place)
    assert calls.pop() == ([("blue", 1), ("red", 0)], "query", asked)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 0, 1])
    MtebEncoder(Recorder()).encode([{"image": [picture]}], prompt_type=PromptType.document, **place)
    assert calls.pop() == ([(None, 1)], "document", None)
    MtebEncoder(Recorder()).encode([{"text": ["red"]}], **place)
    assert calls.pop() == ([("red", 0)], "document", None)
    plain = MtebEncoder(Recorder(), with_instructions=False)
    plain.encode([{"text": ["red"]}], prompt_type=PromptType.query, **place)
    assert calls.pop() == ([("red", 0)], "query", None)
    with pytest.raises(EmbedderError, match="models take texts and images; this task has audio"):
        plain.encode([{"audio": [1]}], **place)


def test_what_mteb_is_told_of_a_model(model):
    """Its revision is the fingerprint, so that mteb's cache never mixes two models."""
    card = model("e5v").card
    meta = MtebEncoder(model("e5v")).mteb_model_meta
    assert (meta.revision, meta.embed_dim, meta.name) == (
        *(card.fingerprint, card.dim, "polylens/model"),
    )
    assert not meta.use_instructions  # E5-V refuses all but its own
    colors = ColorEmbedder()
    plain = MtebEncoder(colors, with_instructions=False).mteb_model_meta
    assert plain.revision != MtebEncoder(colors).mteb_model_meta.revision == colors.card.fingerprint
