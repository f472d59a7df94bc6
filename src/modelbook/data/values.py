"""How the values of a column are read as the type that the schema gives it, and which count as missing."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from modelbook.config import ColumnSchema, ColumnType
from modelbook.data.dates import DATETIME, date_formats, read_dates
from modelbook.data.tables import column

DTYPES: dict[ColumnType, pl.DataType] = {
    "float": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "string": pl.String(),
    "datetime": DATETIME,
}
# What pandas, R and databases write where a value is missing; in text columns they are words like others.
_MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none")
_TRUE = ("true", "1", "yes", "1.0")
_FALSE = ("false", "0", "no", "0.0")
_EXACT_FLOATS = 2**53  # from here on a float64 no longer tells neighbouring integers apart


@dataclass(frozen=True)
class Reading:
    """A column read as a type.

    Attributes:
        value: The values in the type's dtype; null where missing or unreadable.
        is_missing: Where the table has no value; never null.
    """

    value: pl.Expr
    is_missing: pl.Expr

    @property
    def is_unreadable(self) -> pl.Expr:
        """Where the table has a value that the type does not take."""
        return self.value.is_null() & ~self.is_missing


def read_columns(table: pl.LazyFrame, types: Mapping[str, ColumnType]) -> dict[str, Reading]:
    """Return how each column is read as its type.

    Text is read with surrounding spaces ignored: numbers as Python writes them; true, false, yes, no, 1 and 0
    in any case; dates as `date_formats` has it. Empty text and NaN are missing; in columns that are not text
    so are the words NA, N/A, NaN, null and None. Whole numbers may be written as 3.0.

    Args:
        table: The table.
        types: The type of each column, all of which the table has.

    Example:
        >>> table = pl.LazyFrame({"rooms": ["3", "4.0", "many", ""]})
        >>> rooms = read_columns(table, {"rooms": "integer"})["rooms"]
        >>> table.select(rooms.value).collect()["rooms"].to_list()
        [3, 4, None, None]
        >>> table.select(rooms.is_unreadable).collect()["rooms"].to_list()
        [False, False, True, False]
    """
    dtypes = table.collect_schema()
    return {
        name: _reading_of_text(table, name, wanted)
        if _is_text(dtypes[name])
        else _reading_of_typed(name, dtypes[name], wanted)
        for name, wanted in types.items()
    }


def natural_type(dtype: pl.DataType) -> ColumnType | None:
    """Return the type that a dtype stands for; None for what no type takes, lists for example.

    Example:
        >>> natural_type(pl.Int32()), natural_type(pl.List(pl.Int32))
        ('integer', None)
    """
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "float"
    if dtype == pl.Boolean:
        return "boolean"
    if _is_time(dtype):
        return "datetime"
    return "string" if _is_text(dtype) else None


def derive_schema(table: pl.LazyFrame, *, tolerance: float = 0.0) -> dict[str, ColumnSchema]:
    """Return a schema that takes the table's columns as they are.

    Text columns become whole numbers, numbers, booleans or dates where their values allow it. Digits with a
    leading zero (post codes) stay text. Columns that no type takes (lists, bytes) are left out.

    Args:
        table: The table, for example a CSV file whose columns are all text.
        tolerance: The share of a text column's values, in [0, 1), that may not be of the type found.

    Example:
        >>> schema = derive_schema(pl.LazyFrame({"rooms": ["3", "4"], "zip": ["0123", "9410"]}))
        >>> {name: column.type for name, column in schema.items()}
        {'rooms': 'integer', 'zip': 'string'}
    """
    dtypes = table.collect_schema()
    types = {name: natural_type(dtype) for name, dtype in dtypes.items()}
    text = [name for name, dtype in dtypes.items() if _is_text(dtype)]
    types |= _types_of_text(table, text, tolerance)
    return {name: ColumnSchema(type=found) for name, found in types.items() if found is not None}


def _types_of_text(table: pl.LazyFrame, names: list[str], tolerance: float) -> dict[str, ColumnType]:
    candidates: tuple[ColumnType, ...] = ("integer", "float", "boolean", "datetime")
    counts = []
    for wanted in candidates:
        for name, reading in read_columns(table, dict.fromkeys(names, wanted)).items():
            known = (~reading.is_missing).sum()
            share = pl.when(known > 0).then(reading.is_unreadable.sum() / known).otherwise(1.0)
            counts.append(share.alias(f"{wanted}\0{name}"))
    coded = [
        column(name).cast(pl.String).str.contains(r"^\s*0\d").any().alias(f"coded\0{name}") for name in names
    ]
    if not names:
        return {}
    found = table.select(*counts, *coded).collect(engine="streaming").row(0, named=True)
    return {
        name: next(
            (
                wanted
                for wanted in candidates
                if found[f"{wanted}\0{name}"] <= tolerance
                and not (found[f"coded\0{name}"] and wanted in {"integer", "float"})
            ),
            "string",
        )
        for name in names
    }


def _reading_of_typed(name: str, dtype: pl.DataType, wanted: ColumnType) -> Reading:
    raw = column(name)
    is_missing = raw.is_null() | raw.is_nan() if dtype.is_float() else raw.is_null()
    value = _converted(raw, dtype, wanted)
    return Reading(pl.when(~is_missing).then(value).cast(DTYPES[wanted]).alias(name), is_missing)


def _reading_of_text(table: pl.LazyFrame, name: str, wanted: ColumnType) -> Reading:
    text = column(name).cast(pl.String)
    bare = text.str.strip_chars()
    if wanted == "string":
        is_missing = text.is_null() | (bare == "")
        return Reading(pl.when(~is_missing).then(text).alias(name), is_missing)
    is_missing = text.is_null() | bare.str.to_lowercase().is_in(_MISSING_WORDS)
    if wanted == "datetime":
        value = read_dates(name, date_formats(table, name))
    else:
        value = {"float": _number, "integer": _whole_number, "boolean": _truth}[wanted](bare)
    return Reading(pl.when(~is_missing).then(value).alias(name), is_missing)


def _number(text: pl.Expr) -> pl.Expr:
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def _whole_number(text: pl.Expr) -> pl.Expr:
    return pl.coalesce(text.cast(pl.Int64, strict=False), _whole(_number(text)))


def _whole(number: pl.Expr) -> pl.Expr:
    is_whole = (number == number.floor()) & (number.abs() < _EXACT_FLOATS)
    return pl.when(is_whole).then(number).cast(pl.Int64, strict=False)


def _truth(text: pl.Expr) -> pl.Expr:
    word = text.str.to_lowercase()
    return pl.when(word.is_in(_TRUE)).then(statement=True).when(word.is_in(_FALSE)).then(statement=False)


def _converted(raw: pl.Expr, dtype: pl.DataType, wanted: ColumnType) -> pl.Expr:
    """Return a column that is no text in the wanted type, null where a value has no place in it."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return _converted_number(raw, dtype, wanted)
    if wanted == "datetime" and _is_time(dtype):
        return _as_utc(raw, dtype)
    if wanted == "string" and dtype.is_temporal():
        return raw.cast(pl.String)
    return pl.lit(None)


def _converted_number(raw: pl.Expr, dtype: pl.DataType, wanted: ColumnType) -> pl.Expr:
    number = raw.cast(pl.Float64)
    match wanted:
        case "float":
            return number
        case "integer":
            is_exact = dtype.is_integer() or dtype == pl.Boolean
            return raw.cast(pl.Int64, strict=False) if is_exact else _whole(number)
        case "boolean":
            return pl.when(number == 1).then(statement=True).when(number == 0).then(statement=False)
        case "string":
            return raw.cast(pl.String)
        case "datetime":
            return pl.lit(None)


def _as_utc(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return raw.cast(DATETIME)


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def _is_time(dtype: pl.DataType) -> bool:
    return dtype in (pl.Date, pl.Datetime)
