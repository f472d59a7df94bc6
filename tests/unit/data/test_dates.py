"""Dates as people and machines write them."""

# ruff: noqa: DTZ001 (dates in a table have no zone)
from datetime import datetime

import polars as pl
import pytest

from modelbook.data.dates import date_formats, read_dates


def read(*texts):
    table = pl.LazyFrame({"d": texts}, schema={"d": pl.String})
    return table.select(read_dates("d", date_formats(table, "d"))).collect()["d"].to_list()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-03-04", datetime(2021, 3, 4)),
        (" 2021-03-04 ", datetime(2021, 3, 4)),
        ("2021-03-04T05:06", datetime(2021, 3, 4, 5, 6)),
        ("2021-03-04 05:06:07", datetime(2021, 3, 4, 5, 6, 7)),
        ("2021-03-04T05:06:07.123456", datetime(2021, 3, 4, 5, 6, 7, 123456)),
        ("2021-03-04T05:06:07Z", datetime(2021, 3, 4, 5, 6, 7)),
        ("2021-03-04T05:06:07.5+02:00", datetime(2021, 3, 4, 3, 6, 7, 500000)),
        ("2021-03-04 05:06:07+0200", datetime(2021, 3, 4, 3, 6, 7)),
        ("2021/03/04", datetime(2021, 3, 4)),
        ("04.03.2021", datetime(2021, 3, 4)),
        ("04.03.2021 05:06", datetime(2021, 3, 4, 5, 6)),
        ("4 Mar 2021", datetime(2021, 3, 4)),
        ("Mar 4, 2021", datetime(2021, 3, 4)),
        ("4 March 2021", datetime(2021, 3, 4)),
        ("20210304", datetime(2021, 3, 4)),
        ("25/3/2021", datetime(2021, 3, 25)),
        ("3/25/2021 05:06", datetime(2021, 3, 25, 5, 6)),
    ],
)
def test_usual_ways(text, moment):
    """The usual ways of writing a date are read; an offset is turned into UTC."""
    assert read(text) == [moment]


@pytest.mark.parametrize(
    "text", ["soon", "2021-13-01", "2021-02-30", "21-01-02", "3/4/2021", "2021", "1614816000", "12:30"]
)
def test_not_a_date(text):
    """Anything else is not guessed at, a date with two readings neither."""
    assert read(text) == [None]


def test_mixed_ways_in_one_column():
    """One column may mix the ways; what none of them fits is null."""
    assert read("2021-03-04", "05.03.2021", None, "never", "2021-03-06T00:00:00Z") == [
        datetime(2021, 3, 4),
        datetime(2021, 3, 5),
        None,
        None,
        datetime(2021, 3, 6),
    ]


def test_column_shows_what_comes_first():
    """One value with a day above 12 settles the order for all, and contradictions settle nothing."""
    assert read("3/4/2021", "25/12/2020")[0] == datetime(2021, 4, 3)
    assert read("3/4/2021", "12/25/2020")[0] == datetime(2021, 3, 4)
    assert read("3/4/2021", "12/25/2020", "25/12/2020") == [None, None, None]
