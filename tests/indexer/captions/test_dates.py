"""Dates: what is one, which of several counts, and those of names."""

from __future__ import annotations

import pytest

from indexer.captions.dates import Taken, choose_taken, parse_date, parse_name, parse_timestamp


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024:05:17 18:30:00", "2024-05-17T18:30:00"),
        ("2024-05-17T18:30:00", "2024-05-17T18:30:00"),
        ("2024/05/17", "2024-05-17"),
        ("2024.05.17", "2024-05-17"),
        ("20240517", "2024-05-17"),
        ("\0 2024-05-17\t\r\n", "2024-05-17"),
        ("1800-01-01", "1800-01-01"),
        ("2200", "2200"),
        ("1799", None),
        ("2201", None),
        ("1993:00:00 00:00:00", "1993"),
        ("1993:07:00 00:00:00", "1993-07"),
        ("1993:00:17", "1993"),
        ("1993:  :  ", "1993"),
        ("1993-13", None),
        ("1993-02-30", None),
        ("2024:05:17   :  :  ", "2024-05-17"),
        ("2024:05:17 25:00:00", None),
        ("2024:05:17 18:30:00.25", "2024-05-17T18:30:00"),
        ("2024-05-17T18:30:00+02:00", "2024-05-17T18:30:00+02:00"),
        ("2024:05:17 18:30:00" + " " * 50, "2024-05-17T18:30:00"),
        ("", None),
        ("yesterday", None),
        ("12345678901", None),
    ],
)
def test_what_is_a_date(text, iso):
    assert parse_date(text) == iso


def test_the_time_zone_counts_where_the_date_has_none():
    assert parse_date("2024-05-17 18:30", "+02:00") == "2024-05-17T18:30:00+02:00"
    assert parse_date("2024-05-17 18:30", " -09:30\0") == "2024-05-17T18:30:00-09:30"
    assert parse_date("2024-05-17 18:30+01:00", "+02:00") == "2024-05-17T18:30:00+01:00"
    assert parse_date("2024-05-17 18:30", "Rome") == "2024-05-17T18:30:00"
    assert parse_date("2024-05-17", "+02:00") == "2024-05-17"


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        (1, "1970-01-01T00:00:01+00:00"),
        ("1562256000", "2019-07-04T16:00:00+00:00"),
        (-5364662400, "1800-01-01T00:00:00+00:00"),
        (-5364662401, None),
        (7289654399, "2200-12-31T23:59:59+00:00"),
        (7289654400, None),
        (10**30, None),
        ("0", None),
        (None, None),
    ],
)
def test_seconds_since_1970(value, iso):
    assert parse_timestamp(value) == iso


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("IMG_20190704.jpg", "2019-07-04"),
        ("IMG-20190704-WA0001.jpg", "2019-07-04"),
        ("20190704_101530.jpg", "2019-07-04T10:15:30"),
        ("PXL_20190704_101530123.jpg", "2019-07-04T10:15:30"),
        ("20190704101530.jpg", "2019-07-04T10:15:30"),
        ("2019-07-04 10.15.30.jpg", "2019-07-04T10:15:30"),
        ("Screenshot 2019-07-04 at 3.04.05 PM.png", "2019-07-04T15:04:05"),
        ("Screenshot 2019-07-04 at 3.04.05 p.m..png", "2019-07-04T15:04:05"),
        ("Screenshot 2019-07-04 at 12.04.05 AM.png", "2019-07-04T00:04:05"),
        ("Screenshot 2019-07-04 at 12.04.05 PM.png", "2019-07-04T12:04:05"),
        ("Screenshot 2019-07-04 at 00.04.05 AM.png", "2019-07-04T00:04:05"),
        ("Screenshot 2019-07-04 at 13.04.05 PM.png", "2019-07-04T13:04:05"),
        ("Bildschirmfoto 2019-07-04 um 10.15.30.png", "2019-07-04T10:15:30"),
        ("20190231 or 20190301.jpg", "2019-03-01"),
        ("20190231.jpg", None),
        ("120190704.jpg", None),
        ("201907041.jpg", None),
        ("18990704.jpg", None),
        ("cat.jpg", None),
    ],
)
def test_dates_in_names(name, date):
    assert parse_name(name) == (Taken(date, "name") if date else None)


CAMERA, EDITED = Taken("2019-07-04T10:00:00", "exif"), Taken("2020-01-01T10:00:00", "edited")


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([], None),
        ([None], None),
        ([EDITED, None, CAMERA], CAMERA),
        ([CAMERA, Taken("2018", "exif")], CAMERA),
        ([Taken("2019-01-01", "elsewhere"), EDITED], EDITED),
        ([CAMERA, Taken("1962", "sidecar")], Taken("1962", "sidecar")),
        # an online date that is near is less exact, one that is far away was corrected
        ([CAMERA, Taken("2019-07-05T22:00:00+00:00", "takeout")], CAMERA),
        (
            [CAMERA, Taken("2019-07-05T22:00:01+00:00", "takeout")],
            Taken("2019-07-05T22:00:01+00:00", "takeout"),
        ),
        ([CAMERA, Taken("2019-07-02T21:59:59Z", "apple")], Taken("2019-07-02T21:59:59Z", "apple")),
        ([Taken("2019-07", "xmp"), Taken("2019-07-31", "apple")], Taken("2019-07", "xmp")),
        ([Taken("2019-07", "xmp"), Taken("2019-08-01", "apple")], Taken("2019-08-01", "apple")),
        ([Taken("2019", "xmp"), Taken("2019-08-01", "apple")], Taken("2019", "xmp")),
        ([Taken("1962", "sidecar"), Taken("2019-08-01", "apple")], Taken("1962", "sidecar")),
    ],
)
def test_which_date_counts(candidates, chosen):
    assert choose_taken(candidates) == chosen
