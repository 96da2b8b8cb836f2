"""The published formats, in copies of a few lines made by hand."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from embedder.errors import EmbedderError
from embedder.types import Input, normalize
from finetune.errors import DataError, FinetuneError
from finetune.evaluation.benchmark import sample_queries, strip_instructions
from finetune.evaluation.benchmarks import BENCHMARKS, BenchmarkFiles, load_benchmark
from finetune.evaluation.benchmarks.drawn import find_font, render_texts
from finetune.evaluation.benchmarks.mmeb import META_TASKS
from finetune.evaluation.benchmarks.visual_documents import DATASETS, MEANS
from finetune.evaluation.cirr_submission import write_submission
from finetune.evaluation.evaluate import evaluate
from finetune.evaluation.render import report_note
from tests.embedders import ColorEmbedder


@pytest.fixture
def put(tmp_path, photo):
    """`put(path, content)`: a text, or JSON of anything else; `put(path, color=..)`: a picture."""

    def write(path, content=None, color=None):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if color:
            return photo(path, color)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    write.root = tmp_path
    return write


def read(name, put, **place):
    return load_benchmark(name, BenchmarkFiles(path=put.root, **place))


def relevant_names(benchmark):
    """Query -> the names or texts of its relevant documents."""
    return {
        q.id: [_name(benchmark.documents[index]) for index in q.relevant] for q in benchmark.queries
    }


def ranked(benchmark, query):
    return [_name(benchmark.documents[index]) for index in query.candidates]


def _name(side):
    return side.image.rpartition("/")[2] if side.image else side.text


def test_every_benchmark_names_its_missing_file(put):
    (put.root / "empty").mkdir()
    for name in BENCHMARKS:
        with pytest.raises(DataError, match=r"(published at|SentEval says).*https://"):
            load_benchmark(
                name, BenchmarkFiles(path=put.root / "empty", extracted_dir=put.root / "drawn")
            )
    with pytest.raises(FinetuneError, match="known are mmeb, mmeb-visdoc"):
        load_benchmark("mmbe", BenchmarkFiles(path=put.root))
    with pytest.raises(FinetuneError, match="does not exist"):
        load_benchmark("mmeb", BenchmarkFiles(path=put.root / "nothing"))


def karpathy(put, name, folder):
    sentences = [{"raw": f"red thing {n}"} for n in range(6)]
    put(name, {"images": [
        {"split": "test", "filename": "1.jpg", "sentences": sentences},
        {"split": "test", "filename": "2.jpg", "sentences": [{"raw": "a blue one "}]},
        {"split": "train", "filename": "3.jpg", "sentences": [{"raw": "green"}]},
    ]})  # fmt: skip
    put(f"{folder}/1.jpg", color="red")
    put(f"{folder}/2.jpg", color="blue")


def test_flickr30k(put, colors):
    karpathy(put, "dataset_flickr30k.json", "flickr30k-images")
    benchmark = read("flickr30k", put)
    assert benchmark.main == "hit@1"
    assert relevant_names(benchmark) == {
        **{f"t2i en {n + 1}": ["1.jpg"] for n in range(5)},
        "t2i en 6": ["2.jpg"],
        "i2t en 1": [f"red thing {n}" for n in range(5)],
        "i2t en 2": ["a blue one"],
    }
    report = evaluate(colors, benchmark)
    back = next(group for group in report.groups if group.direction == "i2t")
    assert back.metrics["hit@1"].mean == 1
    assert back.metrics["recall@1"].mean == (1 / 5 + 1) / 2  # what papers do not call recall


def test_coco_images_in_two_folders(put):
    put("dataset_coco.json", {"images": [
        {"split": "test", "filepath": "val2014", "filename": "1.jpg", "sentences": [{"raw": "a"}]},
    ]})  # fmt: skip
    picture = put("val2014/1.jpg", color="red")
    (t2i, i2t) = read("coco", put).queries
    assert read("coco", put).main == "hit@1"
    assert i2t.sides[0].image == str(picture)
    assert i2t.sides[0].instruction == "Find an image caption describing the given everyday image."
    assert read("coco", put, family="e5v").queries[1].sides[0].instruction is None
    assert t2i.cluster == i2t.cluster


def test_images_in_another_folder(put):
    karpathy(put, "annotations/dataset_flickr30k.json", "elsewhere/deep")
    with pytest.raises(DataError, match=r"2 of 2 images are missing.*--images"):
        read("flickr30k", put).validate()
    read("flickr30k", put, images=put.root / "elsewhere" / "deep").validate()


def test_crossmodal_3600(put):
    put("captions.jsonl", "\n".join(json.dumps(row) for row in (
        {"image/key": "aa", "image/locale": "de", "de": {"caption": ["rot", "ein Rot"]},
         "en": {"caption": ["red"]}},
        {"image/key": "bb", "image/locale": "en", "de": {"caption": ["blau"]},
         "en": {"caption": ["blue", "red"]}},
    )))  # fmt: skip
    benchmark = read("xm3600", put)
    assert benchmark.main == "hit@1"
    found = relevant_names(benchmark)
    assert found["t2i de 1"] == ["aa.jpg"]
    assert (found["t2i en 1"], found["t2i en 3"]) == (["aa.jpg"], ["bb.jpg"])  # both say "red"
    assert found["i2t en 2"] == ["blue", "red"]
    by_id = {q.id: q for q in benchmark.queries}
    assert ranked(benchmark, by_id["i2t de 1"]) == ["rot", "ein Rot", "blau"]
    assert ranked(benchmark, by_id["t2i de 1"]) == ["aa.jpg", "bb.jpg"]
    clusters = {q.id: q.cluster for q in benchmark.queries}
    assert clusters["t2i de 1"] == clusters["t2i en 1"] == clusters["i2t en 1"]


def test_xtd_in_the_authors_format(put):
    put("XTD10/test_image_names.txt", "a.jpg\nb.jpg\n")
    put("XTD10/test_1kcaptions_it.txt", "rosso\nblu\n")
    put("STAIR/test_1kcaptions_jp.txt", "赤\n青\n")
    benchmark = read("xtd", put)
    assert {(q.sides[0].text, q.language) for q in benchmark.queries} == {
        ("rosso", "it"), ("blu", "it"), ("赤", "ja"), ("青", "ja")}  # fmt: skip
    assert relevant_names(benchmark)["t2i ja 2"] == ["b.jpg"]
    put("STAIR/test_1kcaptions_jp.txt", "赤\n")
    with pytest.raises(DataError, match="1 captions for 2 images"):
        read("xtd", put)


def test_xtd_as_rows(put):
    rows = [
        {
            "qry_text": "Find me an everyday image that matches the given caption: rosso",
            "qry_img_path": "",
            "tgt_text": ["", ""],
            "tgt_img_path": ["a.jpg", "b.jpg"],
        }
    ]
    parquet_file(put, "it/test-00000-of-00001.parquet", rows)
    benchmark = read("xtd", put)
    assert benchmark.main == "recall@10"
    (query,) = benchmark.queries
    assert (query.language, query.direction, query.dataset) == ("it", "t2i", "")
    assert query.sides[0].text == "rosso"


def parquet_file(put, path, rows):
    path = put.root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


ASKED = "Represent the given image with the following question:"


def mmeb(put):
    parquet_file(put, "A-OKVQA/test-00000-of-00001.parquet", [
        {"qry_text": f"<|image_1|>\n{ASKED} What color is it?\n", "qry_img_path": "q/1.jpg",
         "tgt_text": ["red", "blue", "red", "green"], "tgt_img_path": ["", "", "", ""]},
    ])  # fmt: skip
    parquet_file(put, "MSCOCO/test-00000-of-00001.parquet", [
        {"qry_text": '<|image_1|>\nSelect the portion of the image that isolates the object '
                     'labeled as "blue"\n', "qry_img_path": "q/1.jpg",
         "tgt_text": ["<|image_1|>\nRepresent the given cropped image of the object"] * 2,
         "tgt_img_path": ["c/blue.jpg", "c/red.jpg"]},
        {"qry_text": '<|image_1|>\nSelect the portion of the image that isolates the object '
                     'labeled as "red"\n', "qry_img_path": "q/1.jpg",
         "tgt_text": ["<|image_1|>\nRepresent the given cropped image of the object"] * 2,
         "tgt_img_path": ["c/blue.jpg", "c/red.jpg"]},
    ])  # fmt: skip
    for path, color in (("q/1.jpg", "red"), ("c/blue.jpg", "blue"), ("c/red.jpg", "red")):
        put(f"images/{path}", color=color)


def test_mmeb(put):
    mmeb(put)
    benchmark = read("mmeb", put)
    vqa, blue, red = benchmark.queries
    assert vqa.sides[0].instruction == ASKED
    assert vqa.sides[0].text == "What color is it?"
    assert vqa.sides[0].prompt == f"<|image_1|>\n{ASKED} What color is it?\n"
    assert ranked(benchmark, vqa) == ["red", "blue", "green"]
    assert relevant_names(benchmark) == {"A-OKVQA 1": ["red"], "MSCOCO 1": ["blue.jpg"],
                                "MSCOCO 2": ["blue.jpg"]}  # fmt: skip
    assert blue.candidates is red.candidates
    document = benchmark.documents[blue.candidates[0]]
    assert document.instruction == "Represent the given cropped image of the object"
    assert {side.instruction for q in read("mmeb", put, family="e5v").queries
            for side in q.sides} == {None}  # fmt: skip
    plain = strip_instructions(benchmark)
    sides = [*plain.documents, *(side for query in plain.queries for side in query.sides)]
    assert {(side.instruction, side.prompt) for side in sides} == {(None, None)}


def test_mmeb_targets_of_two_lengths_are_refused(put):
    row = {"qry_text": "red", "qry_img_path": "", "tgt_text": ["", ""], "tgt_img_path": ["c.jpg"]}
    parquet_file(put, "MSCOCO_t2i/test-00000-of-00001.parquet", [row])
    with pytest.raises(DataError, match="a row has 2 tgt_text and 1 tgt_img_path"):
        read("mmeb", put)


def test_mmeb_means_are_over_data_sets(put, colors):
    """A-OKVQA 1 of 1; MSCOCO: asked beside a red picture, "blue" and "red" both weigh; the first
    of each row is relevant, so one of two is."""
    mmeb(put)
    report = evaluate(colors, read("mmeb", put))
    single = {g.dataset: g.metrics["precision@1"].mean for g in report.groups}
    assert report.metrics["precision@1"].mean == pytest.approx(np.mean(list(single.values())))
    assert set(report.means) == {"visual question answering", "grounding"}
    assert report.means["grounding"]["precision@1"].mean == single["MSCOCO"]
    note = report_note(report)
    assert "34 of the 36 data sets of MMEB were not evaluated, so these are not its pub" in note
    assert "CIRR" in note and "A-OKVQA" not in note


def test_the_meta_tasks_of_mmeb_are_those_of_the_paper():
    """Table 1 of https://arxiv.org/abs/2410.05160, and report_score.py of TIGER-AI-Lab/VLM2Vec."""
    assert {
        "classification": (
            *("ImageNet-1K", "N24News", "HatefulMemes", "VOC2007", "SUN397", "Place365"),
            *("ImageNet-A", "ImageNet-R", "ObjectNet", "Country211"),
        ),
        "visual question answering": (
            *("OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA", "Visual7W"),
            *("ScienceQA", "VizWiz", "GQA", "TextVQA"),
        ),
        "retrieval": (
            *("VisDial", "CIRR", "VisualNews_t2i", "VisualNews_i2t", "MSCOCO_t2i", "MSCOCO_i2t"),
            *("NIGHTS", "WebQA", "FashionIQ", "Wiki-SS-NQ", "OVEN", "EDIS"),
        ),
        "grounding": ("MSCOCO", "RefCOCO", "RefCOCO-Matching", "Visual7W-Pointing"),
    } == META_TASKS


