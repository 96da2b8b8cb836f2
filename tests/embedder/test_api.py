"""The public API: `load`, `encode_query`, `encode_document`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embedder
from embedder import EmbedderError, Input, UnusableFileError
from tests.noise import make_noise

SAMPLE = next((Path(__file__).parents[2] / "samples").rglob("*.jpg"))
FAMILIES = [None, "e5v", "mme5"]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda name: name or "starter")
def any_model(request, model):
    return embedder.load("starter") if request.param is None else model(request.param)


def picture() -> Image.Image:
    return Image.new("RGB", (90, 60), "red")


def test_one_item_gives_one_vector_and_a_list_gives_rows(any_model):
    single = any_model.encode_query("a red bicycle")
    rows = any_model.encode_query(["a red bicycle", "snow"])
    assert single.shape == (any_model.card.dim,) and rows.shape == (2, any_model.card.dim)
    assert single.dtype == rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert single == pytest.approx(rows[0], abs=1e-5)


def test_the_role_is_that_of_the_method(any_model):
    inputs = [Input("a cat")]
    assert any_model.encode_query("a cat") == pytest.approx(
        any_model.embed(inputs, "query")[0], abs=1e-5
    )
    assert any_model.encode_document("a cat") == pytest.approx(
        any_model.embed(inputs, "document")[0], abs=1e-5
    )


def test_every_kind_of_item(any_model, tmp_path):
    picture().save(tmp_path / "red.png")
    image = picture()
    items = [
        image,
        tmp_path / "red.png",
        {"image": image},
        {"images": [tmp_path / "red.png"]},
        {"image": str(tmp_path / "red.png")},
        Input(images=(image,)),
    ]
    rows = any_model.encode_document(items)
    assert (rows @ rows[0]).min() > 0.9999
    both = any_model.encode_query({"image": image, "text": "at night"})
    assert both == pytest.approx(any_model.encode_query(Input("at night", (image,))), abs=1e-5)


def test_a_generator_of_items_is_accepted(any_model):
    assert any_model.encode_query(text for text in ("a", "b")).shape == (2, any_model.card.dim)


@pytest.fixture(scope="module")
def starter():
    return embedder.load("starter")


def test_a_string_is_a_text_even_if_it_names_a_file(starter):
    text = starter.encode_query(str(SAMPLE))
    assert text == pytest.approx(starter.embed([Input(str(SAMPLE))], "query")[0], abs=1e-5)


def test_images_are_turned_upright_and_stay_as_they_were(starter):
    stored = make_noise((60, 90), 90).convert("RGBA")
    exif = stored.getexif()
    exif[0x0112] = 6
    upright = stored.transpose(Image.Transpose.ROTATE_270)
    before = stored.tobytes()
    assert starter.encode_document(stored) @ starter.encode_document(upright) > 0.999
    assert stored.tobytes() == before and stored.mode == "RGBA"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (3, "not int"),
        ({"words": "a"}, "words"),
        ({}, "text"),
        ({"text": 3}, "not str"),
        ({"image": 3}, "PIL image or a path, not int"),
        ("", "neither a text nor an image"),
    ],
)
def test_wrong_items_are_named(starter, item, message):
    with pytest.raises(EmbedderError, match=message):
        starter.encode_query([item])


def test_unreadable_image_files_are_named(starter, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    with pytest.raises(UnusableFileError, match=r"bad\.jpg: its content") as caught:
        starter.encode_document(tmp_path / "bad.jpg")
    assert caught.value.reason == "corrupt"
    with pytest.raises(UnusableFileError, match=r"gone\.jpg"):
        starter.encode_document({"image": tmp_path / "gone.jpg"})


def test_images_that_cannot_be_used_are_refused(starter):
    closed = Image.new("RGB", (9, 9))
    closed.close()
    for image in (closed, Image.new("RGB", (0, 0))):
        with pytest.raises(EmbedderError, match="the image: "):
            starter.encode_query({"image": image, "text": "at night"})


def test_a_wrong_role_is_refused(any_model):
    with pytest.raises(EmbedderError, match="'query' or 'document', not 'passage'"):
        any_model.embed([Input("a")], "passage")


def test_load_takes_keywords(checkpoint):
    model = embedder.load(str(checkpoint("vlm2vec-qwen2vl", "V2")), device="cpu", dtype="float32")
    assert model.encode_query("a cat").shape == (model.card.dim,)
    with pytest.raises(EmbedderError, match="384"):
        embedder.load("starter", dim=12)


def test_all_public_names_exist_and_are_lazy():
    for name in embedder.__all__:
        assert getattr(embedder, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = embedder.nothing
