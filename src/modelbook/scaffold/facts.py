"""What a table's columns hold, read as validation is going to read them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from polars import selectors as cs

from modelbook.config import ColumnType
from modelbook.data.values import Reading, natural_type, read_columns
from modelbook.errors import DataInvalidError
from modelbook.records import Record

MAX_SEEN = 20
"""The most different values of a column that are listed."""
_STRAY_SHARE = 0.01  # up to this share of values may be unreadable, for a column to count as numbers or dates
_EXACT_ROWS = 1_000_000
_TEXT_TYPES: tuple[ColumnType, ...] = ("integer", "float", "boolean", "datetime")
_WITH_FRACTION = r"^\s*[+-]?[\d.]+[.eE]"
_CODE = r"^\s*0\d"
_YES = r"(?i)^\s*(yes|no)\s*$"
_DATE_LIKE = (
    r"^\s*(\d{4}[-/]\d|\d{1,2}[./]\d{1,2}[./]\d{4}|\d{1,2} [A-Z][a-z]+ \d|[A-Z][a-z]+ \d{1,2}, \d|\d{8})"
)
_DATE_SHARE = 0.5  # columns with fewer values that begin like a date are not tried as dates
_GROUPED_NUMBER = r"^[+-]?\d{1,3}([,.' ]\d{3})+([.,]\d+)?$"

_COMMA_NUMBER = r"^\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*$"


class ColumnFacts(Record):
    """What one column holds.

    Attributes:
        name: The column.
        type: The type that its values can be read as; None for lists, structs and the like.
        stored_as: The type that the table gives it.
        rows: All rows.
        nulls: Missing values.
        strays: Values that the type does not take.
        infinite: Infinite numbers.
        distinct: Different values; approximate above a million rows.
        min: The smallest finite number.
        max: The largest finite number.
        is_whole: Whether all its numbers are whole.
        seen: Its values as text with the rows that hold them, where there are few; the most frequent first.
        mean_words: Words a text, on average.
        grouped_share: The share of texts that are numbers with separators between thousands, in [0, 1].
        comma_share: The share of texts that would be numbers with a point for their comma, in [0, 1].
    """

    name: str
    type: ColumnType | None
    stored_as: str
    rows: int
    nulls: int = 0
    strays: int = 0
    infinite: int = 0
    distinct: int = 0
    min: float | None = None
    max: float | None = None
    is_whole: bool = False
    seen: tuple[tuple[str, int], ...] = ()
    mean_words: float = 0.0
    grouped_share: float = 0.0
    comma_share: float = 0.0

    @property
    def values(self) -> int:
        """Rows that have a value of the type, and a finite one."""
        return self.rows - self.nulls - self.strays - self.infinite


def measure(table: pl.LazyFrame) -> tuple[ColumnFacts, ...]:
    """Return what each column of a table holds, in the table's order.

    Raises:
        DataInvalidError: A column's name is a pattern that stands for other columns.

    Example:
        >>> facts = measure(pl.LazyFrame({"a": ["1", "2", None], "b": ["x", "y", "x"]}))
        >>> [(fact.name, fact.type, fact.nulls, fact.distinct) for fact in facts]
        [('a', 'integer', 1, 2), ('b', 'string', 0, 2)]
    """
    table = table.with_columns((cs.categorical() | cs.enum()).cast(pl.String))
    dtypes = table.collect_schema()
    _check_names(dtypes)
    types = _types(table)
    rows = int(table.select(pl.len()).collect(engine="streaming").item())
    readings = read_columns(table, types)
    answers = _asked(
        table,
        {name: dict(_questions(reading, types[name], rows=rows)) for name, reading in readings.items()},
    )
    short = [name for name, answer in answers.items() if 0 < answer["distinct"] <= MAX_SEEN]
    seen = _seen(table, {name: readings[name] for name in short})
    return tuple(
        ColumnFacts(
            name=name,
            type=types.get(name),
            stored_as=str(dtype),
            rows=rows,
            seen=seen.get(name, ()),
            **answers.get(name, {"nulls": rows if dtype == pl.Null else 0}),
        )
        for name, dtype in dtypes.items()
    )


def _check_names(names: Iterable[str]) -> None:
    patterns = [name for name in names if name == "*" or (name.startswith("^") and name.endswith("$"))]
    if patterns:
        raise DataInvalidError(
            "the name of a column reads as a pattern for other columns",
            got=", ".join(patterns),
            expected="a name other than * and ^…$",
            hint="rename the columns in the source",
        )


def _types(table: pl.LazyFrame) -> dict[str, ColumnType]:
    """Return the type of each column that has one; text becomes what nearly all of it can be read as."""
    dtypes = table.collect_schema()
    text = [name for name, dtype in dtypes.items() if dtype == pl.String]
    looks = _asked(table, {name: _looks(pl.col(name)) for name in text})
    types: dict[str, ColumnType] = dict.fromkeys(text, "string")
    for kind in _TEXT_TYPES:
        candidates = [name for name in text if types[name] == "string" and _may_be(kind, looks[name])]
        readings = read_columns(table, dict.fromkeys(candidates, kind))
        strays = _asked(
            table,
            {
                name: {"strays": reading.is_unreadable.sum(), "known": (~reading.is_missing).sum()}
                for name, reading in readings.items()
            },
        )
        for name, count in strays.items():
            if count["known"] and count["strays"] <= _STRAY_SHARE * count["known"]:
                types[name] = kind
    found = {name: types.get(name) or natural_type(dtype) for name, dtype in dtypes.items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def _looks(column: pl.Expr) -> dict[str, pl.Expr]:
    return {
        "is_coded": column.str.contains(_CODE).any(),
        "has_fractions": column.str.contains(_WITH_FRACTION).any(),
        "says_yes": column.str.contains(_YES).any(),
        "date_share": column.str.contains(_DATE_LIKE).mean().fill_null(0.0),
    }


def _may_be(kind: ColumnType, looks: Mapping[str, Any]) -> bool:
    """Return whether text is to be read as a type if it can be.

    0123 is a code, 3.0 might have been 3.5, and where yes is to be predicted nobody expects true.
    """
    if kind == "datetime":
        return bool(looks["date_share"] >= _DATE_SHARE)
    if kind == "integer":
        return not (looks["is_coded"] or looks["has_fractions"])
    return not looks["says_yes" if kind == "boolean" else "is_coded"]


def _questions(reading: Reading, kind: ColumnType, *, rows: int) -> Iterator[tuple[str, pl.Expr]]:
    value = reading.value
    if kind == "float":
        yield "infinite", value.is_infinite().sum()
        value = pl.when(value.is_finite()).then(value)
    known = value.drop_nulls()
    yield "nulls", reading.is_missing.sum()
    yield "strays", reading.is_unreadable.sum()
    yield "distinct", known.n_unique() if rows <= _EXACT_ROWS else known.approx_n_unique()
    if kind in {"integer", "float"}:
        yield "min", value.min().cast(pl.Float64)
        yield "max", value.max().cast(pl.Float64)
        yield "is_whole", (known % 1 == 0).all()
    if kind == "string":
        yield "grouped_share", value.str.contains(_GROUPED_NUMBER).mean().fill_null(0.0)
        yield "comma_share", value.str.contains(_COMMA_NUMBER).mean().fill_null(0.0)
        yield "mean_words", (value.str.count_matches(r"\s+") + 1).mean().fill_null(0.0)


def _asked(table: pl.LazyFrame, questions: Mapping[str, Mapping[str, pl.Expr]]) -> dict[str, dict[str, Any]]:
    """Return the answers to all questions by column and label, in one pass over the rows."""
    asked = [(name, label) for name, labels in questions.items() for label in labels]
    if not asked:
        return {}
    query = [questions[name][label].alias(str(number)) for number, (name, label) in enumerate(asked)]
    answers = table.select(query).collect(engine="streaming").row(0)
    found: dict[str, dict[str, Any]] = {name: {} for name in questions}
    for (name, label), answer in zip(asked, answers, strict=True):
        found[name][label] = answer
    return found


def _seen(table: pl.LazyFrame, readings: Mapping[str, Reading]) -> dict[str, tuple[tuple[str, int], ...]]:
    counts = {
        name: {"seen": reading.value.alias("value").drop_nulls().value_counts(name="rows").implode()}
        for name, reading in readings.items()
    }
    return {name: _most_frequent(answer["seen"]) for name, answer in _asked(table, counts).items()}


def _most_frequent(counts: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
    pairs = [(str(count["value"]), int(count["rows"])) for count in counts]
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