def test_mmeb_scores_are_those_of_the_authors(put, colors):
    """A row counts 1 if the best of its candidates is the first, else 0: their eval.py."""
    answers = ["red", "blue", "green", "white", "black", "a", "b"]
    right = [("CIRR", 0), ("CIRR", 4), ("CIRR", 1), ("SUN397", 0), ("GQA", 0), ("GQA", 1)]
    for dataset in ("CIRR", "SUN397", "GQA"):
        rows = [
            {"qry_text": f"Answer: {answers[place]}", "qry_img_path": "", "tgt_text": answers,
             "tgt_img_path": [""] * len(answers)}
            for name, place in right if name == dataset
        ]  # fmt: skip
        parquet_file(put, f"{dataset}/test-00000-of-00001.parquet", rows)
    benchmark = read("mmeb", put)
    scores = {"CIRR": [], "SUN397": [], "GQA": []}
    for query in benchmark.queries:
        texts = [benchmark.documents[index].text for index in query.candidates]
        asked = colors.embed([query.sides[0].to_input()], "query")
        cosines = (asked @ colors.embed([Input(text) for text in answers], "document").T)[0]
        scores[query.dataset].append(float(np.argmax(cosines) == 0))
        assert sorted(texts) == sorted(answers)
    accuracy = {name: np.mean(values) for name, values in scores.items()}
    assert accuracy == {"CIRR": 1 / 3, "SUN397": 1, "GQA": 1 / 2}
    report = evaluate(colors, benchmark)
    main = {group.dataset: group.metrics[report.main].mean for group in report.groups}
    assert main == pytest.approx(accuracy)
    assert report.metrics[report.main].mean == pytest.approx(np.mean(list(accuracy.values())))
    means = {name: metrics[report.main].mean for name, metrics in report.means.items()}
    assert means == pytest.approx(
        {"classification": 1, "visual question answering": 1 / 2, "retrieval": 1 / 3}
    )


