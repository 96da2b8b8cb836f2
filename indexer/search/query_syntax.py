r"""The syntax of queries, on the command line, in the app's search box and in its links.

    a blue bicycle  words without a sign or a weight form one text, in their order
    -people         not this; a minus before a digit or a blank is text
    sunset^2        with a weight from 0.01 to 100, and apart from the other words
    "old people"    words that belong together, as in -"old people" and "red car"^2
    photo.jpg       an image
    id:UUID         a point of the collection
    \-nature        a backslash makes a term text

Signs and quotation marks may be full-width, and quotation marks curly.
"""

from __future__ import annotations

import os
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError
from embedder.images.formats import IMAGE_EXTENSIONS, SNIFF_BYTES, get_extension, sniff_format
from indexer.errors import QueryError
from indexer.types import Part, QueryTerm

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_WEIGHT, MAX_WEIGHT = 0.01, 100.0
SIGNS = "+\N{FULLWIDTH PLUS SIGN}-\N{MINUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
PLUS_SIGNS = SIGNS[:2]
CARETS = r"\^\N{FULLWIDTH CIRCUMFLEX ACCENT}"
CLOSING_QUOTES = {'"': '"', "＂": "＂", "“": "”", "„": "“”", "”": "”"}
QUOTES = "".join(CLOSING_QUOTES)
QUOTED_TEXT = "|".join(rf"{a}((?:\\.|[^\\])*?)[{b}]" for a, b in CLOSING_QUOTES.items())
QUOTED_PATTERN = re.compile(rf"([{re.escape(SIGNS)}]?)(?:{QUOTED_TEXT})", re.DOTALL)
OPENING_PATTERN = re.compile(rf"[{re.escape(SIGNS)}]?[{QUOTES}]")
WEIGHT = rf"[{CARETS}](?P<weight>[+-]?[\d.,]*\d)"
WEIGHT_PATTERN = re.compile(rf"{WEIGHT}(?!\S)")
WEIGHTED_PATTERN = re.compile(rf"(?P<content>.*[^\\]){WEIGHT}", re.DOTALL)
WORD_PATTERN = re.compile(  # after blanks and the marks of bidirectional text
    r"[\s\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]*+(?P<word>\S+)"
)
ESCAPED_PATTERN = re.compile(rf"\\([\\{CARETS}{QUOTES}])")
POINT_PATTERN = re.compile(r"id:\S+")
IMAGE_NAME_PATTERN = re.compile(  # of these, a name alone says that an image is meant
    r"\.(jpe?g|png|webp|gif|avif|hei[cf]|tiff?|bmp|jp2|ppm|tga|ico)$", re.IGNORECASE
)
SAVED_PATTERN = re.compile(  # a time such as 12:30 is not a weight
    r"(?P<sign>[+-])?(?:(?P<weight>\d+(?:\.\d+)?|\.\d+):(?!\d))?(?P<content>.*\S.*)", re.DOTALL
)
UPLOAD_PREFIX = "img:"  # before the name of an image that was uploaded to the app
DEFAULT_IMAGE_SIDE = 512  # pixels on the shorter side, where the model is not known

IsImage = Callable[[str], bool]
"""Whether a name in a query stands for an image."""


def parse_query(query: str, *, images: bool = False) -> tuple[Part, ...]:
    """Parse a query as it is typed: `a blue bicycle -people sunset^2 id:UUID`.

    Args:
        query: Its syntax is that of the command line and of the app's search box.
        images: Whether the path of an image stands for that image. This opens files of this
            machine: leave it out for what other people typed.

    Returns:
        The parts of the query, for `Collection.search`.

    Raises:
        QueryError: A weight, a quotation mark, an id or an image is wrong.
    """
    terms = parse_terms(query, is_image_name if images else lambda _: False)
    return tuple(map(load_term, terms))


def parse_arguments(arguments: Sequence[str]) -> tuple[QueryTerm, ...]:
    """Parse the arguments of a command line, from which the shell has taken the quotation marks.

    A single argument is a whole query. One of several keeps its words together under its sign and
    weight: `-"old people"` and `"red car"^2` arrive as `-old people` and `red car^2`. Raises
    `QueryError`.
    """
    several = len(arguments) > 1
    return parse_terms(" ".join(_quote_argument(a, several) for a in arguments), is_image_name)


