"""Facts about what a new project sees in the names and numbers of its columns together."""

import numpy as np
import polars as pl
import pytest

from modelbook.scaffold.facts import measure
from modelbook.scaffold.place import find_place
from modelbook.scaffold.profile import decide
from modelbook.scaffold.ratios import find_ratios

DEGREES = [number / 4 for number in range(100)]


def place(**columns):
    found = find_place(measure(pl.LazyFrame(columns)))
    return (found.latitude, found.longitude) if found else None


@pytest.mark.parametrize(
    ("north", "east"),
    [
        ("latitude", "longitude"),
        ("lat", "lon"),
        ("Latitude", "Longitude"),
        ("LAT", "LNG"),
        ("pickup_latitude", "pickup_longitude"),
        ("lat_start", "long_start"),
        ("home lat", "home long"),
    ],
)
def test_names_of_a_place(north, east):
    """However they are written, in either order."""
    assert place(**{north: DEGREES, east: DEGREES}) == (north, east)
    assert place(**{east: DEGREES, north: DEGREES}) == (north, east)


@pytest.mark.parametrize(
    ("north", "east"),
    [("flat", "longest"), ("latency", "longitude"), ("start_lat", "end_lon"), ("lat", "width"), ("x", "y")],
)
def test_names_of_something_else(north, east):
    """Parts of other words are not latitude and longitude, nor are those of two things."""
    assert place(**{north: DEGREES, east: DEGREES}) is None


@pytest.mark.parametrize(
    ("north", "east"),
    [
        ([91.0 + number for number in range(100)], DEGREES),
        (DEGREES, [number * 10.0 for number in range(100)]),
        ([1.0, 2.0] * 50, DEGREES),
    ],
)
def test_numbers_of_something_else(north, east):
    """Degrees have a range, and rows that lie in two places have no neighbourhood."""
    assert place(lat=north, lon=east) is None


def test_the_first_of_two_places():
    """In the table's order."""
    names = ("to_lat", "to_lon", "at_lat", "at_lon")
    assert place(**dict.fromkeys(names, DEGREES)) == ("to_lat", "to_lon")


def test_the_decision_is_in_words():
    """Both columns stay numbers, and each says what else it is."""
    table = pl.LazyFrame({"y": [number + 0.5 for number in range(100)], "lat": DEGREES, "lon": DEGREES})
    profile = decide(measure(table), target="y")
    assert profile.place is not None
    assert [column.why for column in profile.columns[1:]] == [
        "numbers, by name and range the latitude: features.geography",
        "numbers, by name and range the longitude: features.geography",
    ]


def test_the_target_is_no_place():
    """A latitude to predict is not used to predict it."""
    profile = decide(measure(pl.LazyFrame({"lat": DEGREES, "lon": DEGREES})), target="lat")
    assert profile.place is None


def test_counts_that_rise_together():
    """Those that do are taken by the smallest; one that does not, and one that is no count, are not."""
    rng = np.random.default_rng(0)
    homes = rng.integers(1, 1000, 500)
    table = pl.LazyFrame(
        {
            "rooms": homes * 5 + rng.integers(0, 50, 500),
            "people": [*(homes * 3 + rng.integers(0, 40, 500)).tolist()[:-1], None],
            "homes": homes,
            "trees": rng.integers(0, 300, 500),
            "income": homes * 1.5 + 0.25,
            "debt": -5 * homes,
        }
    )
    assert find_ratios(table, measure(table)) == (("rooms", "homes"), ("people", "homes"))


def test_no_counts():
    """Grades, one count alone and the pixels of a picture are left as they are."""
    rng = np.random.default_rng(0)
    grades = pl.LazyFrame({"a": list(range(50)) * 10, "b": list(range(50)) * 10})
    alone = pl.LazyFrame({"a": rng.integers(0, 10_000, 500)})
    pixels = pl.LazyFrame({f"p{number}": list(range(500)) for number in range(31)})
    assert [find_ratios(table, measure(table)) for table in (grades, alone, pixels)] == [(), (), ()]
