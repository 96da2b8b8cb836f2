"""Rerankers against their authors' formulas, computed with transformers alone."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import embedder
from embedder import EmbedderError, Input, Reranker, UnknownModelError
from embedder.rerankers import qwen3_vl
from embedder.vlm.qwen3_vl import fit_size
from tests import rerankers
from tests.tiny_folders import write

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
DEFAULT = "Given a search query, retrieve relevant candidates that answer the query."


def picture(width: int, height: int, seed: int = 1) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


SQUARE, WIDE, LARGE = picture(96, 96), picture(150, 70, 2), picture(400, 300, 3)
THIN, FLAT = picture(10, 900), picture(1, 201)
TOKENS = {SQUARE.size: (96, 96), WIDE.size: (160, 64), LARGE.size: (384, 288), THIN.size: (32, 896)}
QUERIES = [Input("two dogs"), Input(images=(WIDE,)), Input("in the snow", (SQUARE,))]
CANDIDATES = [
    Input("a beach at sunset"),
    Input(images=(SQUARE,)),
    Input("the quiet lagoon", (LARGE,)),
    Input("a zeppelin " * 40),
    Input(images=(WIDE, SQUARE)),
    Input(images=(THIN,)),
]


@pytest.fixture(scope="module")
def qwen(qwen3_vl_reranker) -> Reranker:
    return embedder.load_reranker(str(qwen3_vl_reranker), device="cpu")


@pytest.fixture(scope="module")
def bert(text_reranker) -> Reranker:
    return embedder.load_reranker(str(text_reranker), device="cpu")


class QwenRecipe:
    """github.com/QwenLM/Qwen3-VL-Embedding, src/models/qwen3_vl_reranker.py, one at a time."""

    def __init__(self, folder: Path) -> None:
        from transformers import (
            AutoTokenizer,
            Qwen2VLImageProcessorPil,
            Qwen3VLForConditionalGeneration,
        )

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.images = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(folder).eval()

    def render(self, item: Input) -> str:
        sizes = [TOKENS[image.size] for image in item.images]
        counts = [width * height // 32**2 for width, height in sizes]
        seen = "".join(f"<|vision_start|>{'<|image_pad|>' * n}<|vision_end|>" for n in counts)
        return seen + (item.text or "")

    @torch.no_grad()
    def __call__(self, query: Input, document: Input, instruction: str = DEFAULT) -> float:
        prompt = (
            f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<Instruct>: {instruction}"
            f"<Query>:{self.render(query)}\n<Document>:{self.render(document)}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        ids = self.tokenizer(prompt, return_tensors="pt")["input_ids"]
        resized = [i.resize(TOKENS[i.size]) for i in (*query.images, *document.images)]
        seen = {}
        if resized:
            seen = self.images(images=resized, do_resize=False, return_tensors="pt")
        kinds = (ids == self.tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
        logits = self.model(input_ids=ids, mm_token_type_ids=kinds, **seen).logits[0, -1]
        answers = logits[self.tokenizer.convert_tokens_to_ids(["no", "yes"])]
        return float(answers.softmax(dim=0)[1])


@pytest.fixture(scope="module")
def recipe(qwen3_vl_reranker) -> QwenRecipe:
    return QwenRecipe(qwen3_vl_reranker)


@pytest.mark.parametrize("query", QUERIES, ids=["text", "image", "both"])
def test_qwen_scores_are_the_authors(qwen, recipe, query):
    scores = qwen.score(query, CANDIDATES)
    expected = [recipe(query, candidate) for candidate in CANDIDATES]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert np.ptp(scores) > 0.01, "the model tells the candidates apart"
    alone = [qwen.score(query, [candidate])[0] for candidate in CANDIDATES]
    np.testing.assert_allclose(scores, alone, atol=1e-6)


def test_qwen_follows_an_instruction(qwen, recipe):
    score = qwen.score(QUERIES[0], CANDIDATES[:1], "Find the same house.")
    assert score[0] == pytest.approx(
        recipe(QUERIES[0], CANDIDATES[0], "Find the same house."), abs=1e-6
    )
    assert abs(score[0] - qwen.score(QUERIES[0], CANDIDATES[:1])[0]) > 1e-4


def test_images_have_the_size_that_the_authors_give_them():
    limits = 32, 4 * 1024, 1800 * 1024
    assert {size: fit_size(size, *limits) for size in TOKENS} == TOKENS
    assert fit_size((3000, 1500), *limits) == (1920, 960), "1,800 tokens"
    assert fit_size((3000, 2000), *limits) == (1632, 1088), "at most 1,800 tokens"
    assert fit_size((20, 20), *limits) == (64, 64), "at least 4 tokens"


def test_an_image_takes_at_most_1800_tokens_and_at_least_4(qwen):
    assert qwen.card.image_side == 1357  # the root of 1,800 times 32 x 32
    text = qwen.model.prepare(Input("a"), Input("b"), None).ids
    for size, tokens in (((3000, 1500), 1800), ((3000, 2000), 51 * 34), ((20, 20), 4)):
        seen = qwen.model.prepare(Input("a"), Input("b", (Image.new("RGB", size),)), None).ids
        assert len(seen) - len(text) == tokens + 2, "between the start and the end of the image"


def test_a_long_text_is_cut_before_the_end_of_the_prompt(qwen, monkeypatch):
    whole = qwen.model.prepare(Input("two dogs"), Input("a beach " * 9), None).ids
    monkeypatch.setattr(qwen3_vl, "MAX_TOKENS", len(whole) - 5 - 7)
    cut = qwen.model.prepare(Input("two dogs"), Input("a beach " * 9), None).ids
    assert cut[-5:] == whole[-5:]
    assert cut[:-5] == whole[: -5 - 7]


def test_what_a_user_writes_is_no_special_token(qwen):
    plain = qwen.model.prepare(Input("a"), Input("b"), None).ids
    spelled = qwen.model.prepare(Input("a<|im_end|>"), Input("<|image_pad|>b"), None).ids
    specials = range(len(rerankers.QWEN_TOKENS))
    assert sum(i in specials for i in spelled) == sum(i in specials for i in plain)


def test_a_smaller_pixel_budget_shows_less(qwen3_vl_reranker, qwen):
    small = embedder.load_reranker(str(qwen3_vl_reranker), device="cpu", pixel_budget=16 * 1024)
    assert small.card.image_side == 128
    assert small.card.fingerprint != qwen.card.fingerprint
    tokens = [r.model.bucket(r.model.prepare(QUERIES[0], CANDIDATES[2], None)).tokens
              for r in (qwen, small)]  # fmt: skip
    assert tokens[0] - tokens[1] == 108 - 12


def test_a_candidate_without_anything_to_read_has_no_score(qwen, bert):
    empty = Input(" ")
    assert np.isnan(qwen.score(QUERIES[0], [empty, Input(images=(FLAT,))])).all()
    assert not np.isnan(qwen.score(QUERIES[0], [Input("a flat one", (FLAT,))])).any()
    scores = bert.score(QUERIES[0], [CANDIDATES[1], CANDIDATES[2], empty])
    assert np.isnan(scores).tolist() == [True, False, True]
    assert qwen.score(QUERIES[0], []).shape == (0,)


def test_a_query_that_the_model_cannot_read_is_an_error(qwen, bert):
    with pytest.raises(EmbedderError, match="reads only texts, and the query has an image"):
        bert.score(QUERIES[1], CANDIDATES)
    with pytest.raises(EmbedderError, match="200 times"):
        qwen.score(Input(images=(FLAT,)), CANDIDATES)
    with pytest.raises(EmbedderError, match="neither a text nor an image"):
        qwen.score(Input(), CANDIDATES)


def test_a_cross_encoder_scores_as_sentence_transformers(bert, text_reranker):
    from sentence_transformers import CrossEncoder

    texts = ["a beach at sunset", "two dogs", "fruit " * 90, "a tiger in the snow"]
    expected = CrossEncoder(str(text_reranker), device="cpu").predict(
        [("two dogs", text) for text in texts]
    )
    scores = bert.score(Input("two dogs"), [Input(text) for text in texts])
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert bert.card.modalities == ("text",)


@pytest.mark.parametrize("template", [rerankers.TEMPLATE, rerankers.STRUCTURED_TEMPLATE])
def test_a_language_model_answers_for_a_pair(tmp_path, template):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = rerankers.make_language_reranker(tmp_path / "qwen3", template)
    reranker = embedder.load_reranker(str(folder), device="cpu")
    scores = reranker.score(Input("two dogs"), [Input("a beach"), Input("fruit and snow")])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for score, text in zip(scores, ("a beach", "fruit and snow"), strict=True):
        prompt = f"<|im_start|>user\n<Query>: two dogs\n<Document>: {text}<|im_end|>"
        with torch.no_grad():
            logits = model(**tokenizer(prompt, return_tensors="pt")).logits[0, -1]
        no, yes = logits[tokenizer.convert_tokens_to_ids(["no", "yes"])]
        assert score == pytest.approx(float((yes - no).sigmoid()), abs=1e-6)


@pytest.mark.parametrize(
    "template",
    [None, rerankers.TEMPLATE, rerankers.STRUCTURED_TEMPLATE],
    ids=["bert", "flat", "list"],
)
def test_a_text_that_names_a_file_or_a_page_is_only_read(template, bert, tmp_path, monkeypatch):
    def refuse(*_args: object) -> None:
        raise AssertionError("it was opened")

    reranker = bert
    if template:
        folder = rerankers.make_language_reranker(tmp_path / "qwen3", template)
        reranker = embedder.load_reranker(str(folder), device="cpu")
    file = tmp_path / "secret.png"
    SQUARE.save(file)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    names = ["http://127.0.0.1:9/cat.png", str(file), "data:image/png;base64,AAAA"]
    for name in names:
        scores = reranker.score(Input(name), [Input("two dogs"), Input(name)])
        assert np.isfinite(scores).all()
        other = reranker.score(Input(f"x {name}"), [Input("two dogs"), Input(name)])
        assert (scores != other).all(), "what it spells counts"


def test_short_names_and_mistyped_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cards = {card.name for card in embedder.list_rerankers()}
    assert set(embedder.rerankers.loading.SHORT_NAMES.values()) == cards
    with pytest.raises(EmbedderError, match="Qwen/Qwen3-VL-Reranker-2B is not on this machine"):
        embedder.load_reranker("qwen3-vl-reranker-2b")
    for name in ("qwen3-vl-rerank-2b", "Qwen/Qwen3-VL-Rerankr-2B"):
        with pytest.raises(UnknownModelError, match="did you mean qwen3-vl-reranker-2b"):
            embedder.load_reranker(name)
    for name in ("nothing-of-the-kind", " "):
        with pytest.raises(UnknownModelError):
            embedder.load_reranker(name)
    with pytest.raises(UnknownModelError, match="no reranker or folder is called"):
        embedder.load_reranker("qwen3-vl-rerankr-2b")


def test_other_models_are_refused(text_reranker, qwen3_vl_reranker, tmp_path):
    def copy(folder: Path, name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    embedding = copy(text_reranker, "embedding")
    (embedding / "modules.json").write_text('[{"path": "1_Pooling", "type": "Pooling"}]')
    with pytest.raises(EmbedderError, match="makes vectors; a reranker is a cross encoder"):
        embedder.load_reranker(str(embedding))

    saved = copy(text_reranker, "saved")  # as CrossEncoder.save_pretrained
    (saved / "modules.json").write_text('[{"path": "", "type": "Transformer"}]')
    (saved / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    for folder in (saved, text_reranker):
        with pytest.raises(EmbedderError, match="makes no vectors: name it with --rerank"):
            embedder.load(str(folder))
    with pytest.raises(UnknownModelError, match="indexer search --rerank"):
        embedder.load("qwen3-vl-reranker-2b")

    classifier = rerankers.make_text_reranker(tmp_path / "classifier", num_labels=3)
    with pytest.raises(EmbedderError, match="gives 3 numbers for a pair"):
        embedder.load_reranker(str(classifier))

    headless = copy(qwen3_vl_reranker, "headless")
    from safetensors.torch import load_file, save_file

    weights = load_file(headless / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, headless / "model.safetensors", {"format": "pt"})
    with pytest.raises(EmbedderError, match="lacks 1 of the model's weights"):
        embedder.load_reranker(str(headless))

    with pytest.raises(EmbedderError, match="no pixel budget"):
        embedder.load_reranker(str(text_reranker), pixel_budget=1000)
    with pytest.raises(EmbedderError, match="loaded with all bits of their weights; leave"):
        embedder.load_reranker(str(text_reranker), embedder.Settings(quantize="int8"))


def test_a_model_with_code_of_its_own_needs_consent(text_reranker, tmp_path):
    folder = Path(shutil.copytree(text_reranker, tmp_path / "foreign"))
    config = json.loads((folder / "config.json").read_text())
    code = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    config |= {"model_type": "own", "auto_map": code}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(EmbedderError, match="trust_remote_code"):
        embedder.load_reranker(str(folder))
    code = {"AutoModelForSequenceClassification": "someone/else--own.Model"}
    write(folder / "config.json", {**config, "model_type": "bert", "auto_map": code})
    with pytest.raises(EmbedderError, match="code of another repository"):
        embedder.load_reranker(str(folder), trust_remote_code=True)
    write(folder / "config.json", {**config, "model_type": "bert", "auto_map": {}})
    write(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "own.Model"}])
    with pytest.raises(EmbedderError, match=r"Python code of its own \(own\.Model\)"):
        embedder.load_reranker(str(folder))
    assert not (tmp_path / "ran").exists()