def test_a_sample_of_mmeb_drops_unused_documents(put):
    mmeb(put)
    benchmark = read("mmeb", put)
    for seed in range(6):
        some = sample_queries(benchmark, 1, seed)
        (query,) = some.queries
        assert relevant_names(some)[query.id] == relevant_names(benchmark)[query.id]
        assert set(ranked(some, query)) == {_name(side) for side in some.documents}


def test_mmeb_v2_instruction_columns(put):
    parquet_file(put, "VisDial/test-00000-of-00001.parquet", [
        {"qry_inst": "Represent the given dialogue about an image, which is used for image "
                     "retrieval:", "qry_text": "Q: is it red? A: yes", "qry_img_path": "",
         "tgt_inst": "<|image_1|> Represent the given image.", "tgt_text": [""],
         "tgt_img_path": ["a.jpg"]},
    ])  # fmt: skip
    benchmark = read("mmeb", put)
    (query,) = benchmark.queries
    assert query.sides[0].text == "Q: is it red? A: yes"
    assert query.sides[0].instruction.startswith("Represent the given dialogue")
    assert benchmark.documents[0].instruction == "Represent the given image."
    assert benchmark.documents[0].text is None


PAGE_COLORS = ("red", (20, 0, 200), "green", "black")  # no two as near to a question


