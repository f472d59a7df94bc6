import polars as pl
import pytest

from modelbook.errors import DataInvalidError
from modelbook.scaffold.facts import ColumnFacts, measure


def fact(values: object, **options: object) -> ColumnFacts:
    (found,) = measure(pl.LazyFrame({"x": pl.Series("x", values, **options)}))
    return found


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", None], "integer"),
        (["880.0", "41.0"], "float"),
        (["1e3", "2.5"], "float"),
        (["true", "False"], "boolean"),
        (["yes", "no"], "string"),
        (["2021-03-25", "2021-03-26 10:00"], "datetime"),
        (["25.3.2021", "26.3.2021"], "datetime"),
        (["1,234", "12,345"], "string"),
        (["01234", "99999"], "string"),
        (["a", "b"], "string"),
        (["12345678901234567890123", "1"], "float"),
        ([None, ""], "string"),
        ([1, 2], "integer"),
        ([1.5, None], "float"),
        ([True, None], "boolean"),
        ([[1], [2]], None),
    ],
)
def test_type(values: list[object], kind: str | None):
    """Text is of the type that its values can be read as; codes and yes or no stay text."""
    assert fact(values, strict=False).type == kind


def test_categorical_is_text():
    """Columns that Polars calls categorical or enum are text."""
    assert fact(["a", "b"], dtype=pl.Categorical).type == "string"
    assert fact(["a", "b"], dtype=pl.Enum(["a", "b"])).type == "string"


def test_missing_values():
    """Nulls, NaN and what other tools write for them count as missing in number columns."""
    assert fact([1.0, float("nan"), None]).nulls == 2
    assert fact(["1", "NA", "", None]).nulls == 3


def test_strays():
    """One unreadable value in a hundred does not make text of a number column; two do."""
    few = fact(["1"] * 99 + ["many"])
    assert (few.type, few.strays, few.values) == ("integer", 1, 99)
    assert fact(["1"] * 98 + ["many", "few"]).type == "string"


def test_range_and_counts():
    """Range, wholeness and different values are of the values as numbers."""
    found = fact(["1", "2.0", "2", None])
    assert (found.min, found.max, found.is_whole, found.distinct) == (1.0, 2.0, True, 2)
    assert not fact([0.5, 1.0]).is_whole


def test_seen():
    """Values are listed where there are at most twenty, the most frequent first, ties in order."""
    assert fact(["b", "a", "c", "c"]).seen == (("c", 2), ("a", 1), ("b", 1))
    assert fact([str(number) for number in range(21)]).seen == ()


def test_grouped_numbers():
    """The share of numbers written with separators between thousands is known."""
    assert fact(["1,234", "x"]).grouped_share == 0.5


def test_no_rows():
    """A table without rows has columns without values."""
    assert [found.values for found in measure(pl.LazyFrame(schema={"a": pl.String, "b": pl.Int64}))] == [0, 0]


def test_column_names_of_any_kind():
    """Names that Polars, regular expressions or our own labels could misread are just names."""
    names = ["count", "value", "rows", "", "a.b", "0", "né e", "$a^"]
    found = measure(pl.LazyFrame({name: ["a", "b", "a"] for name in names}))
    assert [(one.name, one.distinct) for one in found] == [(name, 2) for name in names]


@pytest.mark.parametrize("name", ["*", "^.*$"])
def test_names_that_are_patterns(name: str):
    """A name that would stand for other columns is refused."""
    with pytest.raises(DataInvalidError, match="reads as a pattern"):
        measure(pl.LazyFrame({name: [1], "b": [2]}))
