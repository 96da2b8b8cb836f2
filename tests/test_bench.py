"""The measurements run, on little, and write their section where they should."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import bm25, report, strength
from bench.caption_vectors import make_samples
from bench.null_embedder import NullEmbedder
from bench.quality_absence import arrange_drawings, arrange_photographs, measure_absence
from bench.quality_data import LANGUAGES as PHOTO_LANGUAGES
from bench.quality_data import Dataset, Query, arrange_folder, read_photo_queries
from bench.quality_measures import (
    Answer,
    measure_recall,
    measure_removal,
    measure_strength_words,
    render_figures,
)
from bench.quality_negatives import make_negatives
from bench.quality_samples import LANGUAGES, SampleAnswer, list_images, read_sample_queries
from embedder.types import Input
from tests.programs import ROOT, run_program


def run(*words: str) -> str:
    done = run_program(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_null_embedder_gives_unit_rows_that_differ():
    looks = [Image.new("RGB", (64, 48), color) for color in ("red", "navy")]
    rows = NullEmbedder().embed([Input(images=(look,)) for look in looks], "document")
    assert rows.shape == (2, 384) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert rows[0] @ rows[1] < 0.99


def test_a_section_is_replaced_and_the_others_stay():
    page = "# Benchmarks\n\nIntroduction.\n\n## One\n\nold\n\n## Two\n\nkept\n"
    once = report.replace_section(page, "One", "## One\n\nnew\n")
    assert "old" not in once and "new" in once and "kept" in once
    assert once.index("## One") < once.index("## Two")
    assert report.replace_section(once, "One", "## One\n\nnew\n") == once
    assert report.replace_section(page, "Three", "## Three\n\nadded\n").endswith(
        "## Three\n\nadded\n"
    )


def test_the_sample_queries_have_right_answers_among_the_samples():
    queries = read_sample_queries()
    stems = {path.stem for path in list_images()}
    assert all(query.right <= stems and query.wrong <= stems for query in queries)
    assert all(bool(query.right) == (query.kind != "absent") for query in queries)
    nouns = [query for query in queries if query.kind == "noun"]
    counts = Counter(query.language for query in nouns)
    assert set(counts) == set(LANGUAGES) and set(counts.values()) == {counts["en"]}
    assert counts["en"] >= 66
    assert stems == frozenset().union(*(query.right for query in nouns))  # each names one


def test_every_query_of_the_readme_about_ones_pictures_is_a_sample_query():
    asked = {query.text for query in read_sample_queries()}
    typed = re.findall(r"^indexer search ([^~\n]+)$", (ROOT / "README.md").read_text("utf-8"), re.M)
    typed = [query.partition(" --")[0].strip('"') for query in typed]
    assert len(typed) >= 4 and set(typed) <= asked


def test_an_answer_is_right_by_its_first_place_and_without_wrong_ones():
    query = next(query for query in read_sample_queries() if query.text == "fruit -banana")
    assert SampleAnswer(query, ("red-apple", "violin"), True).is_right
    assert not SampleAnswer(query, ("violin", "red-apple"), True).is_right
    assert not SampleAnswer(query, ("red-apple", "banana"), True).is_right
    assert not SampleAnswer(query, (), True).is_right


def test_the_photo_queries_are_complete_and_split_by_concept():
    queries = list(read_photo_queries(["farm-cat", "category-fish1", "erase-penguin"]))
    kinds = Counter((query.kind, query.language) for query in queries)
    for kind in ("word", "sentence", "absent"):
        assert len({kinds[kind, language] for language in PHOTO_LANGUAGES}) == 1
        half = sum(q.is_test for q in queries if q.kind == kind and q.language == "en")
        assert 0.35 < half / kinds[kind, "en"] < 0.65
    assert kinds["sentence", "en"] >= 100 and kinds["absent", "en"] >= 45
    fish = next(query for query in queries if query.text == "fish")
    assert fish.right == {"category-fish1"}  # category-fish*
    penguin = next(query for query in queries if query.text == "bird -penguin")
    assert penguin.wrong == {"erase-penguin"}


def answer(text: str, places: str, score: float, *, language: str = "en", right: str = "a"):
    return Answer(
        query=Query(
            kind="word", concept=text, language=language, text=text, right=frozenset(right)
        ),
        places=tuple(places),
        strengths=(score,) * len(places),
        words=("strong", *["weak"] * (len(places) - 1)),
        matches=score > 0.5,
        seconds=0.01,
    )


def test_recall_is_counted_by_depth_and_language():
    answers = [
        answer("cat", "abc", 0.9),
        answer("dog", "bca", 0.6),
        answer("Hund", "bc", 0.2, language="de"),
    ]
    figures = measure_recall(answers, (1, 3))
    assert figures["en"]["R@1"][0] == 50 and figures["en"]["R@3"][0] == 100
    assert figures["de"]["R@3"][0] == figures["all but English"]["R@3"][0] == 0
    low, high = figures["en"]["R@1"][1:]
    assert low < 50 < high
    table = render_figures("", figures, {"en": {"R@1": [25.0]}})
    assert f"| en | 25 → 50 ({low:.0f}-{high:.0f}) | 100 (100-100) |" in table


def test_negatives_are_made_of_words_that_some_pictures_share():
    words = {"bird": "abc", "owl": "c", "cat": "d"}
    queries = [
        Query(kind="word", concept=w, language="en", text=w, right=frozenset(r))
        for w, r in words.items()
    ]
    dataset = Dataset({}, queries, {})
    made = [q for test in (False, True) for q in make_negatives(dataset, test=test)]
    assert [(q.text, set(q.right), set(q.wrong), q.concept) for q in made] == [
        ("bird -owl", {"a", "b"}, {"c"}, "owl")
    ]


def test_negatives_of_drawings_take_away_a_caption_or_a_color():
    by_name = {
        "animals/birds/owl": ("owl", "Eule", "フクロウ"),
        "animals/birds/snowy": ("snowy owl", "Schneeeule", "シロフクロウ"),
        "animals/birds/crow": ("black crow", "Krähe", "カラス"),
        "flags/red": ("red flag", "rote Flagge", "赤い旗"),
        "flags/blue": ("blue flag", "blaue Flagge", "青い旗"),
    }
    captions = {n: dict(zip(("en", "de", "ja"), c, strict=True)) for n, c in by_name.items()}
    dataset = Dataset(dict.fromkeys(by_name, Path("x.png")), [], captions)
    made = {q.text: q for test in (False, True) for q in make_negatives(dataset, test=test)}
    assert made["Vogel -Eule"].right == {"animals/birds/crow"}
    assert made["bird -owl"].wrong == {"animals/birds/owl", "animals/birds/snowy"}
    assert made["旗 -赤"].right == {"flags/blue"} and made["旗 -赤"].wrong == {"flags/red"}
    assert "鳥 -シロフクロウ" in made and 'bird -"snowy owl"' in made


def test_an_answer_to_a_minus_is_counted_by_what_it_removes_and_keeps():
    query = Query(
        kind="negative",
        concept="x",
        language="en",
        text="bird -owl",
        right=frozenset("ab"),
        wrong=frozenset("c"),
    )
    got = replace(answer("", "", 0), query=query, places=("a", "c", "d"))
    row = measure_removal([got, replace(got, places=("d", "a", "b"))])
    assert row["first is right"][0] == row["unwanted among ten"][0] == 50
    assert row["right among ten"][0] == 75


def test_absent_things_are_told_from_present_ones():
    present = [
        answer(text, "a", score) for text, score in zip("pqrst", (5, 4, 3, 2, 1), strict=True)
    ]
    absent = [
        answer(text, "b", score) for text, score in zip("uvwx", (3.5, 1.5, 0.3, 0.2), strict=True)
    ]
    row = measure_absence(present, absent)
    assert row["AUC"][0] == pytest.approx((4 + 4 + 3 + 3 + 2) / 20)
    assert row["alarms at 90 %"][0] == 50  # at the lowest of the present, 1
    assert row["said to match, present"][0] == 100 and row["said to match, absent"][0] == 50
    assert row["no claim"][0] == 0
    unclear = replace(present[0], strengths=(None,))
    only_wrong = replace(present[4], places=("b",))
    row = measure_absence([*present[1:4], only_wrong, unclear], absent)
    assert row["no claim"][0] == pytest.approx(100 / 9)
    assert row["alarms at 90 %"][0] == 50 and row["found first: alarms at 90 %"][0] == 25


def word(text: str, *right: str, concept: str = "", kind: str = "word") -> Query:
    return Query(
        kind=kind, concept=concept or text, language="en", text=text, right=frozenset(right)
    )


def test_each_word_is_asked_where_it_is_present_and_where_it_is_absent():
    words = [word(f"thing{n}", f"p{n}") for n in range(8)]
    names = [f"p{n}" for n in range(9)]
    seen = word("forest", "p8")  # is in the background of others
    dataset = Dataset(dict.fromkeys(names, Path()), [*words, seen, word("x", kind="absent")], {})
    for test in (False, True):
        asked = [q for q in words if q.is_test == test]
        once, again = arrange_photographs(dataset, test=test)
        for one, other in ((once, again), (again, once)):
            assert {q.text for q in one.present} == {q.text for q in other.absent} - {"x"}
            assert one.removed == frozenset().union(*(q.right for q in other.present))
        assert {q.text for q in (*once.present, *again.present)} == {q.text for q in asked}


def test_a_drawing_is_absent_only_if_no_word_of_it_stays():
    captions = {
        "birds/owl": {"en": "owl"},
        "birds/owl_snowy": {"en": "snowy owl"},
        "tools/hammer": {"en": "hammer"},
        "tools/saw": {"en": "a saw for wood"},
        "food/kiwi": {"en": "kiwi"},
    }
    queries = [word(of["en"], name, concept=name) for name, of in captions.items()]
    dataset = Dataset(dict.fromkeys(captions, Path()), queries, captions)
    for test in (False, True):
        for one in arrange_drawings(dataset, test=test, limit=9):
            for query in one.absent:
                stays = {name for name in captions if name not in one.removed}
                assert not query.right & stays
                assert (
                    not {"owl", "snowy owl"} & {query.text}
                    or not {"birds/owl", "birds/owl_snowy"} & stays
                )


def test_the_constants_of_strength_make_it_the_share_of_absent_words_that_are_weaker():
    chances = np.random.default_rng(0).uniform(size=4000)
    too_high = np.exp(-np.exp(-(-np.log(-np.log(chances)) * 1.3 + 0.8)))  # by a wrong place, scale
    place, scale = strength.estimate_constants([too_high])
    reduced = (strength.reduce_strengths(too_high) - place) / scale
    for level in strength.LEVELS:
        assert np.mean(np.exp(-np.exp(-reduced)) >= level) == pytest.approx(1 - level, abs=0.005)


def test_the_words_for_strength_are_counted_with_how_often_they_are_right():
    figures = measure_strength_words([answer("cat", "abc", 0.9), answer("dog", "ba", 0.9)])
    assert figures["strong"]["of the hits"][0] == 40 and figures["strong"]["right"][0] == 50
    assert figures["weak"]["right"][0] == pytest.approx(100 / 3)


def test_a_folder_has_captions_and_telling_names_for_those_that_shall_have_them(tmp_path):
    images = {}
    for name in ("birds/owl", "cat"):
        images[name] = tmp_path / "source" / f"{name}.png"
        images[name].parent.mkdir(parents=True, exist_ok=True)
        images[name].write_bytes(name.encode())
    dataset = Dataset(images, [], {})
    paths = arrange_folder(
        dataset, tmp_path / "out", frozenset(["birds/owl"]), {"cat": "eine Katze"}, "de"
    )
    assert paths == {
        str(tmp_path / "out" / "birds/owl.png"): "birds/owl",
        str(tmp_path / "out" / "DCIM/IMG_0001.png"): "cat",
    }
    table = (tmp_path / "out" / "captions.csv").read_text("utf-8").split()
    assert table == ["file,language,caption", "DCIM/IMG_0001.png,de,eine", "Katze"]


def test_words_alone_are_found_in_their_captions_by_every_system():
    words = [
        Query(kind="word", concept=w, language="en", text=w, right=frozenset([w]))
        for w in ("owl", "cat")
    ]
    captions = {"owl": {"en": "an owl in a tree"}, "cat": {"en": "a cat"}}
    photographs = Dataset({}, words, captions)
    assert dict(bm25.measure(photographs, photographs, "en")) == dict.fromkeys(bm25.SYSTEMS, 100)


def test_the_best_of_the_captions_of_a_picture_counts_or_their_mean():
    captions = {"both": {"en": "owl", "de": "Eule"}, "one": {"en": "cat"}, "none": {}}
    vectors = {"owl": np.array([1, 0]), "Eule": np.array([0, 1]), "cat": np.array([0.6, 0.8])}
    vectors = {text: vector.astype(np.float32) for text, vector in vectors.items()}
    dataset = Dataset(dict.fromkeys(captions, Path()), [], captions)
    images = np.eye(3, 2, dtype=np.float32)
    samples = make_samples(dataset, images, vectors, {*captions}, LANGUAGES)
    scores = {name: sample.score("text", vectors["owl"]) for name, sample in samples.items()}
    assert scores["mean"] == pytest.approx([0.5**0.5, np.nan, 0.6], nan_ok=True)  # by name
    assert scores["best"] == pytest.approx([1, np.nan, 0.6], nan_ok=True)


def test_pipeline_counts_every_picture(tmp_path):
    made = run("bench.make_jpegs", str(tmp_path / "jpegs"), "--count", "12")
    assert made.startswith("12 pictures")
    told = run("bench.pipeline", str(tmp_path / "jpegs"), "--runs", "1")
    assert "12 pictures" in told and "Polylens" in told


def test_search_finds_what_exact_search_finds():
    told = run("bench.search", "--sizes", "1000", "--queries", "10")
    recall = float(told.strip().splitlines()[-1].split("|")[-2])
    assert recall >= 0.95


def test_embed_agrees_with_the_authors_recipe_before_it_measures(tmp_path):
    file = tmp_path / "figures.json"
    few = ("--images", "1", "--texts", "4", "--repeats", "1", "--device", "cpu")
    run("bench.embed", "--family", "e5v", "--random-weights", *few, "--json", str(file))
    told = json.loads(file.read_text())
    assert told["agree"] and 0.999 <= told["cosine"] < 1.001
    for found in told["kinds"].values():
        assert found["tokens"] > 0 and 0 < found["flops"] < 1e12
        assert 0 <= found["padding"] < found["reference_padding"] + 0.05 < 1
        for way in (found["ours"], found["reference"]):
            assert way["seconds"] > 0 and way["cpu"] > 0 and way["memory"] > 100


def test_the_full_models_have_the_published_number_of_parameters():
    import torch

    from bench.embed_models import PLANS, make_config, make_random_model

    def billions(family: str, size: str) -> float:
        config = make_config(PLANS[family], size)
        model = make_random_model(config, torch.device("meta"), torch.bfloat16)
        return sum(weight.numel() for weight in model.parameters()) / 1e9

    published = {"e5v": 8.36, "vlm2vec-qwen2vl": 2.21, "vlm2vec-qwen25vl": 3.75, "mme5": 10.7}
    published |= {"vlm2vec-llava": 7.57, "qwen3-vl-embedding": 2.13, "siglip2": 0.375}
    published |= {"embeddinggemma2": 0.439}  # without its part for sounds
    told = {family: billions(family, "full") for family in PLANS}
    assert told == pytest.approx(published, rel=0.005)
    assert billions("vlm2vec-qwen2vl", "larger") == pytest.approx(8.29, rel=0.005)
    assert billions("qwen3-vl-embedding", "larger") == pytest.approx(8.14, rel=0.005)


def test_embed_cpu_measures_a_picture_and_a_caption():
    few = ("--size", "small", "--images", "1", "--texts", "2", "--repeats", "1")
    told = json.loads(run("bench.embed_cpu", "--case", "embeddinggemma2-70", *few).splitlines()[-1])
    assert float(told["image"].replace(",", "")) > 0 and told["parameters"] == "11 M"


@pytest.mark.parametrize("family", ["vlm2vec-qwen25vl", "mme5"])
def test_embed_needs_the_operations_that_torch_counts(tmp_path, family):
    """Torch counts the cutting into patches too, and in language all pairs of tokens, not half."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bench.embed_flops import count_flops
    from bench.embed_models import build
    from embedder.types import Settings

    built = build(family, "small", Settings(device="cpu"), tmp_path / family)
    backbone = built.engine.backbone
    item = Input("a cat in the snow", (Image.new("RGB", (224, 196)),))
    ready = backbone.prepare(item, "query", None)
    batch = backbone.collate([ready], [backbone.process(ready)])
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    cost = {attention: lambda q, k, *_, **__: 4 * q[0] * q[1] * q[2] * q[3] * k[2]}
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=cost) as counted:
        backbone.forward(batch)
    assert 0.85 < count_flops(built, ready) / counted.get_total_flops() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("bench.startup", "--runs", "1"),
        ("bench.memory", "--count", "100"),
        ("bench.serve", "--count", "64", "--runs", "1", "--models", "null"),
        ("bench.upload", "--count", "512", "--runs", "1"),
        ("bench.transfer", "--count", "500"),
        ("bench.modules", "--runs", "1"),
        ("bench.quantization", "--family", "vlm2vec-qwen2vl", "--pictures", "11"),
    ],
)
def test_the_small_ones_run(words):
    command = [sys.executable, "-m", *words]
    assert b"|" in subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