def visual_documents(put):
    """ViDoRe's arXiv questions, and ViDoRe V2's in two languages with graded pages."""
    corpus = [{"corpus-id": n, "image": embedded_image(c)} for n, c in enumerate(PAGE_COLORS)]
    tables = {
        "arxivqa_test_subsampled_beir": (
            [{"query-id": 0, "query": "blue"}, {"query-id": 1, "query": "green"}],
            [(0, 1, 1), (1, 0, 1), (1, 3, 0)],
        ),
        "esg_reports_v2": (
            [{"query-id": 7, "query": "rot", "language": "german"},
             {"query-id": 8, "query": "red", "language": "english"},
             {"query-id": 9, "query": "without a page", "language": "english"}],
            [(7, 0, 1), (7, 1, 2), (8, 0, 1), (8, 0, 2)],
        ),
    }  # fmt: skip
    for name, (queries, judged) in tables.items():
        qrels = [{"query-id": q, "corpus-id": c, "score": s} for q, c, s in judged]
        for table, rows in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
            parquet_file(put, f"vidore/{name}/{table}/test-00000-of-00001.parquet", rows)


def test_visual_documents(put, colors):
    """nDCG@5 as in the authors' metrics.py, with linear gains, over all pages of a set."""
    visual_documents(put)
    benchmark = read("mmeb-visdoc", put, extracted_dir=put.root / "images")
    report = evaluate(colors, benchmark)
    assert report.main == "ndcg@5"
    assert relevant_names(benchmark)["ViDoRe_arxivqa 1"] == ["0.png"]  # a grade of 0 is none
    assert [list(query.relevant.values()) for query in benchmark.queries] == [[1], [1], [1, 2], [2]]
    pages = [Input(images=(Image.new("RGB", (8, 8), color),)) for color in PAGE_COLORS]
    vectors = colors.embed(pages, "document")

    def ndcg(text, gains):
        order = np.argsort(-(colors.embed([Input(text)], "query") @ vectors.T)[0], kind="stable")
        discounts = 1 / np.log2(np.arange(2, 6))
        ideal = sorted(gains.values(), reverse=True)
        found = sum(gains.get(int(page), 0) * d for page, d in zip(order, discounts, strict=True))
        return found / sum(gain * d for gain, d in zip(ideal, discounts, strict=False))

    arxiv = (ndcg("blue", {1: 1}) + ndcg("green", {0: 1})) / 2
    german, english = ndcg("rot", {0: 1, 1: 2}), ndcg("red", {0: 2})
    assert 0 < german < 1 and arxiv < 1 == english
    scores = {(g.dataset, g.language): g.metrics["ndcg@5"].mean for g in report.groups}
    esg = "ViDoRe_esg_reports_v2_multilingual"
    assert scores == pytest.approx(
        {("ViDoRe_arxivqa", None): arxiv, (esg, "de"): german, (esg, "en"): english}
    )
    means = {name: metrics["ndcg@5"].mean for name, metrics in report.means.items()}
    esg_mean = (german + english) / 2
    assert means == pytest.approx({"ViDoRe V1": arxiv, "ViDoRe V2": esg_mean})
    assert report.metrics["ndcg@5"].mean == pytest.approx((arxiv + esg_mean) / 2)


def test_prompts_of_visual_documents(put):
    """As VLM2Vec's process_input_text joins them: a blank after the image token, no line end."""
    visual_documents(put)
    place = {"extracted_dir": put.root / "images"}
    benchmark = read("mmeb-visdoc", put, **place)
    asked = "Find a document image that matches the given query:"
    told = "Understand the content of the provided document image."
    assert benchmark.queries[0].sides[0].instruction == asked
    assert benchmark.queries[0].sides[0].prompt == f"{asked} blue"
    assert benchmark.documents[0].instruction == told
    assert benchmark.documents[0].prompt == f"<|image_1|> {told}"
    assert read("mmeb-visdoc", put, family="e5v", **place).documents[0].instruction is None
    parquet_file(put, "vidore/esg_reports_v2/qrels/test-00000-of-00001.parquet", [
        {"query-id": 7, "corpus-id": 99, "score": 1},
    ])  # fmt: skip
    with pytest.raises(DataError, match="names page 99, which the corpus does not have"):
        read("mmeb-visdoc", put, **place)
    with pytest.raises(FinetuneError, match="films, which cannot be evaluated yet"):
        read("mmeb-video", put)


def test_the_sets_of_visual_documents_are_those_of_the_leaderboard():
    """`modality2dataset` of report_score_v2.py in TIGER-AI-Lab/VLM2Vec, with its two -fixed."""
    assert [len(names) for names in MEANS.values()] == [10, 4, 6, 4]
    assert [name for names in MEANS.values() for name in names] == list(DATASETS)
    assert set(DATASETS) == {
        "ViDoRe_arxivqa", "ViDoRe_docvqa", "ViDoRe_infovqa", "ViDoRe_tabfquad", "ViDoRe_tatdqa",
        "ViDoRe_shiftproject", "ViDoRe_syntheticDocQA_artificial_intelligence",
        "ViDoRe_syntheticDocQA_energy", "ViDoRe_syntheticDocQA_government_reports",
        "ViDoRe_syntheticDocQA_healthcare_industry", "ViDoRe_esg_reports_human_labeled_v2",
        "ViDoRe_biomedical_lectures_v2_multilingual", "ViDoRe_economics_reports_v2_multilingual",
        "ViDoRe_esg_reports_v2_multilingual", "VisRAG_ArxivQA", "VisRAG_ChartQA",
        "VisRAG_MP-DocVQA", "VisRAG_SlideVQA", "VisRAG_InfoVQA", "VisRAG_PlotQA",
        "ViDoSeek-page-fixed", "ViDoSeek-doc", "MMLongBench-page-fixed", "MMLongBench-doc",
    }  # fmt: skip


