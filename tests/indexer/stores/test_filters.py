"""Filters are simplified without a change of what they match."""

from __future__ import annotations

import random
from itertools import product

import pytest
from qdrant_client import models

from indexer.stores.filters import matches_nothing, simplify_filter, simplify_query
from tests.indexer.stores.exact import passes

IDS = ["1", "2", "3"]
VALUES = ["a", "b", "c"]


def any_of(*values, key="tags"):
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def value(value, key="tags"):
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def number(key="year", **bounds):
    return models.FieldCondition(key=key, range=models.Range(**bounds))


def ids(*ids):
    return models.HasIdCondition(has_id=list(ids))


def empty(key="tags"):
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))


def other_than(*values, key="tags"):
    return models.FieldCondition(key=key, match=models.MatchExcept(**{"except": list(values)}))


def where(must=None, must_not=None, should=None, least=None):
    min_should = models.MinShould(conditions=least[1], min_count=least[0]) if least else None
    return models.Filter(must=must, must_not=must_not, should=should, min_should=min_should)


A, B = any_of("a"), any_of("b")


@pytest.mark.parametrize(
    "impossible",
    [
        where([A], [A]),
        where(A, A),
        where([value("a")], [A]),
        where([A], [value("a")]),
        where([A], [any_of("a", "b")]),
        where([any_of("a", "b")], [A, B]),
        where([other_than("a")], [other_than("a")]),
        where([number(gte=1, lte=2)], [number(gte=1, lte=2)]),
        where([number(gte=1, lt=2)], [number(gte=0, lte=2)]),
        where([value(2, "year")], [number(gte=1, lte=2)]),
        where([number(gt=2, lte=2)]),
        where([number(gte=3, lte=2)]),
        where([empty()], [empty()]),
        where([empty(), A]),
        where([empty("year"), number(gte=1)]),
        where([ids("1", "2")], [ids("1", "2", "3")]),
        where([ids()]),
        where([any_of()]),
        where([where(should=[A, B])], [A, B]),
        where(should=[A, B], must_not=[any_of("a", "b")]),
        where([where([A])], [where([A])]),
        where([A, where([B], [A])]),
        where(must_not=[where(must_not=[A]), A]),
        where([A, B], [where([A, B])]),
        where(should=[where([A], [A]), any_of()]),
        where(must_not=[where()]),
        where(least=(2, [A, any_of()])),
        where(least=(1, [])),
        where([A], must_not=[where(least=(1, [A, B]))]),
    ],
)
def test_what_no_point_matches_is_recognized(impossible):
    assert matches_nothing(simplify_filter(impossible))


@pytest.mark.parametrize(
    ("complex", "simple"),
    [
        (None, None),
        (where(), None),
        (where([], [], []), None),
        (where(must_not=[any_of()]), None),
        (where(least=(0, [])), None),
        (where([A], should=[A, B]), where([A])),
        (where([A, A]), where([A])),
        (where([where([where([A])])]), where([A])),
        (where(should=[A, any_of()]), where([A])),
        (where(should=[A, B], must_not=[A]), where([B], [A])),
        (where(least=(2, [A, B, any_of()])), where([A, B])),
        (where(must_not=[where(should=[A, B])]), where(must_not=[A, B])),
    ],
)
def test_a_filter_keeps_only_what_is_needed(complex, simple):
    assert simplify_filter(complex) == simple


@pytest.mark.parametrize(
    "possible",
    [
        where([any_of("a", "b")], [A]),  # a list may have b alone
        where([A, B]),  # and both
        where([value(True)], [value(1)]),
        where([number(gte=1, lte=2)], [number(gt=1, lte=2)]),
        where([number(gte=1, lte=2)], [value(1, "year")]),
        where([A], [any_of("a", key="folder")]),
        where([number(gte=3), number(lte=2)]),
        where([number(gte=2, lte=2)]),  # one year
        where(least=(2, [A, B, empty()])),
        where(must_not=[where([A, B])]),
    ],
)
def test_what_a_point_may_match_stays(possible):
    assert simplify_filter(possible) == possible


def test_a_query_without_its_stages_is_not_sent():
    """It would search everything."""
    never, some = where([A], [A]), where([A])
    stages = [models.Prefetch(query=[1.0], filter=one, limit=3) for one in (never, some, None)]

    def query(*stages, filter=None):
        return models.QueryRequest(query=[1.0], prefetch=list(stages) or None, filter=filter)

    assert simplify_query(query(stages[0], filter=some)) is None
    assert simplify_query(query(stages[1], filter=never)) is None
    nested = models.Prefetch(query=[1.0], prefetch=[stages[0]])
    assert simplify_query(query(nested)) is None
    simplified = simplify_query(query(*stages, nested))
    assert simplified.prefetch == stages[1:]
    assert simplify_query(query()) == query()


def test_no_filter_changes_what_it_matches():
    """Random filters, over every point of a small world."""
    chance = random.Random(5)
    points = [
        (id, {"tags": list(tags), "year": year})
        for tags in ((), ("a",), ("b",), ("a", "b"), ("b", "c"))
        for year in (None, 1, 2, [1, 3])
        for id in IDS[:2]
    ]
    decided = 0
    for _ in range(200):
        given = draw_filter(chance, 2)
        simplified = simplify_filter(given)
        dump = given.model_dump(exclude_none=True, by_alias=True)
        matched = [passes(payload, dump, id) for id, payload in points]
        decided += simplified is None or matches_nothing(simplified)
        dump = simplified and simplified.model_dump(exclude_none=True, by_alias=True)
        assert matched == [passes(payload, dump, id) for id, payload in points], given
        assert simplify_filter(simplified) == simplified
    assert 50 < decided < 150


def test_of_two_conditions_on_tags_every_contradiction_is_found():
    """The world has every list of tags: what matches none of them can match nothing."""
    worlds = [
        {"tags": [v for v in VALUES if v in chosen]} for chosen in product(["", *VALUES], repeat=3)
    ]
    sets = [(), ("a",), ("b",), ("a", "b"), ("a", "b", "c")]
    for wanted, unwanted in product(sets, repeat=2):
        given = where([any_of(*wanted)], [any_of(*unwanted)])
        dump = given.model_dump(exclude_none=True)
        is_impossible = not any(passes(payload, dump) for payload in worlds)
        assert matches_nothing(simplify_filter(given)) == is_impossible


def draw_filter(chance: random.Random, depth: int) -> models.Filter:
    def clause():
        return [draw_condition(chance, depth) for _ in range(chance.choice((0, 1, 1, 2)))]

    conditions = clause()
    least = (chance.randint(0, 2), conditions) if chance.random() < 0.3 else None
    return where(clause(), clause(), clause() or None, least)


def draw_condition(chance: random.Random, depth: int):
    if depth and chance.random() < 0.3:
        return draw_filter(chance, depth - 1)
    some = chance.sample(VALUES, chance.choice((0, 1, 1, 2)))
    low = chance.choice((1, 2, 3))
    return chance.choice(
        [
            any_of(*some),
            value(chance.choice(VALUES)),
            value(low, "year"),
            number(**{chance.choice(("gte", "gt")): low, chance.choice(("lte", "lt")): low + 1}),
            number(gte=low),
            empty(chance.choice(("tags", "year"))),
            ids(*chance.sample(IDS, chance.choice((0, 1, 2)))),
            other_than(*some) if some else A,
        ]
    )
