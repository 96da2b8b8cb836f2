"""Simplifies filters before they are sent to a store.

Qdrant 1.19 answers a filter that contradicts itself (`must: [a], must_not: [a]`) with every point
that matches a, if the key is indexed. What no point can match must therefore not be sent.

A filter is a list of facts, each a condition that must be true or false. A fact is simplified under
the assumption that all others hold, until nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from qdrant_client import models

Query = TypeVar("Query", "models.QueryRequest", "models.Prefetch")

Condition: TypeAlias = Any  # a condition of Qdrant, a filter, or a `_Group`
Values: TypeAlias = (
    "tuple[str, frozenset[tuple[type, object]]]"  # a key, and the values it may have
)
Bound: TypeAlias = "tuple[float, int]"  # (a, 1): more than a; (a, -1): less than a
Range: TypeAlias = "tuple[str, Bound, Bound]"  # a key, and the lowest and the highest number


class _Group(NamedTuple):
    """At least `min_count` of the conditions are true."""

    min_count: int
    conditions: list[Condition]


class _Fact(NamedTuple):
    condition: Condition
    is_true: bool


def simplify_filter(where: models.Filter | None) -> models.Filter | None:
    """Return a simpler filter that matches the same points; None for one that matches all.

    A filter that no point can match becomes one that `matches_nothing`: do not send it.
    """
    if where is None:
        return None
    from qdrant_client import models

    simplified = _simplify_filter(where, [])
    if isinstance(simplified, bool):
        return None if simplified else models.Filter(must=[models.HasIdCondition(has_id=[])])
    return simplified


def matches_nothing(where: models.Filter | None) -> bool:
    """Whether a simplified filter matches no point."""
    conditions = _list(where.must) if where is not None else []
    return any(getattr(condition, "has_id", None) == [] for condition in conditions)


def simplify_query(request: Query) -> Query | None:
    """Simplify the filters of a query and of its stages; None if it can find nothing.

    A stage that can find nothing is left out. A query without any of its stages would search
    everything.
    """
    change: dict[str, Any] = {"filter": simplify_filter(request.filter)}
    if request.prefetch:
        stages = [simplify_query(stage) for stage in _list(request.prefetch)]
        change["prefetch"] = [stage for stage in stages if stage is not None]
    if matches_nothing(change["filter"]) or change.get("prefetch") == []:
        return None
    return request.model_copy(update=change)


def _simplify_filter(where: models.Filter, given: Sequence[_Fact]) -> models.Filter | bool:
    facts, before = _split_filter(where), None
    while facts != before:
        before, facts = facts, []
        for number, (condition, is_true) in enumerate(before):
            others = [*given, *facts, *before[number + 1 :]]
            simplified = _simplify(condition, others)
            if isinstance(simplified, bool):
                if simplified is not is_true:
                    return False
            else:
                facts += _split(simplified, is_true)
    return _join(facts) if facts else True


def _split_filter(where: models.Filter) -> list[_Fact]:
    facts = [fact for one in _list(where.must) for fact in _split(one, True)]
    facts += [fact for one in _list(where.must_not) for fact in _split(one, False)]
    if where.should:
        facts.append(_Fact(_Group(1, _list(where.should)), True))
    if where.min_should is not None:
        group = _Group(where.min_should.min_count, where.min_should.conditions)
        facts.append(_Fact(group, True))
    return facts


def _split(condition: Condition, is_true: bool) -> list[_Fact]:
    """Split what a condition says into several facts, if possible."""
    from qdrant_client import models

    if isinstance(condition, models.Filter):
        facts = _split_filter(condition)
        if is_true:
            return facts
        if len(facts) == 1:
            return _split(facts[0].condition, not facts[0].is_true)
    if isinstance(condition, _Group) and condition.min_count == 1 and not is_true:
        return [fact for one in condition.conditions for fact in _split(one, False)]
    return [_Fact(condition, is_true)]


def _join(facts: Sequence[_Fact]) -> models.Filter:
    from qdrant_client import models

    def to_condition(condition: Condition) -> Condition:
        if not isinstance(condition, _Group):
            return condition
        min_count, conditions = condition
        if min_count == 1:
            return models.Filter(should=conditions)
        return models.Filter(
            min_should=models.MinShould(conditions=conditions, min_count=min_count)
        )

    must = [to_condition(condition) for condition, is_true in facts if is_true]
    must_not = [to_condition(condition) for condition, is_true in facts if not is_true]
    if len(must) == 1 and not must_not and isinstance(must[0], models.Filter):
        return must[0]
    return models.Filter(must=must or None, must_not=must_not or None)


def _simplify(condition: Condition, given: Sequence[_Fact]) -> Condition | bool:
    """Simplify a condition, given facts; True or False if they decide it."""
    from qdrant_client import models

    if isinstance(condition, models.Filter):
        return _simplify_filter(condition, given)
    if isinstance(condition, _Group):
        return _simplify_group(condition, given)
    true = [known for known, is_true in given if is_true]
    if _is_never_true(condition) or any(_is_exclusive(condition, known) for known in true):
        return False
    if any(_implies(known, [condition]) for known in true):
        return True
    if _implies(condition, [known for known, is_true in given if not is_true]):
        return False
    return condition


def _simplify_group(group: _Group, given: Sequence[_Fact]) -> Condition | bool:
    from qdrant_client import models

    simplified = [_simplify(condition, given) for condition in group.conditions]
    undecided = [one for one in simplified if not isinstance(one, bool)]
    missing = group.min_count - sum(one is True for one in simplified)
    if not 0 < missing <= len(undecided):
        return missing <= 0
    if missing == len(undecided):
        return models.Filter(must=undecided)
    return _Group(missing, undecided)


def _is_never_true(condition: Condition) -> bool:
    values, numbers = _get_values(condition), _get_range(condition)
    if numbers is not None:
        _, low, high = numbers
        return low[0] > high[0] or (low[0] == high[0] and bool(low[1] or high[1]))
    return values is not None and not values[1]


def _is_exclusive(one: Condition, other: Condition) -> bool:
    """Whether one needs a value of a key, and the other that there is none."""
    for first, second in ((one, other), (other, one)):
        known = _get_values(second) or _get_range(second)
        empty = getattr(first, "is_empty", None)  # of a field condition it is a bool
        if known is not None and getattr(empty, "key", None) == known[0]:
            return True
    return False


def _implies(condition: Condition, others: Sequence[Condition]) -> bool:
    """Whether each point that matches `condition` matches one of `others`."""
    values, numbers = _get_values(condition), _get_range(condition)
    ranges = [of for of in map(_get_range, others) if of is not None]
    if numbers is not None:
        key, low, high = numbers
        return any(key == k and low >= lowest and high <= highest for k, lowest, highest in ranges)
    if values is None:
        return condition in others
    known = [of[1] for of in map(_get_values, others) if of is not None and of[0] == values[0]]
    is_known = bool(known) and values[1] <= frozenset().union(*known)
    return is_known or any(_is_within(values, of) for of in ranges)


def _is_within(values: Values, numbers: Range) -> bool:
    """Whether all values are numbers in a range."""
    key, low, high = numbers
    return values[0] == key and all(
        kind is int and low <= (value, 0) <= high for kind, value in values[1]
    )


def _get_values(condition: Condition) -> Values | None:
    """The key and the values, or ids, of which a point must have one; None for other conditions."""
    if hasattr(condition, "has_id"):
        return "", frozenset((str, str(id)) for id in condition.has_id)
    match = _get_only_part(condition, "match")
    if hasattr(match, "value"):
        return condition.key, frozenset({(type(match.value), match.value)})
    if hasattr(match, "any"):
        return condition.key, frozenset((type(value), value) for value in match.any)
    return None


def _get_range(condition: Condition) -> Range | None:
    from qdrant_client import models

    bounds = _get_only_part(condition, "range")
    if not isinstance(bounds, models.Range):  # a range of dates
        return None
    lows = [(v, n) for v, n in ((bounds.gte, 0), (bounds.gt, 1)) if v is not None]
    highs = [(v, n) for v, n in ((bounds.lte, 0), (bounds.lt, -1)) if v is not None]
    return condition.key, max(lows, default=(-math.inf, 0)), min(highs, default=(math.inf, 0))


def _get_only_part(condition: Condition, name: str) -> Any:
    """The part of a condition on a field that has no other."""
    part = getattr(condition, name, None)
    given = condition.model_dump(exclude_none=True).keys() if part is not None else ()
    return part if set(given) == {"key", name} else None


def _list(clause: Any) -> list[Condition]:
    if clause is None:
        return []
    return list(clause) if isinstance(clause, list) else [clause]