def test_mcmr(put, colors):
    """MMEB-V3's image data set: products that are an image with a text."""
    put("MCMR/query.jsonl", "\n".join(map(json.dumps, (
        {"qid": "1", "query": "red", "pos_ids": ["a"]},
        {"qid": "2", "query": "green", "pos_ids": ["a", "b"]},
        {"qid": "3", "query": "green", "pos_ids": ["a"]},
    ))))  # fmt: skip
    put("MCMR/candidates.jsonl", "\n".join(map(json.dumps, (
        {"candidate_id": "a", "title": "red", "features": ["red", "rot "], "price": 3.5,
         "description": None, "images": [{"url": "https://x.org/gone.jpg"},
                                         {"url": "https://x.org/i/a.jpg?s=1"}]},
        {"candidate_id": "b", "images": ["https://x.org/b.jpg"]},
    ))))  # fmt: skip
    put("MCMR/images/a.jpg", color="red")
    put("MCMR/images/b.jpg", color="green")
    benchmark = read("mcmr", put)
    (first, second) = benchmark.documents
    assert first.text == "title: red\nfeatures: red rot\nprice: 3.5"
    assert first.prompt == f"<|image_1|>  {first.text}"
    assert (second.text, Path(second.image).name) == ("candidate_id: b", "b.jpg")
    assert benchmark.queries[0].sides[0].prompt == (
        "Find an image-text pair that matches the given query red"
    )
    report = evaluate(colors, benchmark)
    assert (report.main, report.metrics["hit@1"].mean) == ("hit@1", pytest.approx(2 / 3))


def test_mmeb_v3_has_its_rows_in_a_folder(put):
    parquet_file(put, "image-query/CIRR/test-00000-of-00001.parquet", [
        {"qry_text": "<|image_1|>\nGiven an image, find a similar everyday image with the "
                     "described changes: blue\n", "qry_img_path": "CIRR/a.jpg", "tgt_text": [""],
         "tgt_img_path": ["CIRR/b.jpg"]},
    ])  # fmt: skip
    parquet_file(put, "visdoc-tasks/esg_reports_v2/qrels/test-00000-of-00001.parquet", [{"a": 1}])
    for name in ("a", "b"):
        put(f"image-tasks/MMEB/CIRR/{name}.jpg", color="red")
    benchmark = read("mmeb", put)
    benchmark.validate()
    assert [query.dataset for query in benchmark.queries] == ["CIRR"]


def cirr(put):
    names = ["dev-1", "dev-2", "dev-3", "dev-4"]
    put("image_splits/split.rc2.val.json", {name: f"./dev/{name}.png" for name in names})
    entry = {"pairid": 12060, "reference": "dev-1", "target_hard": "dev-2",
             "target_soft": {"dev-2": 1.0}, "caption": "make it blue",
             "img_set": {"id": 1, "members": names[:3], "reference_rank": 0}}  # fmt: skip
    put("captions/cap.rc2.val.json", [entry])
    for name, color in zip(names, ("red", "blue", "green", "black"), strict=True):
        put(f"img_raw/dev/{name}.png", color=color)
    return entry


def test_cirr_never_ranks_the_reference(put, colors):
    cirr(put)
    benchmark = read("cirr", put)
    assert relevant_names(benchmark) == {"12060": ["dev-2.png"]}
    report = evaluate(colors, benchmark)
    assert report.main == "recall@1"
    assert {ref["image"].rpartition("/")[2] for ref in report.results[0].found} == {
        "dev-2.png", "dev-3.png", "dev-4.png"}  # fmt: skip
    (subset,) = evaluate(colors, read("cirr-subset", put)).results
    assert {ref["image"].rpartition("/")[2] for ref in subset.found} == {"dev-2.png", "dev-3.png"}
    assert set(subset.metrics) == {"recall@1", "recall@2", "recall@3"}


def test_cirr_instructions_of_each_family(put):
    cirr(put)
    benchmark = read("cirr", put, family="e5v")
    assert {s.instruction for s in (*benchmark.documents, *benchmark.queries[0].sides)} == {"cirr"}
    plain = read("cirr", put, family="vlm2vec")
    assert plain.queries[0].sides[0].instruction.startswith("Given an image, find a similar")
    assert {side.instruction for side in plain.documents} == {None}


def test_cirr_with_unknown_images(put):
    entry = cirr(put)
    put("captions/cap.rc2.val.json", [{**entry, "target_hard": "dev-9"}])
    with pytest.raises(DataError, match="names dev-9"):
        read("cirr", put)
    put("captions/cap.rc2.val.json", [{"pairid": 1, "reference": "dev-1"}])
    with pytest.raises(DataError, match="without 'target_hard'; it has pairid, reference"):
        read("cirr", put)


def cirr_test(put):
    """Three queries among five images, in one set."""
    names = {name: f"test1-{n}-0-img1" for n, name in enumerate(CIRR_COLORS)}
    put("image_splits/split.rc2.test1.json", {n: f"./test1/{n}.png" for n in names.values()})
    for color, name in names.items():
        put(f"img_raw/test1/{name}.png", color=color)
    members = [names[color] for color in ("red", "blue", "green", "black")]
    put("captions/cap.rc2.test1.json", [
        {"pairid": 12063 + n, "reference": names["red"], "caption": color,
         "img_set": {"id": 1, "members": members, "reference_rank": 0}}
        for n, color in enumerate(("blue", "green", "white"))
    ])  # fmt: skip
    return names


