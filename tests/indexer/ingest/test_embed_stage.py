"""The embed stage: one thread, batches of one kind, and errors that cost one point each."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embedder import EmbedderError, Input, UnavailableError
from indexer.collections.model import LazyEmbedder
from indexer.errors import IndexerError, MissingExtraError
from indexer.ingest.embed_stage import EmbedFailedError, EmbedStage
from indexer.ingest.types import PointWrite
from tests.embedders import ColorEmbedder


def make_write(id: str, *, shade: int | None = None, **fields) -> PointWrite:
    images = () if shade is None else (Image.new("RGB", (8, 8), (shade, 0, 9)),)
    return PointWrite(id=id, payload={}, is_new=True, images=images, **fields)


class RecordingEmbedder:
    """Notes the thread and the kinds of each call."""

    def __init__(self, inner) -> None:
        self.inner, self.card = inner, inner.card
        self.threads: set[int] = set()
        self.kinds: list[set[str]] = []

    def embed(self, inputs, role, instruction=None):
        self.threads.add(threading.get_ident())
        self.kinds.append({"image" if item.images else "text" for item in inputs})
        return self.inner.embed(inputs, role, instruction)


def test_each_point_gets_its_vectors(colors):
    writes = [make_write("a", shade=40, texts=("red",)), make_write("b", texts=("green", "blue"))]
    with EmbedStage(colors, batch_size=8) as stage:
        first, second = stage.submit(writes).result()
    assert first.keys() == {"image", "text"} and second.keys() == {"text"}
    green, blue = colors.embed([Input(text="green"), Input(text="blue")], "document")
    mean = (green + blue) / np.linalg.norm(green + blue)
    np.testing.assert_allclose(second["text"], mean, atol=1e-6)
    (image,) = colors.embed([Input(images=writes[0].images)], "document")
    np.testing.assert_allclose(first["image"], image, atol=1e-6)


def test_frames_are_embedded_apart_where_a_model_takes_one_image(colors):
    frames = tuple(Image.new("RGB", (8, 8), (shade, 90, 9)) for shade in (0, 200))
    write = replace(make_write("a", shade=7), images=frames)

    class OneImage(ColorEmbedder):
        def embed(self, inputs, role, instruction=None):
            for item in inputs:
                item.validate(self.card.max_images)
            return super().embed(inputs, role, instruction)

    one = OneImage(replace(colors.card, max_images=1))
    with EmbedStage(one, batch_size=8) as stage:
        (vectors,) = stage.submit([write]).result()
    assert one.calls == [2]
    rows = colors.embed([Input(images=(frame,)) for frame in frames], "document")
    mean = rows.sum(0) / np.linalg.norm(rows.sum(0))
    np.testing.assert_allclose(vectors["image"], mean, atol=1e-6)


def test_one_thread_embeds_and_kinds_are_not_mixed(colors):
    model = RecordingEmbedder(colors)
    with EmbedStage(model, batch_size=2) as stage:
        futures = [
            stage.submit([make_write(f"{i}{j}", shade=i, texts=("red",)) for j in range(3)])
            for i in range(4)
        ]
        assert all(len(future.result()) == 3 for future in futures)
    assert len(model.threads) == 1 and threading.get_ident() not in model.threads
    assert all(len(kinds) == 1 for kinds in model.kinds)


def test_it_works_while_the_caller_does_something_else(colors):
    started, go_on = threading.Event(), threading.Event()
    embed = colors.embed

    def embed_slowly(inputs, role, instruction=None):
        started.set()
        assert go_on.wait(10)
        return embed(inputs, role, instruction)

    colors.embed = embed_slowly
    with EmbedStage(colors, batch_size=8) as stage:
        future = stage.submit([make_write("a", shade=1)])
        assert started.wait(10) and not future.done()
        go_on.set()
        assert future.result()[0]["image"].shape == (48,)


def test_given_vectors_are_not_embedded_again(colors):
    image, red = colors.embed([Input(text="white"), Input(text="red")], "document")
    given = make_write("a", image_vector=image, texts=("red",), text_vectors={"red": red})
    with EmbedStage(colors, batch_size=8) as stage:
        colors.calls.clear()
        (vectors,) = stage.submit([given]).result()
    assert colors.calls == []
    np.testing.assert_allclose(vectors["image"], image, atol=1e-6)
    np.testing.assert_allclose(vectors["text"], red, atol=1e-6)


def test_without_work_the_model_is_not_called(colors):
    def fail(*_):
        raise AssertionError("the model was called")

    colors.embed = fail
    with EmbedStage(colors, batch_size=8) as stage:
        assert stage.submit([]).result() == []
        assert stage.submit([make_write("a")]).result() == [{}]


def test_a_failing_input_costs_its_point_alone(colors):
    embed = colors.embed

    def embed_or_fail(inputs, role, instruction=None):
        if any(item.text == "bad" for item in inputs):
            raise EmbedderError("cannot embed this")
        rows = embed(inputs, role, instruction)
        return np.where([[item.text == "nan"] for item in inputs], np.nan, rows)

    colors.embed = embed_or_fail
    writes = [make_write(text, shade=9, texts=(text,)) for text in ("red", "bad", "nan", "blue")]
    with EmbedStage(colors, batch_size=8) as stage:
        red, bad, nan, blue = stage.submit(writes).result()
    assert red.keys() == blue.keys() == {"image", "text"}
    assert isinstance(bad, EmbedFailedError) and str(bad) == "cannot embed this"
    assert isinstance(nan, EmbedFailedError) and "not finite" in str(nan)


def test_a_model_that_cannot_be_reached_fails_the_batch(colors):
    def fail(*_):
        raise UnavailableError("the server cannot be reached")

    colors.embed = fail
    with EmbedStage(colors, batch_size=8) as stage:
        future = stage.submit([make_write("a", shade=1)])
        with pytest.raises(IndexerError, match="cannot be reached"):
            future.result()


def test_a_missing_extra_fails_the_batch_as_such(colors):
    def load():
        raise MissingExtraError("torch is not installed; type: pip install 'polylens[models]'")

    with EmbedStage(LazyEmbedder(colors.card, load), 8) as stage:
        future = stage.submit([make_write("a", texts=("red",))])
        with pytest.raises(MissingExtraError, match=r"type: pip install"):
            future.result()


def test_images_are_released(colors):
    write = make_write("a", shade=1)
    image = weakref.ref(write.images[0])
    with EmbedStage(colors, batch_size=8) as stage:
        future = stage.submit([write])
        future.result()
        del write
        stage.submit([make_write("b", shade=2)]).result()  # the thread lets go of its last batch
        gc.collect()
        assert image() is None
