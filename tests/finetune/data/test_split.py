"""A split keeps copies together, and each language on both sides."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from PIL import Image

from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.data.split import DisjointSets, group_pairs, hold_out, is_distinctive
from finetune.errors import DataError


def split_pairs(pairs, share: float = 0.2, seed: int = 0) -> tuple[list[Pair], list[Pair]]:
    halves = hold_out(pairs, share, seed)
    return halves.train, halves.test


def texts(count: int, language: str | None = None, start: int = 0) -> list[Pair]:
    return [
        Pair(Side(f"query {i}"), Side(f"answer {i}"), language=language)
        for i in range(start, start + count)
    ]


def pictured(path, words: str) -> Pair:
    return Pair(Side(words), Side(image=str(path)))


def grouped(pairs) -> list[list[int]]:
    return group_pairs(pairs, ContentKeys())


def test_sets_are_joined_transitively():
    sets = DisjointSets(6)
    for i, j in ((4, 2), (5, 4), (0, 3)):
        sets.union(i, j)
    assert sets.groups() == [[0, 3], [1], [2, 4, 5]]


def test_copies_under_other_names_stay_together(tmp_path, photo):
    a, b = photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2)
    copy = tmp_path / "elsewhere" / "holiday.png"
    copy.parent.mkdir()
    copy.write_bytes(a.read_bytes())
    assert grouped([pictured(a, "one"), pictured(b, "two"), pictured(copy, "three")]) == [
        [0, 2],
        [1],
    ]


def test_resized_copies_stay_together(tmp_path, photo):
    a, b = photo(tmp_path / "a.png", 1, (400, 300)), photo(tmp_path / "b.png", 2, (400, 300))
    small = tmp_path / "small.jpg"
    Image.open(a).resize((160, 120)).save(small, quality=70)
    assert grouped([pictured(a, "one"), pictured(b, "two"), pictured(small, "three")]) == [
        [0, 2],
        [1],
    ]


def test_query_and_positive_images_group_alike(tmp_path, photo):
    a, b, c = (photo(tmp_path / f"{i}.png", i) for i in range(3))
    asked = Pair(Side("darker", str(a)), Side(image=str(b)))
    assert grouped([asked, pictured(a, "one"), pictured(c, "two")]) == [[0, 1], [2]]


def test_items_stay_together():
    pairs = [Pair(Side(f"q{i}"), Side(f"a{i}"), item=item) for i, item in enumerate("xyx")]
    assert grouped(pairs) == [[0, 2], [1]]


def test_long_captions_group_pairs_and_short_names_do_not(tmp_path, photo):
    words = ["A red bicycle leans there", "cat", "a red  bicycle leans THERE", "cat"]
    pairs = [pictured(photo(tmp_path / f"{i}.png", i), w) for i, w in enumerate(words)]
    assert grouped(pairs) == [[0, 2], [1], [3]]


def test_words_are_counted_in_scripts_without_spaces():
    assert is_distinctive("one two three four")
    assert not is_distinctive("one two three")
    assert is_distinctive("窓辺で眠る黒い猫")
    assert not is_distinctive("黒い猫")
    assert not is_distinctive("猫")


def test_negatives_join_nothing(tmp_path, photo):
    a, b = photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2)
    first = Pair(Side("one"), Side(image=str(a)), (Side(image=str(b)),))
    assert grouped([first, pictured(b, "two")]) == [[0], [1]]


def test_the_share_is_met_and_no_pair_is_lost():
    pairs = texts(100)
    train, test = split_pairs(pairs, 0.25)
    assert (len(train), len(test)) == (75, 25)
    assert sorted(p.query.text for p in train + test) == sorted(p.query.text for p in pairs)


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    pairs = texts(60)
    shuffled = random.Random(1).sample(pairs, len(pairs))
    first, again, other = (
        split_pairs(pairs)[1],
        split_pairs(shuffled)[1],
        split_pairs(pairs, seed=1)[1],
    )
    assert set(first) == set(again)
    assert set(first) != set(other)


def test_groups_are_never_divided():
    pairs = [Pair(Side(f"q{i}"), Side(f"a{i}"), item=str(i // 7)) for i in range(140)]
    done = hold_out(pairs, 0.2)
    assert {p.item for p in done.train}.isdisjoint(p.item for p in done.test)
    assert done.groups == (16, 4)
    assert (len(done.train), len(done.test)) == (112, 28)


def test_every_language_with_two_groups_is_on_both_sides():
    pairs = texts(200, "en") + texts(10, "de", 200) + texts(2, "ja", 300) + texts(1, "fi", 400)
    train, test = split_pairs(pairs, 0.1)
    sides = [Counter(pair.language for pair in side) for side in (train, test)]
    assert sides[0] == {"en": 180, "de": 9, "ja": 1, "fi": 1}
    assert sides[1] == {"en": 20, "de": 1, "ja": 1}


def test_translations_of_one_image_stay_together():
    pairs = [
        Pair(Side(f"{language} {i}"), Side(f"picture {i}"), language=language)
        for i in range(50)
        for language in ("en", "de", "ja")
    ]
    train, test = split_pairs(pairs, 0.2)
    assert Counter(p.language for p in test) == {"en": 10, "de": 10, "ja": 10}
    assert {p.positive for p in train}.isdisjoint(p.positive for p in test)


def test_two_groups_give_one_to_each_side():
    train, test = split_pairs([*texts(1), *texts(1, start=1)], 0.01)
    assert (len(train), len(test)) == (1, 1)
    big = [Pair(Side(f"q{i}"), Side(f"a{i}"), item="big") for i in range(50)]
    train, test = split_pairs([*big, *texts(1)], 0.3)
    assert (len(train), len(test)) == (50, 1)


def test_one_group_cannot_be_split():
    pairs = [Pair(Side(f"q{i}"), Side(f"a{i}"), item="x") for i in range(5)]
    with pytest.raises(DataError, match="share an item"):
        split_pairs(pairs)