CIRR_COLORS = ("red", "blue", "green", "black", "white")


def test_cirr_submission(put, colors):
    """What the server takes: version, metric, and names of images for each pair id, the best first
    and never the reference."""
    names = cirr_test(put)
    paths = write_submission(colors, read("cirr-test", put), put.root / "out")
    recall, subset = (json.loads(path.read_text()) for path in paths)
    assert [list(one) for one in (recall, subset)] == [
        ["version", "metric", "12063", "12064", "12065"]
    ] * 2
    assert (recall["version"], recall["metric"]) == ("rc2", "recall")
    assert (subset["version"], subset["metric"]) == ("rc2", "recall_subset")
    red = Image.new("RGB", (8, 8), "red")
    queries = [Input(text, (red,)) for text in ("blue", "green", "white")]
    others = [color for color in CIRR_COLORS if color != "red"]
    documents = [Input(images=(Image.new("RGB", (8, 8), color),)) for color in others]
    scores = colors.embed(queries, "query") @ colors.embed(documents, "document").T
    for pair, row in zip(("12063", "12064", "12065"), scores, strict=True):
        best = [names[others[index]] for index in np.argsort(-row, kind="stable")]
        assert recall[pair] == best
        assert subset[pair] == [name for name in best if name != names["white"]]
    put("captions/cap.rc2.test1.json", [])
    with pytest.raises(DataError, match="has no queries"):
        write_submission(colors, read("cirr-test", put), put.root / "out")


def test_cirr_submission_has_the_best_50_and_3(put, colors):
    names = [f"test1-{n}-0-img1" for n in range(60)]
    put("image_splits/split.rc2.test1.json", {name: f"./test1/{name}.png" for name in names})
    for name in names:
        put(f"img_raw/test1/{name}.png", color="red")
    put("captions/cap.rc2.test1.json", [
        {"pairid": 1, "reference": names[0], "caption": "red", "img_set": {"members": names[:6]}},
    ])  # fmt: skip
    paths = write_submission(colors, read("cirr-test", put), put.root / "out")
    recall, subset = (json.loads(path.read_text())["1"] for path in paths)
    assert (len(recall), len(subset)) == (50, 3)
    assert names[0] not in {*recall, *subset}


def embedded_image(color):
    data = BytesIO()
    Image.new("RGB", (32, 24), color).save(data, "PNG")
    return {"bytes": data.getvalue(), "path": None}


def test_flickr30k_and_coco_of_e5vs_authors(put, colors):
    """Their tables hold the images; the figures are those of Karpathy's layout."""
    rows = [
        {"image": embedded_image("red"), "text": [f"red thing {n}" for n in range(6)]},
        {"image": embedded_image("blue"), "text": ["a blue one "]},
    ]
    parquet_file(put, "coco_test/data/test-00000-of-00001.parquet", rows)
    parquet_file(put, "flickr30k_test/data/test-00000-of-00001.parquet", rows)
    for name, folder in (("coco", put.root), ("flickr30k", put.root / "flickr30k_test")):
        files = BenchmarkFiles(path=folder, extracted_dir=put.root / "images")
        benchmark = load_benchmark(name, files)
        assert relevant_names(benchmark)["i2t en 1"] == [f"red thing {n}" for n in range(5)]
        assert relevant_names(benchmark)["i2t en 2"] == ["a blue one "]  # as the authors embed it
        report = evaluate(colors, benchmark)
        back = next(group for group in report.groups if group.direction == "i2t")
        assert back.metrics["hit@1"].mean == 1
        assert back.metrics["recall@1"].mean == (1 / 5 + 1) / 2


def test_cirr_of_e5vs_authors(put, colors):
    images = [{"id": f"{split}-{color}", "img": embedded_image(color)}
              for split in ("dev", "test1") for color in CIRR_COLORS]  # fmt: skip
    parquet_file(put, "cirr_imgs/data/val-00000-of-00001.parquet", images[:5])
    parquet_file(put, "cirr_imgs/data/test-00000-of-00001.parquet", images[5:])
    change = {"candidate": embedded_image("red"), "caption": "make it blue"}
    parquet_file(put, "cirr_val/data/val-00000-of-00001.parquet", [
        {**change, "candidate_id": "dev-red", "target_id": "dev-blue"},
    ])  # fmt: skip
    parquet_file(put, "cirr_test/data/test-00000-of-00001.parquet", [
        {**change, "candidate_id": "test1-red", "pairid": 12063},
    ])  # fmt: skip
    benchmark = read("cirr", put, extracted_dir=put.root / "images")
    assert relevant_names(benchmark) == {"1": ["dev-blue.png"]}
    (result,) = evaluate(colors, benchmark).results
    found = [ref["image"].rpartition("/")[2] for ref in result.found]
    assert len(found) == 4 and "dev-red.png" not in found
    with pytest.raises(DataError, match="which six images belong together"):
        read("cirr-subset", put, extracted_dir=put.root / "images")
    test = read("cirr-test", put, extracted_dir=put.root / "images")
    (path,) = write_submission(colors, test, put.root / "out")
    submission = json.loads(path.read_text())
    assert submission["metric"] == "recall"
    assert sorted(submission["12063"]) == [
        f"test1-{c}" for c in ("black", "blue", "green", "white")
    ]


