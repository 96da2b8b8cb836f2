"""Keys of the content of sides."""

from __future__ import annotations

import os

import pytest

from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.errors import DataError
from indexer.paths import hash_content


def test_case_width_and_spacing_do_not_matter():
    of = ContentKeys().hash_side
    assert of(Side("A  red\nCat")) == of(Side("a red cat ")) == of(Side("ａ ｒｅｄ ｃａｔ"))
    assert of(Side("Straße")) == of(Side("STRASSE"))
    assert of(Side("a red cat")) != of(Side("a redcat"))


def test_instructions_do_not_matter():
    of = ContentKeys().hash_side
    assert of(Side("cat", instruction="Find it:")) == of(Side("cat"))


def test_a_key_has_63_bits_and_is_stable():
    assert ContentKeys().hash_side(Side("cat")) == 456642412938346593
    assert all(0 <= ContentKeys().hash_side(Side(str(i))) < 1 << 63 for i in range(100))


def test_an_image_is_its_bytes_whatever_its_name(tmp_path, photo):
    first, other = photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2)
    copy = tmp_path / "copy.dat"
    copy.write_bytes(first.read_bytes())
    known = ContentKeys()
    assert known.hash_side(Side(image=str(first))) == known.hash_side(Side(image=str(copy)))
    assert known.hash_side(Side(image=str(first))) != known.hash_side(Side(image=str(other)))
    assert known.hash_side(Side(image=str(first))) != known.hash_side(Side("words", str(first)))
    assert known.hash_file(str(first)) == hash_content(first.read_bytes())


def test_a_changed_image_has_another_key(tmp_path, photo):
    path, known = photo(tmp_path / "a.png", 1), ContentKeys()
    before = known.hash_side(Side(image=str(path)))
    photo(path, 2)
    os.utime(path, ns=(1, 1))
    assert known.hash_side(Side(image=str(path))) != before


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"the image .*gone\.png cannot be read: No such file"):
        ContentKeys().hash_side(Side(image=str(tmp_path / "gone.png")))


def test_an_item_is_the_picture_that_is_looked_for_else_the_text(tmp_path, photo):
    a, b = (Side(image=str(photo(tmp_path / f"{i}.png", i))) for i in range(2))
    known, words = ContentKeys(), Side("a cat")
    assert (
        known.item_of(Pair(words, a)) == known.item_of(Pair(a, words)) == known.hash_file(a.image)
    )
    assert known.item_of(Pair(Side("redder", a.image), b)) == known.hash_file(b.image)
    assert known.item_of(Pair(Side("Katze"), words)) == known.item_of(
        Pair(Side("gatto"), Side("A cat"))
    )
    assert known.item_of(Pair(words, a, item="sku 7")) == "sku 7"