def _quote_argument(argument: str, several: bool) -> str:
    """`argument` with the quotation marks that it was written with, if it was one term."""
    content, weight = _split_weight(argument.strip())
    sign, content = _split_sign(content, is_image_name)
    words = content.split()
    if len(words) < 2 or any(quote in content for quote in QUOTES):
        return argument
    text = QueryTerm(text=" ".join(words))  # unless it has signs and weights of its own
    is_term = several and (sign or weight) and parse_terms(content, is_image_name) == (text,)
    if not (is_term or is_image_name(content)):
        return argument
    return f"{sign}{_quote(content)}" + (f"^{weight}" if weight else "")


def parse_terms(query: str, is_image: IsImage) -> tuple[QueryTerm, ...]:
    """Parse a query into its terms.

    Raises `QueryError` for a weight, a quotation mark or an id that is wrong.
    """
    terms: list[QueryTerm] = []
    words: list[str] = []
    place = 0  # of the text that the words form
    for term, is_plain in _iterate_terms(query, is_image):
        if is_plain and term.text:
            place = place if words else len(terms)
            words.append(term.text)
        else:
            terms.append(term)
    if words:
        terms.insert(place, QueryTerm(text=" ".join(words)))
    return tuple(terms)


def _iterate_terms(query: str, is_image: IsImage) -> Iterator[tuple[QueryTerm, bool]]:
    """Yield each term, and whether it has neither a minus nor a weight."""
    position = 0
    unclosed: set[str] = set()  # looking for their ends once keeps the time linear
    while match := WORD_PATTERN.match(query, position):
        word = match["word"]
        opening = OPENING_PATTERN.match(word)
        quoted = (
            QUOTED_PATTERN.match(query, match.start("word"))
            if opening and opening[0] not in unclosed
            else None
        )
        if quoted:
            sign, *alternatives = quoted.groups()
            content = next(found for found in alternatives if found is not None).strip()
            power = WEIGHT_PATTERN.match(query, quoted.end())
            weight, position = power and power["weight"], (power or quoted).end()
        elif opening and len(opening[0]) > 1:
            raise QueryError(
                f"the quotation mark in {word!r} is not closed; for the mark itself, put a "
                "backslash in front of it"
            )
        else:
            if opening:
                unclosed.add(opening[0])
            content, weight = _split_weight(word)
            sign, content = _split_sign(content, is_image)
            position = match.end()
        if content:
            is_negative = bool(sign) and sign not in PLUS_SIGNS
            number = _parse_weight(weight) if weight else 1.0
            term = _make_term(content, -number if is_negative else number, is_image)
            yield term, not (is_negative or weight)


def _split_weight(term: str) -> tuple[str, str | None]:
    """`sunset^2` -> `sunset`, `2`. In `10^2`, nothing is a weight."""
    match = WEIGHTED_PATTERN.fullmatch(term)
    if match and any(map(_is_letter, match["content"])):
        return match["content"], match["weight"]
    return term, None


def _split_sign(term: str, is_image: IsImage) -> tuple[str, str]:
    """`-people` -> `-`, `people`. In `-40` and `->`, nothing is a sign."""
    rest = term[1:]
    if rest and term[0] in SIGNS and (_is_letter(rest[0]) or rest[0] == "\\" or is_image(rest)):
        return term[0], rest
    return "", term


def _is_letter(character: str) -> bool:
    """Whether it is a letter of any script, or an emoji."""
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "So"


def _parse_weight(written: str) -> float:
    try:
        weight = float(unicodedata.normalize("NFKC", written))
    except ValueError:
        weight = 0.0
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise QueryError(
            f"^{written} is not a weight: write a number from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, as "
            "in sunset^2. To take a term away, write -sunset; for the text, write \\^"
        )
    return weight


def _make_term(content: str, weight: float, is_image: IsImage) -> QueryTerm:
    text = ESCAPED_PATTERN.sub(r"\1", content.removeprefix("\\") or content)
    if not content.startswith("\\"):
        for name in (content, text):  # a path of Windows may be written with \ or with \\
            if is_image(name):
                return QueryTerm(image=name, weight=weight)
        if POINT_PATTERN.fullmatch(content):
            id = parse_id(content)
            if id is None:
                raise QueryError(
                    f"{content!r} is not a point: ids are UUIDs; to search for this text, put a "
                    "backslash in front of it"
                )
            return QueryTerm(id=id, weight=weight)
    return QueryTerm(text=text, weight=weight)


