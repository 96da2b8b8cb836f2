"""MMEB's rows in the published layout, as VLM2Vec's own code reads them: prompts, ids, vectors.

tests/embedder/parity/README.md says how the recordings were made.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
import tiny
from pyarrow import parquet

import embedder
from embedder.errors import EmbedderError
from embedder.families import vlm2vec
from embedder.types import Input, Settings
from finetune.evaluation.benchmarks import BenchmarkFiles, load_benchmark
from finetune.evaluation.evaluate import evaluate

ROWS = json.loads((tiny.HERE / "rows.json").read_text())
FORMS = [(form, edition) for form in ROWS["forms"] for edition in ("first", "second")]
CPU = Settings(device="cpu")


@pytest.fixture(scope="module")
def recorded():
    with np.load(tiny.HERE / "rows.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The tiny Qwen2-VL with a form's own sizes of images."""

    @cache
    def load(form):
        folder = tiny.build("vlm2vec-qwen2vl", tmp_path_factory.mktemp(form))
        ours = {"family": "vlm2vec", "version": int(form[1]), "prompt_format": "mmeb"}
        (folder / "polylens.json").write_text(json.dumps(ours | ROWS["forms"][form]))
        return embedder.load(str(folder), CPU)

    return load


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """`published(edition)`: a folder like that of MMEB-eval or MMEB_Test_Instruct."""

    @cache
    def write(edition):
        folder = tmp_path_factory.mktemp(edition)
        for case in select("V1", edition):
            row = dict(case["row"])
            table = folder / row.pop("dataset") / "test-00000-of-00001.parquet"
            table.parent.mkdir()
            parquet.write_table(pa.Table.from_pylist([row]), table)
        (folder / "images").mkdir()
        for name in tiny.SIZES | tiny.NARROW:
            tiny.picture(name).save(folder / "images" / f"{name}.png")
        return folder

    return write


def select(form, edition):
    """The recorded cases, each with its `key` in the arrays."""
    cases = [case for case in ROWS["cases"] if case["form"] == form and "row" in case]
    keyed = [{**case, "key": f"{form}_{number}"} for number, case in enumerate(cases)]
    return [case for case in keyed if case["edition"] == edition]


def read(folder, form, edition):
    """(recorded case, query, documents) of each row."""
    benchmark = load_benchmark("mmeb", BenchmarkFiles(path=folder, family="vlm2vec"))
    queries = {query.dataset: query for query in benchmark.queries}
    for case in select(form, edition):
        query = queries[case["row"]["dataset"]]
        yield case, query.sides[0], [benchmark.documents[index] for index in query.candidates]


def match(side, case):
    """The place of a document in its row: ours are in another order."""
    texts = [text.replace("<|image_pad|>", "<|image_1|>") for text in case["tgt"]]
    files = case["row"].get("tgt_img_path") or [""] * len(texts)
    name = side.image.rpartition("/")[2] if side.image else ""
    return list(zip(texts, files, strict=True)).index((side.prompt or side.text, name))


@pytest.mark.parametrize(("form", "edition"), FORMS)
def test_rows_are_read_as_by_the_authors_code(published, model, recorded, form, edition):
    engine, seen = model(form), 0
    for case, query, documents in read(published(edition), form, edition):
        sides = [(query, "query", f"{case['key']}_qry", 0)]
        sides += [(d, "document", f"{case['key']}_tgt", match(d, case)) for d in documents]
        assert query.prompt.replace("<|image_1|>", "<|image_pad|>") == case["qry"][0]
        for side, role, key, place in sides:
            item = side.to_input()
            ready = engine.backbone.prepare(item, role, side.instruction)
            assert list(ready.ids) == recorded[f"{key}__ids_{place}"].tolist(), (key, side)
            (vector,) = engine.embed([item], role, side.instruction)
            np.testing.assert_allclose(vector, recorded[key][place], atol=1e-5, err_msg=key)
            seen += 1
    assert seen >= 20


@pytest.mark.parametrize("form", ROWS["forms"])
def test_several_images_are_read_as_by_the_authors_code(model, recorded, form):
    cases = [case for case in ROWS["cases"] if case["form"] == form and "pictures" in case]
    engine = model(form)
    for number, case in enumerate(cases):
        images = tuple(map(tiny.picture, case["pictures"]))
        instruction, _, text = case["prompt"].rpartition("<|image_1|>\n")[2].partition(": ")
        typed = (Input(text.strip(), images), "query", f"{instruction}:") if text else None
        asked = [typed or (Input(images=images), "document", None)]
        asked += [(Input(images=images, prompt=case["prompt"]), "document", None)]
        for item, role, words in asked:
            ready = engine.backbone.prepare(item, role, words)
            assert list(ready.ids) == recorded[f"{form}_several_{number}__ids_0"].tolist()
            (vector,) = engine.embed([item], role, words)
            np.testing.assert_allclose(vector, recorded[f"{form}_several_{number}"][0], atol=1e-5)
    assert len(cases) == 2
    with pytest.raises(EmbedderError, match=r"has 1 times <\|image_1\|>, and its input 2 images"):
        engine.embed([Input(images=images[:2], prompt="<|image_1|>\n")], "document")


def test_a_whole_evaluation_embeds_the_same(published, model, recorded, monkeypatch):
    """All queries in one call, among them one with an image token and no image."""
    engine, calls = model("V2"), {}
    embed = type(engine).embed

    def watched(self, inputs, role, instruction=None):
        rows = embed(self, inputs, role, instruction)
        calls.update({item.prompt: row for item, row in zip(inputs, rows, strict=True)})
        return rows

    monkeypatch.setattr(type(engine), "embed", watched)
    evaluate(engine, load_benchmark("mmeb", BenchmarkFiles(path=published("first"))))
    items = [query.to_input() for _, query, _ in read(published("first"), "V2", "first")]
    together = embed(engine, items, "query")
    for row, case in zip(together, select("V2", "first"), strict=True):
        expected = recorded[f"{case['key']}_qry"][0]
        np.testing.assert_allclose(row, expected, atol=1e-5)
        prompt = case["qry"][0].replace("<|image_pad|>", "<|image_1|>")
        np.testing.assert_allclose(calls[prompt], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("VLM2Vec-Qwen2VL-2B", {(40, 44): 1225, (20, 33): 1225, (3000, 10): 1225}),
        ("VLM2Vec-V2.0", {(40, 44): 6, (20, 33): 4, (5700, 28): 1225, (3000, 2000): 1247}),
    ],
)
def test_images_cost_what_they_cost_the_authors(tmp_path, name, sizes):
    """The sizes of their scripts: 1344 x 1344 in V1, and at most 1280 tokens of 28 x 28 pixels."""
    from PIL import Image

    folder = tiny.build("vlm2vec-qwen2vl", tmp_path / name)
    backbone = embedder.load(str(folder), CPU).backbone
    for size, tokens in sizes.items():
        ready = backbone.prepare(Input(images=(Image.new("RGB", size),)), "document", None)
        assert ready.ids.count(backbone.architecture.image_token) == tokens, size
    assert vlm2vec.make_resize_rule(vlm2vec.LLAVA)((3000, 10)) == (1344, 1344)
    budget = vlm2vec.make_resize_rule(vlm2vec.QWEN_V2, 100_000)((5700, 28))
    assert budget == (308, 308)