def test_fashioniq_of_e5vs_authors(put, colors):
    images, changes = [], []
    for category in ("dress", "shirt", "toptee"):
        images += [{"category": category, "id": f"{category}{n}", "img": embedded_image(color)}
                   for n, color in enumerate(("red", "blue", "green"))]  # fmt: skip
        changes.append({"category": category, "candidate": embedded_image("red"),
                        "caption": ["is red.", " and is blue"],
                        "target_id": f"{category}1"})  # fmt: skip
    parquet_file(put, "fashioniq_val_imgs/data/val-00000-of-00001.parquet", images)
    parquet_file(put, "fashioniq_val/data/val-00000-of-00001.parquet", changes)
    benchmark = read("fashioniq", put, extracted_dir=put.root / "images", family="e5v")
    assert relevant_names(benchmark)["toptee 1"] == ["toptee1.png"]
    assert ranked(benchmark, benchmark.queries[1]) == ["shirt0.png", "shirt1.png", "shirt2.png"]
    sides = benchmark.queries[2].sides
    assert [side.text for side in sides] == ["is red, and is blue", "and is blue, is red"]
    assert sides[0].instruction == "fashioniq shirt"
    plain = read("fashioniq", put, extracted_dir=put.root / "images")
    assert evaluate(colors, plain).metrics["recall@10"].mean == 1


def test_tables_without_images_are_named(put):
    parquet_file(put, "coco_test/test-00000-of-00001.parquet", [{"image": "x.jpg", "text": ["a"]}])
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet: image of 00000 holds"):
        read("coco", put, extracted_dir=put.root / "images")


def fashioniq(put):
    for category in ("dress", "shirt", "toptee"):
        names = [f"{category}{n}" for n in range(3)]
        put(f"image_splits/split.{category}.val.json", names)
        put(f"captions/cap.{category}.val.json", [
            {"candidate": names[0], "target": names[1], "captions": ["is red.", " and is blue"]},
        ])  # fmt: skip
        for name, color in zip(names, ("red", "blue", "green"), strict=True):
            put(f"images/{name}.png", color=color)


def test_fashioniq(put, colors):
    fashioniq(put)
    benchmark = read("fashioniq", put)
    assert relevant_names(benchmark)["toptee 1"] == ["toptee1.png"]
    assert ranked(benchmark, benchmark.queries[0]) == ["dress0.png", "dress1.png", "dress2.png"]
    (side,) = benchmark.queries[0].sides
    assert side.text == "is red, and is blue"
    assert side.instruction == "Find an image to match the fashion image and style note:"
    report = evaluate(colors, benchmark)
    assert report.main == "recall@10"
    assert [group.dataset for group in report.groups] == ["dress", "shirt", "toptee"]
    assert report.metrics["recall@10"].mean == 1


def test_e5v_adds_both_caption_orders_before_normalization(put, model):
    fashioniq(put)
    benchmark = read("fashioniq", put, family="e5v")
    tops = benchmark.queries[2]
    assert [side.text for side in tops.sides] == ["is red, and is blue", "and is blue, is red"]
    assert tops.sides[0].instruction == "fashioniq shirt"  # the authors call tops shirts
    e5v = model("e5v")
    report = evaluate(e5v, benchmark)
    inputs = [side.to_input() for side in tops.sides]
    query = normalize(e5v.states(inputs, "query", "fashioniq shirt").sum(axis=0, keepdims=True))
    pool = [benchmark.documents[index].to_input() for index in tops.candidates]
    exact = query @ e5v.embed(pool, "document", "fashioniq shirt").T
    assert report.results[2].scores == pytest.approx(np.sort(exact[0])[::-1], abs=1e-4)


def test_models_without_states_are_refused(put, colors):
    fashioniq(put)
    with pytest.raises(FinetuneError, match="colors does not give them"):
        evaluate(colors, read("fashioniq", put, family="e5v"))


def test_sts(put, colors):
    put("STS12-en-test/STS.input.MSRpar.txt", "red\trot\nred\tblue\nred\tgreen\n")
    put("STS12-en-test/STS.gs.MSRpar.txt", "5\n\n1.5\n")
    put("STSBenchmark/sts-test.csv", "g\tf\ty\t1\t0.5\tred\tgreen\ng\tf\ty\t2\t4\tblue\tblue\n")
    put("STSBenchmark/sts-dev.csv", "another\tformat\n")
    put(
        "SICK/SICK_test_annotated.txt",
        "id\ta\tb\tscore\tx\n1\tred\tred\t1\ty\n2\tred\tblue\t5\ty\n",
    )
    put("own.tsv", "score\tsentence1\tsentence2\n1\tred\tgreen\n2\tred\tred\n")
    benchmark = read("sts", put)
    assert {q.dataset for q in benchmark.queries} == {"STS12", "STSBenchmark", "SICK-R", "own"}
    assert [q.gold for q in benchmark.queries if q.dataset == "STS12"] == [5, 1.5]
    report = evaluate(colors, benchmark, put.root / "out")
    assert {g.dataset: g.metrics["spearman"].mean for g in report.groups} == pytest.approx(
        {"STS12": 1, "STSBenchmark": 1, "SICK-R": -1, "own": 1}
    )
    assert report.main == "spearman"
    assert report.metrics["spearman"].mean == pytest.approx(0.5)
    assert "Spearman" in (put.root / "out" / "report.md").read_text()