def format_terms(terms: Sequence[QueryTerm]) -> str:
    """Write a query that `parse_terms` reads as `terms`; of several texts, all but the first get
    a weight."""
    written: list[str] = []
    has_plain = False
    for term in terms:
        is_plain = term.text is not None and term.weight == 1
        written.append(format_term(term, with_weight=is_plain and has_plain))
        has_plain = has_plain or is_plain
    return " ".join(written)


def format_term(term: QueryTerm, *, with_weight: bool = False) -> str:
    """Write one term, with quotation marks and a backslash where it needs them."""
    size = abs(term.weight)
    sign = "-" if term.weight < 0 else ""
    weight = f"^{str(size).removesuffix('.0')}" if size != 1 or with_weight else ""
    content, quoted = term.content, _quote(term.content)
    written = ""
    for way in (content, quoted, quoted.replace('"', '"\\', 1)):
        written = f"{sign}{way}{weight}"
        with suppress(QueryError):
            is_safe = way is not content or not any(quote in content for quote in QUOTES)
            if is_safe and parse_terms(written, partial(_may_be_image, term)) == (term,):
                break
    return written


def _may_be_image(term: QueryTerm, name: str) -> bool:
    is_upload = name.startswith(UPLOAD_PREFIX)
    return is_upload or name == term.image or get_extension(name) in IMAGE_EXTENSIONS


def _quote(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def parse_saved_term(text: str) -> QueryTerm:
    """Parse a term in a link of version 0.1.0: `2:sunset`, `-0.5:id:UUID`, `\\-40 degrees`."""
    if text[:1] in "\\ ":
        return QueryTerm(text=text[1:].strip() or text)
    match = SAVED_PATTERN.fullmatch(text)
    if match is None:
        return QueryTerm(text=text)
    content = match["content"].strip()
    size = min(max(float(match["weight"] or 1), MIN_WEIGHT), MAX_WEIGHT)
    weight = -size if match["sign"] == "-" else size
    if POINT_PATTERN.fullmatch(content) and (id := parse_id(content)):
        return QueryTerm(id=id, weight=weight)
    if content.startswith(UPLOAD_PREFIX):
        return QueryTerm(image=content, weight=weight)
    return QueryTerm(text=content, weight=weight)


def load_term(term: QueryTerm, side: int = DEFAULT_IMAGE_SIDE) -> Part:
    """Make a part of a term: open the image that it names, at about `side` pixels on the shorter
    side. Raises `QueryError`."""
    if term.image is None:
        return Part(text=term.text, id=term.id, weight=term.weight, label=term.content)
    path = Path(os.path.expanduser(term.image))
    if not os.path.isfile(path):  # noqa: PTH113 - False too for a name that is too long
        if "://" in term.image:
            raise QueryError(
                f"{term.image} is a URL; to search with its image, download it first, and give the "
                "path of the file"
            )
        raise QueryError(
            f"there is no image {term.image!r}; to search for this text, write '\\{term.image}' "
            "between quotation marks"
        )
    image = read_query_image(path, side)
    return Part(image=image, weight=term.weight, label=path.name, source=path)


def parse_id(text: str) -> str | None:
    """The id of a point, with or without `id:` in front; None for what is not a UUID."""
    try:
        return str(uuid.UUID(text.removeprefix("id:")))
    except ValueError:
        return None


def is_image_name(name: str) -> bool:
    """Whether `name` is that of an image: by its usual extension, or because there is such a file
    that is an image, by another extension of images or by its content. A name with blanks is one
    only where there is such a file."""
    extension = get_extension(name)
    is_usual = bool(IMAGE_NAME_PATTERN.search(name))
    if is_usual and not re.search(r"\s", name):
        return True
    path = os.path.expanduser(name)
    if not (extension or "/" in name) or not os.path.isfile(path):  # noqa: PTH113
        return False
    return extension in IMAGE_EXTENSIONS or _holds_image(path)


def _holds_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return sniff_format(file.read(SNIFF_BYTES)) not in {None, "raw"}
    except OSError:
        return False


def read_query_image(source: str | Path | Image, side: int = DEFAULT_IMAGE_SIDE) -> Image:
    """Return a PIL image, or the image at a path, as upright RGB; raises `QueryError`."""
    from embedder.encoding import open_image

    name = str(source) if isinstance(source, str | Path) else "the image"
    try:
        return open_image(source, side)
    except EmbedderError as error:
        raise QueryError(f"{name} cannot be searched with: {error}") from error
