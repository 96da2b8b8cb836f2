"""The syntax of filters on the command line and in links: `kind=image`, `tag!=a,b`.

    filter = key ("=" | "!=" | ">=" | "<=" | ">" | "<") value ("," value)*

Keys and values stand as they are, and blanks around them do not count: `date taken=2019`. In double
quotes they may have any characters, a quote written twice, as in CSV: `folder="a, b"`. A key needs
quotes if it has one of =<> in it, or ends with an exclamation mark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexer.collections.schema import KEYWORDS
from indexer.errors import QueryError
from indexer.search.dates import DATE_PATTERN
from indexer.search.filters import (
    COLUMN_PREFIX,
    COMPARISON_OPERATORS,
    DATE_FIELDS,
    NUMBER_PATTERN,
    add_filter,
    resolve_key,
)
from indexer.types import FieldFilter, Filters

QUOTED = r'"(?:[^"]|"")*+"\s*+'
FILTER_PATTERN = re.compile(
    rf'\s*+(?P<prefix>{re.escape(COLUMN_PREFIX)}(?="))?(?P<key>{QUOTED}|[^"=<>][^=<>]*?(?<!!))'
    r"(?P<operator>!=|[<>]=?|=)(?P<values>.*)",
    re.DOTALL,
)
VALUE_PATTERN = re.compile(rf'\s*+(?P<value>{QUOTED}|(?!")[^,]*+)(?:,|\Z)', re.DOTALL)
BARE_KEY_PATTERN = re.compile(r'[^"=<>!\s]|[^"=<>\s][^=<>]*[^=<>!\s]')
BARE_VALUE_PATTERN = re.compile(r'[^",\s]|[^",\s][^,]*[^,\s]')


def parse_filters(arguments: Sequence[str]) -> Filters:
    """Parse filters: `key=value`, `year=2019..2022`, `width>=800`, `kind!=text`.

    `key=a,b`, or the same key twice, accepts any of the values; `key!=a,b` none of them. Raises
    `QueryError` for an argument that is no filter.
    """
    filters: dict[str, FieldFilter] = {}
    for argument in arguments:
        match = FILTER_PATTERN.fullmatch(argument)
        values = _split_values(match["values"]) if match else ()
        if not match or not values or not all(map(str.strip, values)):
            raise QueryError(
                f"{argument!r} is not a filter; write key=value or key!=value, as in kind=image. "
                'A value with a comma needs double quotes: folder="a, b". A shell takes these, < '
                "and > for itself unless single quotes are around the filter"
            )
        operator = match["operator"]
        name = (match["prefix"] or "") + _unquote(match["key"])
        if operator in COMPARISON_OPERATORS:  # year>=2019 is another way to write year=>=2019
            key = resolve_key(name)
            pattern = DATE_PATTERN if key in DATE_FIELDS else NUMBER_PATTERN
            if key in KEYWORDS or not all(map(pattern.fullmatch, values)):
                raise QueryError(
                    f"{argument!r} compares text; only numbers, and the dates taken and added, "
                    "can be compared"
                )
            values = tuple(operator + value for value in values)
        added = FieldFilter(none_of=values) if operator == "!=" else FieldFilter(values)
        add_filter(filters, name, added)
    return filters


def format_filters(filters: Filters) -> list[str]:
    """The arguments that `parse_filters` reads as `filters`."""
    arguments = []
    for key, wanted in filters.items():
        for operator, values in (("=", wanted.any_of), ("!=", wanted.none_of)):
            if values:
                arguments.append(format_filter(key, operator, *values))
    return arguments


def format_filter(name: str, operator: str, *values: str) -> str:
    """Write one filter, with quotes where they are needed: `folder="a, b"`."""
    listed = ",".join(_quote(value, BARE_VALUE_PATTERN) for value in values)
    return f"{_quote(name, BARE_KEY_PATTERN)}{operator}{listed}"


def _split_values(text: str) -> tuple[str, ...]:
    """Split at commas outside quotes; empty where a quote is not closed or not at an end."""
    values: list[str] = []
    position = 0
    while position < len(text):
        match = VALUE_PATTERN.match(text, position)
        if not match:
            return ()
        if match["value"].strip():
            values.append(_unquote(match["value"]))
        position = match.end()
    return tuple(values)


def _quote(text: str, bare: re.Pattern[str]) -> str:
    return text if bare.fullmatch(text) else '"' + text.replace('"', '""') + '"'


def _unquote(text: str) -> str:
    text = text.strip()
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
