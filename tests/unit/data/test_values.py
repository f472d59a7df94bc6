"""How values are read as the types of a schema."""

# ruff: noqa: DTZ001 (dates in a table have no zone)
from datetime import date, datetime
from decimal import Decimal

import polars as pl
import pytest

from modelbook.data.values import DTYPES, derive_schema, natural_type, read_columns


def read(values, wanted, dtype=None):
    """Return each value read as a type, with "bad" for an unreadable one."""
    table = pl.LazyFrame({"x": pl.Series(values, dtype=dtype)})
    reading = read_columns(table, {"x": wanted})["x"]
    found = table.select(value=reading.value, bad=reading.is_unreadable, gap=reading.is_missing).collect()
    assert found.schema["value"] == DTYPES[wanted]
    assert found["gap"].null_count() == 0
    return ["bad" if bad else value for value, bad in zip(found["value"], found["bad"], strict=True)]


@pytest.mark.parametrize("word", [None, "", "  ", "NA", "n/a", "NaN", "null", "None"])
@pytest.mark.parametrize("wanted", ["float", "integer", "boolean", "datetime"])
def test_missing_words(word, wanted):
    """In columns that are not text these words stand for a missing value."""
    assert read([word], wanted, pl.String) == [None]


def test_words_stay_words_in_text():
    """In a text column only empty text is missing, and values keep their spaces."""
    assert read(["NA", "none", "", "  ", None, " a "], "string") == ["NA", "none", None, None, None, " a "]


def test_numbers_in_text():
    """Numbers are read as Python writes them; everything else is unreadable."""
    texts = ["1", " 1.5 ", "-2e3", "+5", ".5", "1,000", "1_000", "0x10", "one", "1 2"]
    assert read(texts, "float") == [1.0, 1.5, -2000.0, 5.0, 0.5, "bad", "bad", "bad", "bad", "bad"]
    assert read(["inf", "1e400"], "float") == [float("inf")] * 2


def test_whole_numbers_in_text():
    """Whole numbers may be written as floats; fractions and what 64 bits do not hold are unreadable."""
    texts = ["3", "3.0", "-1e3", "3.5", "9007199254740993", "12345678901234567890", "inf", "x"]
    assert read(texts, "integer") == [3, 3, -1000, "bad", 9007199254740993, "bad", "bad", "bad"]


def test_booleans_in_text():
    """True and false are read in words and digits."""
    texts = ["true", "FALSE", "Yes", "no", "1", "0", "1.0", " True ", "2", "maybe"]
    assert read(texts, "boolean") == [True, False, True, False, True, False, True, True, "bad", "bad"]


@pytest.mark.parametrize(
    ("values", "dtype", "wanted", "expected"),
    [
        ([1, None], pl.Int8, "float", [1.0, None]),
        ([1.5, float("nan"), None], pl.Float32, "float", [1.5, None, None]),
        ([Decimal("1.5")], None, "float", [1.5]),
        ([True], None, "float", [1.0]),
        ([date(2021, 1, 1)], None, "float", ["bad"]),
        ([[1.0]], None, "float", ["bad"]),
        ([3.0, 3.5, float("inf"), float("nan")], None, "integer", [3, "bad", "bad", None]),
        ([2**63], pl.UInt64, "integer", ["bad"]),
        ([1, 0, 2], None, "boolean", [True, False, "bad"]),
        ([1, None], None, "string", ["1", None]),
        ([b"x"], None, "string", ["bad"]),
        (["a", None], pl.Categorical, "string", ["a", None]),
        (["1", "x"], pl.Enum(["1", "x"]), "float", [1.0, "bad"]),
        ([date(2021, 1, 2)], None, "datetime", [datetime(2021, 1, 2)]),
        ([datetime(2021, 1, 2, 3)], pl.Datetime("ns"), "datetime", [datetime(2021, 1, 2, 3)]),
        ([1614816000], None, "datetime", ["bad"]),
        ([None], pl.Null, "float", [None]),
    ],
)
def test_typed_columns(values, dtype, *, wanted, expected):
    """Columns that have a type already are taken where their values have a place in the wanted one."""
    assert read(values, wanted, dtype) == expected


def test_offsets_become_utc():
    """A datetime with a zone is turned into UTC and loses it."""
    values = pl.Series([datetime(2021, 7, 1, 12)]).dt.replace_time_zone("Europe/Berlin")
    assert read(values, "datetime", values.dtype) == [datetime(2021, 7, 1, 10)]


def test_natural_types():
    """Each dtype stands for one type, or for none."""
    dtypes = [pl.Int8(), pl.Float32(), pl.Boolean(), pl.String(), pl.Date(), pl.Binary(), pl.List(pl.Int8)]
    assert [natural_type(dtype) for dtype in dtypes] == [
        *("integer", "float", "boolean", "string", "datetime"),
        *(None, None),
    ]


def test_schema_of_text():
    """Text columns take the narrowest type that all of their values have."""
    table = pl.LazyFrame(
        {
            "whole": ["1", "2.0", None],
            "number": ["1", "2.5", ""],
            "truth": ["yes", "no", None],
            "day": ["2021-01-02", "03.01.2021", None],
            "word": ["a", "b", None],
            "post code": ["01067", "94110", None],
            "nothing": pl.Series([None, None, None], dtype=pl.String),
            "list": [[1], [2], None],
        }
    )
    assert {name: column.type for name, column in derive_schema(table).items()} == {
        "whole": "integer",
        "number": "float",
        "truth": "boolean",
        "day": "datetime",
        "word": "string",
        "post code": "string",
        "nothing": "string",
    }


def test_schema_with_tolerance():
    """A share of values may be of another type."""
    table = pl.LazyFrame({"x": [*map(str, range(99)), "x"]})
    assert derive_schema(table)["x"].type == "string"
    assert derive_schema(table, tolerance=0.01)["x"].type == "integer"


def test_schema_of_categories():
    """Columns that pandas or Polars hold as categories are read as the text that they stand for."""
    table = pl.LazyFrame({"word": ["a", "b"], "whole": ["1", "2"]}, schema_overrides={"word": pl.Categorical})
    table = table.with_columns(pl.col("whole").cast(pl.Categorical))
    types = {name: column.type for name, column in derive_schema(table).items()}
    assert types == {"word": "string", "whole": "integer"}


def test_schema_of_no_columns():
    """A table without columns has an empty schema."""
    assert derive_schema(pl.LazyFrame()) == {}