@pytest.mark.parametrize("score", ["abc", "nan"])
def test_an_sts_score_that_is_not_a_number_names_its_file(put, score):
    put("STS12-en-test/STS.input.MSRpar.txt", "red\tgreen\nblue\tblue\n")
    put("STS12-en-test/STS.gs.MSRpar.txt", f"5\n{score}\n")
    with pytest.raises(DataError, match=f"STS.gs.MSRpar.txt: '{score}' is not a number"):
        read("sts", put)


def test_sts_compares_documents(put):
    """No instruction for queries comes before a sentence."""
    roles = set()

    class Recorder(ColorEmbedder):
        def embed(self, inputs, role, instruction=None):
            roles.add((role, instruction))
            return super().embed(inputs, role, instruction)

    put("own.tsv", "score\tsentence1\tsentence2\n1\tred\tgreen\n2\tred\tred\n")
    evaluate(Recorder(), read("sts", put))
    assert roles == {("document", None)}


def test_sts_of_e5v(put, model):
    """The sentences and the prompt of the authors' eval_sts.py, and cosines of those."""
    put("STS12-en-test/STS.input.MSRpar.txt", "Is  it \"red\"?\tIt is red\nblue!\tred 'x'\n")
    put("STS12-en-test/STS.gs.MSRpar.txt", "5\n1\n")
    benchmark = read("sts", put, family="e5v")
    sides = [query.sides[0] for query in benchmark.queries] + list(benchmark.documents)
    sentences = ["Is it 'red'.", "blue!.", "It is red.", "red 'x'"]
    assert [(side.text, side.instruction) for side in sides] == [(s, "sts") for s in sentences]
    e5v = model("e5v")
    tokenizer = e5v.backbone.prompt_tokenizer._tokenizer
    for side in sides:
        prompt = (
            f"<|start_header_id|>user<|end_header_id|>\n\n {side.text}\nSummary above sentence in "
            "one word:<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n \n"
        )
        ready = e5v.backbone.prepare(side.to_input(), "document", "sts")
        assert list(ready.ids) == tokenizer.encode(prompt).ids
    one, two = (e5v.embed([side.to_input()], "document", "sts")[0] for side in (sides[0], sides[2]))
    result = evaluate(e5v, benchmark).results[0]
    assert result.scores[0] == pytest.approx(float(one @ two), abs=1e-5)
    with pytest.raises(EmbedderError, match="STS prompt is for texts"):
        e5v.embed([Input("red", (Image.new("RGB", (8, 8)),))], "document", "sts")


def test_sts_with_too_few_scores(put):
    put("STS12-en-test/STS.input.MSRpar.txt", "red\trot\nred\tblue\n")
    put("STS12-en-test/STS.gs.MSRpar.txt", "5\n")
    with pytest.raises(DataError, match="1 scores for 2 pairs"):
        read("sts", put)


def test_drawn_captions(put, colors, font):
    karpathy(put, "dataset_flickr30k.json", "flickr30k-images")
    drawn = put.root / "drawn"
    benchmark = read("flickr30k-drawn", put, extracted_dir=drawn, font=font)
    assert {q.direction for q in benchmark.queries} == {"i2i"}
    assert {q.dataset for q in benchmark.queries} == {"captions ask", "pictures ask"}
    assert all(side.kind == "i" for side in benchmark.documents)
    assert len(list(drawn.iterdir())) == 6
    evaluate(colors, benchmark)


def test_drawn_captions_look_as_in_the_paper(put, font):
    """40 pixels an em, so 20 a letter: 38 letters fill the 760 pixels of a line."""
    text = "A man in a blue shirt is cleaning the windows"
    (path,) = render_texts([text], find_font(font), put.root / "drawn")
    ink = np.asarray(Image.open(path).convert("L")) < 128  # (400, 800)
    assert ink.shape == (400, 800)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    first_line = len("A man in a blue shirt is cleaning the")
    assert (columns[0], columns[-1]) == (20, 20 + 20 * first_line - 1)
    assert rows[-1] - rows[0] > 28, "two lines of letters that are 28 pixels tall"
    assert abs((rows[0] + rows[-1]) / 2 - 200) < 20


def test_captions_are_drawn_in_an_installed_font_as_wide_as_arial(put, font, monkeypatch):
    monkeypatch.setattr("finetune.evaluation.benchmarks.drawn.METRIC_COMPATIBLE", ("no", str(font)))
    assert find_font(None).path == str(font)
    monkeypatch.setattr("finetune.evaluation.benchmarks.drawn.METRIC_COMPATIBLE", ("no.ttf",))
    with pytest.raises(FinetuneError, match="neither it nor Liberation Sans is installed"):
        find_font(None)
    with pytest.raises(FinetuneError, match=r"no\.ttf is not a readable font"):
        find_font(put.root / "no.ttf")
