"""The columns that a model takes, read out of a table that somebody brings to be predicted on."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import polars as pl

from modelbook.config import ColumnType
from modelbook.data.tables import column
from modelbook.data.values import Reading, read_columns
from modelbook.errors import DataInvalidError
from modelbook.records import ModelRecord

_EXPECTED: dict[ColumnType, str] = {
    "float": "a number (float)",
    "integer": "a whole number (integer)",
    "boolean": "true or false (boolean)",
    "string": "text (string)",
    "datetime": "a date or time (datetime)",
}
_UNREADABLE = "\0unreadable "  # no column of a table can have a name with a zero byte in it
_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class TypedRows:
    """Rows with a model's columns in their types.

    Attributes:
        table: The columns, `(n_rows, n_columns)`, null where a value is missing.
        gaps: Missing values by column, where the schema of training allows none.
    """

    table: pl.DataFrame
    gaps: dict[str, int]

    @property
    def frame(self) -> pd.DataFrame:
        """The columns as the model takes them."""
        return self.table.to_pandas()


class InputReader:
    """Reads rows as the types that a model takes, the way validation read them before training.

    Args:
        table: The whole table: how a column writes its dates shows in all of its rows.
        record: The model.
        where: What the table is called in errors.

    Raises:
        DataInvalidError: The table lacks columns that the model takes.

    Example:
        >>> from modelbook.records import InputColumn
        >>> record = ModelRecord.model_construct(
        ...     inputs=(InputColumn(name="rooms", type="float", nullable=True),)
        ... )
        >>> table = pl.DataFrame({"rooms": ["3", "n/a"], "street": ["A", "B"]})
        >>> InputReader(table.lazy(), record, where="houses.csv").read(table, 0).table["rooms"].to_list()
        [3.0, None]
    """

    def __init__(self, table: pl.LazyFrame, record: ModelRecord, *, where: str) -> None:
        self._where = where
        self._types = {name.name: name.type for name in record.inputs}
        self._never_missing = [name.name for name in record.inputs if not name.nullable]
        _check_present(list(self._types), table.collect_schema().names(), where)
        self._readings: dict[str, Reading] = read_columns(table, self._types)

    @property
    def names(self) -> list[str]:
        """The columns that the model takes, in its order."""
        return list(self._types)

    def read(self, rows: pl.DataFrame, first: int) -> TypedRows:
        """Return rows in the types that the model takes.

        Args:
            rows: Rows of the table.
            first: How many rows of the table come before them.

        Raises:
            DataInvalidError: A value is not of its column's type.
        """
        found = rows.select(
            *(reading.value.alias(name) for name, reading in self._readings.items()),
            *(reading.is_unreadable.alias(_UNREADABLE + name) for name, reading in self._readings.items()),
        )
        for name in self._types:
            self._check_readable(name, found[_UNREADABLE + name], first)
        table = found.select(column(name) for name in self._types)
        gaps = {name: table[name].null_count() for name in self._never_missing}
        return TypedRows(table, {name: count for name, count in gaps.items() if count})

    def _check_readable(self, name: str, is_unreadable: pl.Series, first: int) -> None:
        if (at := is_unreadable.arg_max()) is None or not is_unreadable[at]:
            return
        raise DataInvalidError(
            "a value is not of the type that the model takes",
            where=f"{self._where}: column {name!r}, row {first + at + 1}",
            expected=_EXPECTED[self._types[name]],
            hint="mend the value, or leave it empty where it is not known; rows are counted from 1",
        )


def _check_present(wanted: Sequence[str], columns: Sequence[str], where: str) -> None:
    missing = [name for name in wanted if name not in columns]
    if not missing:
        return
    near = {name: difflib.get_close_matches(name, columns, n=3, cutoff=0.5) for name in missing}
    offers = [f"{name!r}: did you mean {_named(found)}?" for name, found in near.items() if found]
    raise DataInvalidError(
        "the table lacks columns that the model takes",
        where=where,
        got=f"no {_named(missing)} among the columns {_named(columns)}",
        expected=_named(wanted),
        hint="; ".join([*offers, "give the columns the names that they had in training"]),
    )


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    shown = ", ".join(repr(name) for name in names[:_NAMED_AT_MOST])
    return f"{shown} and {more} more" if more > 0 else shown
