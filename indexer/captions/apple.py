"""Apple's copy of an iCloud library: its tables `Photo Details.csv`, `Photo Details-1.csv`, ...

The date in them is that of the library, in UTC; the files themselves have the date of the copy.
"""

from __future__ import annotations

import re

from indexer.captions.dates import Taken, parse_date
from indexer.captions.normalize import FileCaptions, Row

STEM_PATTERN = re.compile(r"photo details(-\d+)?")
DATE_COLUMN, FAVORITE_COLUMN = "originalCreationDate", "favorite"
DATE_PATTERN = re.compile(  # Saturday January 15,2022 7:31 PM GMT
    r"\w+ (?P<month>\w+) (?P<day>\d\d?), ?(?P<year>\d{4}) (?P<hour>\d\d?):(?P<minute>\d\d)\s"
    r"(?P<half>[AP])M GMT"
)
_MONTH_LIST = (
    "January February March April May June July August September October November December"
)
MONTHS = {name: number for number, name in enumerate(_MONTH_LIST.split(), 1)}


def is_apple_row(row: Row) -> bool:
    """Whether a row of a table is one of Apple's."""
    return DATE_COLUMN in row and "fileChecksum" in row


def parse_apple_row(row: Row) -> FileCaptions:
    """Read when an image was taken, and whether it is a favorite."""
    date = _parse_date(str(row[DATE_COLUMN]))
    is_favorite = str(row.get(FAVORITE_COLUMN, "")).lower() == "yes"
    return FileCaptions(
        meta={"favorite": "true"} if is_favorite else {},
        taken=Taken(date, "apple") if date else None,
    )


def _parse_date(text: str) -> str | None:
    match = DATE_PATTERN.fullmatch(text.strip())
    if not match:
        return None
    month, day = MONTHS.get(match["month"], 0), int(match["day"])
    hour = int(match["hour"]) % 12 + 12 * (match["half"] == "P")
    time = f"{hour:02}:{match['minute']}:00+00:00"
    return parse_date(f"{match['year']}-{month:02}-{day:02} {time}")
