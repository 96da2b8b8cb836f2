"""Google Takeout: how its JSON sidecars are named, and what is taken from them.

A sidecar's name is that of its picture with ".supplemental-metadata" (older exports: nothing),
cut so that name and ".json" together have 51 characters. The number of a second picture of one
name comes last: `x(1).jpg` has `x.jpg(1).json` or `x.jpg.supplemental-metadata(1).json`. An edited
picture has none of its own: `x-edited.jpg` shares that of `x.jpg`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from embedder.images.formats import get_extension
from indexer.captions.dates import Taken, parse_timestamp
from indexer.captions.normalize import (
    FileCaptions,
    make_caption,
    merge_captions,
    normalize_tags,
)
from indexer.captions.places import choose_place, make_place

SUFFIX = "supplemental-metadata"
MAX_STEM = 46  # characters of a sidecar's name before ".json", without its number
NUMBER_PATTERN = re.compile(r"(?P<name>.+)\((?P<number>\d+)\)", re.DOTALL)
EDITED_PATTERN = re.compile(  # in the language of the account
    r"(?P<name>.+)-(edited|effects|smile|mix|bearbeitet|edytowane|modifié|ha editado|editado|"
    r"editada|editat|modificato|bewerkt|redigerad|redigeret|redigert|muokattu|upraveno|szerkesztve|"
    r"düzenlendi|изменено|отредактировано|編集済み|已编辑|已編輯|已修改|수정됨)",
    re.IGNORECASE | re.DOTALL,
)


def list_targets(stem: str) -> Iterator[str]:
    """Yield the names of the pictures that a sidecar may describe, best first.

    Args:
        stem: The sidecar's name without ".json".

    Yields:
        Names of pictures, with or without their extension.
    """
    numbered = NUMBER_PATTERN.fullmatch(stem)
    name, number = (numbered["name"], numbered["number"]) if numbered else (stem, "")
    head, dot, tail = name.rpartition(".")
    if dot and SUFFIX.startswith(tail.lower()):
        yield from _insert_number(head, number)
    if number:
        yield from _insert_number(name, number)


def key_of_cut_name(stem: str) -> tuple[str, str] | None:
    """Return the beginning of the picture's name, and its number, for a sidecar whose name was cut
    within that of the picture; None for any other."""
    numbered = NUMBER_PATTERN.fullmatch(stem)
    name, number = (numbered["name"], numbered["number"]) if numbered else (stem, "")
    return (name, number) if _count_units(name) == MAX_STEM else None


def key_of_long_name(name: str) -> tuple[str, str] | None:
    """Return what `key_of_cut_name` does for the sidecar of the file `name`; None if its sidecar's
    name has it whole."""
    stem, number = split_number(name)
    extension = get_extension(name)
    whole = f"{stem}.{extension}" if extension else stem
    if _count_units(whole) <= MAX_STEM:
        return None
    cut = whole.encode("utf-16-le", "surrogatepass")[: 2 * MAX_STEM]
    return cut.decode("utf-16-le", "surrogatepass"), number


def split_number(name: str) -> tuple[str, str]:
    """Split `x(1).jpg` into `x` and "1"; without a number, that is ""."""
    extension = get_extension(name)
    stem = name[: -len(extension) - 1] if extension else name
    match = NUMBER_PATTERN.fullmatch(stem)
    return (match["name"], match["number"]) if match else (stem, "")


def find_original(name: str) -> str | None:
    """Return the stem of the picture that `name` is an edited version of: `x(1)` for
    `x-edited(1).jpg`; None if it is none."""
    stem, number = split_number(name)
    match = EDITED_PATTERN.fullmatch(stem)
    return match["name"] + (f"({number})" if number else "") if match else None


def is_takeout(value: Mapping[str, object]) -> bool:
    """Whether a JSON object is what Google Takeout writes about a picture or an album."""
    is_album = "albumData" in value or ("access" in value and isinstance(value.get("date"), dict))
    return is_album or "photoTakenTime" in value


def parse_takeout(value: Mapping[str, object], source: str) -> FileCaptions:
    """Read what is written about a picture: its description, date, place, people and whether it is
    a favorite. Its title is the name of a file, and an album says nothing about one picture.

    Args:
        value: The JSON object of a sidecar.
        source: `Caption.source` of the description.
    """
    taken_time = value.get("photoTakenTime")
    if not isinstance(taken_time, dict):
        return FileCaptions()
    description, people = value.get("description"), value.get("people")
    text = description if isinstance(description, str) else ""
    taken = parse_timestamp(taken_time.get("timestamp"))
    people = people if isinstance(people, list) else []
    names = [person.get("name") for person in people if isinstance(person, dict)]
    places = (value.get(key) for key in ("geoData", "geoDataExif"))
    return FileCaptions(
        merge_captions([make_caption(text, None, source)]),
        normalize_tags(name for name in names if isinstance(name, str)),
        {"favorite": "true"} if value.get("favorited") is True else {},
        taken=Taken(taken, "takeout") if taken else None,
        place=choose_place(
            make_place(place.get("latitude"), place.get("longitude"), "takeout")
            for place in places
            if isinstance(place, dict)
        ),
    )


def _insert_number(name: str, number: str) -> Iterator[str]:
    if not number:
        yield name
        return
    stem, dot, extension = name.rpartition(".")
    if dot:
        yield f"{stem}({number}).{extension}"
    yield f"{name}({number})"


def _count_units(name: str) -> int:
    """Return the length of a name in UTF-16, as Java and JavaScript count."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2
