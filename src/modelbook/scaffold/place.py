"""Which two columns of a table say where a row is."""

import re
from collections.abc import Sequence

from modelbook.records import Record
from modelbook.scaffold.facts import ColumnFacts

# Between the ends of a name or of its words, as in start_lat and Latitude; not in "flat" or "latency".
_LATITUDE = re.compile(r"(^|.*[\W\d_])(latitude|lat)($|[\W\d_].*)")
_LONGITUDE = re.compile(r"(^|.*[\W\d_])(longitude|long|lon|lng)($|[\W\d_].*)")
_LATITUDES = (-90.0, 90.0)
_LONGITUDES = (-180.0, 360.0)
_FEWEST_PLACES = 20


class Place(Record):
    """The columns that say where a row is.

    Attributes:
        latitude: Degrees north.
        longitude: Degrees east.
    """

    latitude: str
    longitude: str


def find_place(facts: Sequence[ColumnFacts]) -> Place | None:
    """Return the first two columns that by name and range are latitude and longitude of one thing.

    Args:
        facts: Those of number columns that are going to be features, in the table's order.

    Example:
        >>> from modelbook.scaffold.facts import measure
        >>> import polars as pl
        >>> degrees = [number / 2 for number in range(60)]
        >>> find_place(measure(pl.LazyFrame({"start_lat": degrees, "start_lon": degrees})))
        Place(latitude='start_lat', longitude='start_lon')
    """
    east = {}
    for fact in reversed(facts):
        if (rest := _rest(fact, _LONGITUDE, _LONGITUDES)) is not None:
            east[rest] = fact.name
    for fact in facts:
        rest = _rest(fact, _LATITUDE, _LATITUDES)
        if rest is not None and rest in east:
            return Place(latitude=fact.name, longitude=east[rest])
    return None


def _rest(fact: ColumnFacts, name: re.Pattern[str], limits: tuple[float, float]) -> tuple[str, str] | None:
    """Return what a column's name says around the word; None where name or numbers are not of its kind."""
    found = name.fullmatch(fact.name.casefold())
    if found is None or fact.min is None or fact.max is None:
        return None
    is_in_range = limits[0] <= fact.min and fact.max <= limits[1]
    return (found[1], found[3]) if is_in_range and fact.distinct > _FEWEST_PLACES else None
