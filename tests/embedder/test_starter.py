"""The starter: unit rows, any script, any image, and one space for texts and images."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import embedder
from embedder import EmbedderError, Input
from embedder.families.starter.model import ProjectionHead
from embedder.families.starter.text_tower import NounEmbeddings
from embedder.families.starter.vision_tower import TOWERS, TowerSpec, crop_plain_margin
from recipes.starter.text_features import quantize_4bit

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def starter():
    return embedder.load("starter")


def picture(color="red", size=(300, 200)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((60, 30, 240, 170), fill=color)
    return image


def test_rows_are_unit_float32_in_order(starter):
    inputs = [
        Input(text="a red ball"),
        Input(images=(picture(),)),
        Input(text="a red ball", images=(picture(),)),
    ]
    rows = starter.embed(inputs, "query")
    assert rows.dtype == np.float32
    assert rows.shape == (3, starter.card.dim)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    mixed = rows[0] + rows[1]
    assert np.allclose(rows[2], mixed / np.linalg.norm(mixed), atol=1e-4)


def test_a_batch_changes_nothing(starter):
    texts = [Input(text=t) for t in ("dog", "a very long sentence about nothing at all " * 9, "犬")]
    pictures = [Input(images=(picture(c),)) for c in ("red", "blue", "green")]
    together = starter.embed([*texts, *pictures], "document")
    alone = np.concatenate([starter.embed([i], "document") for i in (*texts, *pictures)])
    assert (together * alone).sum(1).min() > 0.9999


ODD = (
    *("x", "\0", "🦊" * 50, "\ud800 lone", "word " * 5000),
    *("\u202eright to left", "ᚠᚢᚦ", "\n\t.", "苹果" * 900),
)


@pytest.mark.parametrize("text", ODD)
def test_unusual_texts_are_embedded(starter, text):
    row = starter.embed([Input(text=text)], "query")
    assert np.isfinite(row).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_unusual_image_modes_are_embedded(starter, mode):
    source = picture().convert("L") if mode == "I;16" else picture()
    row = starter.embed([Input(images=(source.convert(mode),))], "document")
    assert np.isfinite(row).all()


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (260, 260), (2000, 1500)])
def test_unusual_image_sizes_are_embedded(starter, size):
    assert np.isfinite(starter.embed([Input(images=(Image.new("RGB", size),))], "document")).all()


def test_an_empty_input_is_refused(starter):
    with pytest.raises(EmbedderError, match="neither"):
        starter.embed([Input()], "query")
    assert starter.embed([], "query").shape == (0, starter.card.dim)


def test_another_device_is_refused():
    with pytest.raises(EmbedderError, match="CPU"):
        embedder.load("starter", embedder.Settings(device="cuda"))


def test_translations_are_close_together(starter):
    words = ["dog", "Hund", "chien", "perro", "犬", "собака", "كلب", "개"]
    others = ["airplane", "Flugzeug", "飛行機", "самолёт"]
    dogs = starter.embed([Input(text=w) for w in words], "query")
    planes = starter.embed([Input(text=w) for w in others], "query")
    assert (dogs @ dogs.T).min() > (dogs @ planes.T).max()


ASKED = {
    "zebra": ("zebra", "Zebra", "シマウマ", "斑马"),
    "owl": ("owl", "Eule", "hibou", "フクロウ"),
    "elephant": ("elephant", "Elefant", "ゾウ", "大象"),
    "motorcycle": ("motorcycle", "Motorrad", "オートバイ", "摩托车"),
}


def test_texts_find_their_image(starter):
    """Photographs that the head was not trained on, searched in many languages."""
    pictures = [Image.open(next(SAMPLES.rglob(f"{name}.[jw]*"))).convert("RGB") for name in ASKED]
    images = starter.embed([Input(images=(image,)) for image in pictures], "document")
    for place, words in enumerate(ASKED.values()):
        rows = starter.embed([Input(text=word) for word in words], "query")
        assert ((rows @ images.T).argmax(1) == place).all(), words


def test_it_is_thread_safe(starter):
    right = starter.embed([Input(text="a horse"), Input(images=(picture(),))], "query")
    wrong = []

    def ask():
        rows = starter.embed([Input(text="a horse"), Input(images=(picture(),))], "query")
        if not np.allclose(rows, right, atol=1e-4):
            wrong.append(rows)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_texts_do_not_load_the_vision_towers():
    """A search by words must not wait for torch or the vision towers."""
    script = (
        "import sys, embedder; from embedder import Input\n"
        "embedder.load('starter').embed([Input(text='cat')], 'query')\n"
        "print(sorted({'torch', 'onnxruntime', 'transformers'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"


def test_the_card_matches_the_shipped_head():
    from embedder.families import starter as card

    data = b"".join(path.read_bytes() for path in card.SHIPPED_FILES)
    digest = hashlib.sha256(data).hexdigest()[:32]
    assert card.DIGEST_FILE.read_text().strip() == digest
    assert digest in embedder.list_models()[0].fingerprint


@pytest.mark.parametrize("tower", TOWERS)
def test_the_code_names_the_shipped_graphs(tower):
    """Other graphs make other vectors, which need another `PREPROCESSING_VERSION`."""
    assert hashlib.sha256(tower.graph_file.read_bytes()).hexdigest() == tower.sha256


@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs.github.com/spec/v1"])
def test_a_damaged_graph_is_one_error(content, tmp_path, monkeypatch):
    graph = tmp_path / "graph.onnx"
    if content is not None:
        graph.write_bytes(content)
    monkeypatch.setattr(TowerSpec, "graph_file", graph)
    with pytest.raises(EmbedderError, match=r"graph\.onnx.* be read: .*install polylens"):
        embedder.load("starter").embed([Input(images=(picture(),))], "document")


@pytest.fixture(scope="module")
def nouns() -> dict[str, np.ndarray]:
    words = ["berry", "bus", "fox", "guinea pig", "house", "pig"]
    rows = np.random.default_rng(0).standard_normal((len(words), 384)).astype(np.float32)
    return dict(zip(words, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))


@pytest.fixture(scope="module")
def vocabulary(nouns) -> NounEmbeddings:
    return NounEmbeddings(list(nouns), *quantize_4bit(np.stack(list(nouns.values()))))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("House!", None, "house"),
        ("foxes", None, "fox"),
        ("berries", None, "berry"),
        ("a bus", None, "bus"),
        ("the guinea pig", None, "guinea pig"),
        ("guinea pigs", None, "guinea pig"),
        ("a pig house", "pig", "house"),
        ("a picture of a fox", None, "fox"),
    ],
)
def test_nouns_are_embedded(vocabulary, nouns, text, first, last):
    """The last noun has a weight of 1.5 in a phrase; words for pictures say nothing."""
    right = 1.5 * nouns[last] + (nouns[first] if first else 0)
    meaning = vocabulary.embed(text)
    assert meaning.dtype == np.float32
    assert meaning @ right / np.linalg.norm(right) > 0.985  # four bits
    assert np.linalg.norm(meaning) == pytest.approx(1, abs=1e-3)


def test_no_noun_is_the_head_of_a_sentence_or_of_words_in_another_order(vocabulary, nouns):
    both = nouns["pig"] + nouns["house"]
    for text, is_translated in (
        ("a pig stands in a small house", False),
        ("house small pig", True),
    ):
        meaning = vocabulary.embed(text, is_translated=is_translated)
        assert meaning @ both / np.linalg.norm(both) > 0.985  # four bits


@pytest.mark.parametrize("text", ["", "blue", "a", "a house of ten or more words is too long here"])
def test_texts_without_nouns_have_no_noun_embedding(vocabulary, text):
    assert vocabulary.embed(text) is None


@pytest.mark.parametrize(
    ("exponent", "scale", "weight"),
    [(1, 0.5, 1.5), (1, 1, 1.5), (1, 2, 6), (0.5, 2, 3), (0, 2, 1.5)],
)
def test_class_names_count_more_for_images_unlike_the_training_images(exponent, scale, weight):
    """The mean square of the features is `scale` squared."""
    head = ProjectionHead(
        {"conse.weight": np.float32([1.5]), "conse.exponent": np.float32([exponent])}
    )
    features = scale * np.resize(np.float32([1, -1]), (2, 768))
    assert head.weigh_class_names(features) == pytest.approx(np.full((2, 1), weight))


def test_a_subject_on_a_plain_background_is_cropped():
    small = Image.new("RGB", (400, 300), "white")
    small.paste("red", (300, 40, 340, 100))
    close = crop_plain_margin(small)
    assert close.size == (66, 66)  # 60 pixels and a tenth
    assert close.getpixel((0, 0)) == (255, 255, 255)
    assert close.getpixel((33, 33)) == (255, 0, 0)
    turned = crop_plain_margin(small.transpose(Image.Transpose.ROTATE_90))
    assert turned.size == close.size


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (90, 60), "white"),
        Image.new("RGB", (1, 1)),
        Image.linear_gradient("L").convert("RGB"),
    ],
)
def test_an_image_without_a_margin_is_unchanged(image):
    assert crop_plain_margin(image) is image


def test_a_speck_is_not_cropped_to():
    image = Image.new("RGB", (90, 60), "white")
    image.putpixel((40, 30), (0, 0, 0))
    assert crop_plain_margin(image) is image
