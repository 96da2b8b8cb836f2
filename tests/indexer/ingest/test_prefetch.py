"""What is begun ahead is embedded once, and a failure is the caller's to sort out."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

from embedder import EmbedderError, Input
from indexer.ingest.prefetch import PrefetchEmbedder


@pytest.fixture
def pictures() -> list[Input]:
    return [Input(images=(Image.new("RGB", (8, 8), (40 * i, 0, 9)),)) for i in range(4)]


def again(items: list[Input]) -> list[Input]:
    """The same pictures in other inputs, as a file is asked for twice."""
    return [Input(images=item.images) for item in items]


def test_what_was_begun_is_waited_for(colours, pictures):
    ahead = PrefetchEmbedder(colours)
    ahead.prefetch(pictures)
    rows = ahead.embed(again(pictures)[::-1], "document")
    assert colours.calls == [4]
    np.testing.assert_allclose(rows[::-1], colours.embed(pictures, "document"))


def test_it_begins_while_others_are_waited_for(colours, pictures):
    started, go_on = threading.Event(), threading.Event()
    plain = colours.embed

    def slow(inputs, role, instruction=None):
        started.set()
        assert go_on.wait(10)
        return plain(inputs, role, instruction)

    colours.embed = slow
    ahead = PrefetchEmbedder(colours)
    ahead.prefetch(pictures)
    assert started.wait(10)
    go_on.set()
    assert ahead.embed(again(pictures), "document").shape == (4, 48)


def test_words_and_unknown_pictures_go_straight_through(colours, pictures):
    ahead = PrefetchEmbedder(colours)
    ahead.prefetch(pictures[:2])
    assert ahead.embed([Input(text="red")], "query").shape == (1, 48)
    assert ahead.embed(pictures, "document").shape == (4, 48)


def test_a_failure_is_raised_where_it_is_asked_for(colours, pictures):
    def failing(inputs, role, instruction=None):
        raise EmbedderError("a bad picture")

    ahead = PrefetchEmbedder(colours)
    colours.embed = failing
    ahead.prefetch(pictures)
    with pytest.raises(EmbedderError, match="bad picture"):
        ahead.embed(again(pictures), "document")


def test_what_nobody_asks_for_is_let_go(colours):
    ahead = PrefetchEmbedder(colours)
    image = Image.new("RGB", (8, 8))
    gone = weakref.ref(image)
    ahead.prefetch([Input(images=(image,))])
    del image
    for _ in range(2):
        ahead.prefetch([])
    ahead.close()
    gc.collect()
    assert gone() is None
