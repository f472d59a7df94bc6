"""Values as JSON has them, read as the types that a model takes: nothing is converted that loses anything."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbook.config import ColumnType
from modelbook.errors import DataInvalidError
from modelbook.records import InputColumn
from modelbook.serving.refusal import MISTAKES_NAMED, Mistake, RequestRefusedError
from modelbook.serving.runtime import Rows

_EXACT_FLOATS = 2**53  # from here on a float64 no longer tells neighbouring integers apart
_NONE = type(None)
_NUMBERS = frozenset({float, int, _NONE})
_WHOLE = frozenset({int, _NONE})
_TRUTHS = frozenset({bool, _NONE})
_TEXTS = frozenset({str, _NONE})
_LONGEST_TIME = 40
_NUMERIC = frozenset({"float", "integer", "boolean"})

_EXPECTED: dict[ColumnType, str] = {
    "float": "a number (float)",
    "integer": "a whole number below 2**53 (integer)",
    "boolean": "true or false (boolean)",
    "string": "text (string)",
    "datetime": "a date or time as ISO 8601 has it (datetime)",
}
_KINDS = {bool: "true or false", str: "text", list: "a list", dict: "an object", float: "a number"}
_KINDS |= {int: "a whole number"}

Values = Sequence[Any]
Array = npt.NDArray[Any]


class Unreadable:
    """Stands where text could not be read as the type of its column."""


class RowReader:
    """Reads the columns of a request as a model takes them.

    Args:
        inputs: The columns that the model takes.

    Example:
        >>> reader = RowReader([InputColumn(name="rooms", type="integer", nullable=True)])
        >>> reader.read({"rooms": [3, None, 4.0]})["rooms"]
        array([ 3., nan,  4.])
    """

    def __init__(self, inputs: Sequence[InputColumn]) -> None:
        self.types: dict[str, ColumnType] = {column.name: column.type for column in inputs}
        self._readers = [(column.name, _READERS[column.type]) for column in inputs]
        self._numbers = [(column.name, column.type) for column in inputs if column.type in _NUMERIC]
        self._names = [name for name, _ in self._numbers]
        self._others = [(name, read) for name, read in self._readers if self.types[name] not in _NUMERIC]

    def read(self, columns: Mapping[str, Values]) -> Rows:
        """Return one array for each column, `(n_rows,)`.

        Args:
            columns: The values of each column that the model takes, as JSON has them; None where missing.

        Raises:
            RequestRefusedError: A value is not of its column's type; the first mistakes are named.
        """
        if self._names and len(columns[self._names[0]]) == 1 and (row := self._read_row(columns)) is not None:
            return row
        rows: dict[str, Array] = {}
        for name, read in self._readers:
            array = read(columns[name])
            if array is None:
                raise self._refusal(columns)
            rows[name] = array
        return rows

    def _read_row(self, columns: Mapping[str, Values]) -> Rows | None:
        """Return one row, or None where a value is not of its column's type: all numbers become one array."""
        numbers = []
        for name, kind in self._numbers:
            value = columns[name][0]
            if not _is_number(value, kind):
                return None
            numbers.append(value)
        table = np.array(numbers, dtype=np.float64)
        rows: dict[str, Array] = dict(zip(self._names, table[:, None], strict=True))
        for name, read in self._others:
            array = read(columns[name])
            if array is None:
                return None
            rows[name] = array
        return rows

    def _refusal(self, columns: Mapping[str, Values]) -> RequestRefusedError:
        mistakes: list[Mistake] = []
        found = 0
        for mistake in self._mistakes(columns):
            found += 1
            if len(mistakes) < MISTAKES_NAMED:
                mistakes.append(mistake)
        return RequestRefusedError(
            "values are not of the types that the model takes",
            cause="type",
            mistakes=mistakes,
            mistakes_found=found,
        )

    def _mistakes(self, columns: Mapping[str, Values]) -> Iterator[Mistake]:
        for name, read in self._readers:
            if read(columns[name]) is not None:
                continue
            kind = self.types[name]
            for row, value in enumerate(columns[name]):
                if read((value,)) is None:
                    yield Mistake(name, row, f"expected {_EXPECTED[kind]}, got {_described(value, kind)}")


def refuse_gaps(error: DataInvalidError, rows: Rows, inputs: Sequence[InputColumn]) -> RequestRefusedError:
    """Return the refusal of rows that a model does not take, with the places of the values that they lack.

    Columns that had no gaps in training come first.

    Example:
        >>> inputs = [InputColumn(name="rooms", type="integer", nullable=True)]
        >>> refuse_gaps(DataInvalidError("no"), {"rooms": np.array([3.0, np.nan])}, inputs).message
        "no: column 'rooms', row 1: a value is missing"
    """
    mistakes: list[Mistake] = []
    found = 0
    for column in sorted(inputs, key=lambda column: column.nullable):
        gaps = np.flatnonzero(_is_missing(rows[column.name]))
        problem = (
            "a value is missing" if column.nullable else "a value is missing; in training each row had one"
        )
        mistakes.extend(Mistake(column.name, int(row), problem) for row in gaps[:MISTAKES_NAMED])
        found += len(gaps)
    return RequestRefusedError(error.what, cause="rows", mistakes=mistakes, mistakes_found=found)


def _is_missing(values: Array) -> npt.NDArray[np.bool_]:
    if values.dtype == object:
        return np.array([value is None for value in values], dtype=np.bool_)
    return np.asarray(values != values)  # noqa: PLR0124 (NaN and NaT are not what they are)


def _is_number(value: Any, kind: ColumnType) -> bool:
    """Return whether a value is one of a column of numbers or truth values."""
    if value is None:
        return True
    given = type(value)
    if kind == "float":
        return given is int or (given is float and not math.isinf(value))
    if kind == "boolean":
        return given is bool
    if given is int:
        return bool(-_EXACT_FLOATS < value < _EXACT_FLOATS)
    return given is float and value.is_integer() and -_EXACT_FLOATS < value < _EXACT_FLOATS


def _described(value: Any, wanted: ColumnType) -> str:
    """Return what kind of thing a value is, without the value."""
    kind = type(value)
    if kind is Unreadable:
        return "other text"
    if kind is float and math.isinf(value):
        return "infinity"
    if wanted == "integer" and kind is float:
        return "a number that is not" if abs(value) < _EXACT_FLOATS else "a number beyond that"
    if wanted == "integer" and kind is int:
        return "a number beyond that"
    if wanted == "datetime" and kind is str:
        return "other text"
    return _KINDS.get(kind, kind.__name__)


def _floats(values: Values) -> Array | None:
    if not _NUMBERS.issuperset(map(type, values)):
        return None
    array = np.array(values, dtype=np.float64)
    return None if np.isinf(array).any() else array


def _integers(values: Values) -> Array | None:
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS:
        return None
    array = np.array(values, dtype=np.float64)
    if kinds <= _WHOLE:
        is_well = not (np.abs(array) >= _EXACT_FLOATS).any()
    else:
        is_well = bool(
            (np.isnan(array) | ((array == np.floor(array)) & (np.abs(array) < _EXACT_FLOATS))).all()
        )
    return array if is_well else None


def _truths(values: Values) -> Array | None:
    if not _TRUTHS.issuperset(map(type, values)):
        return None
    return np.array(values, dtype=np.float64)


def _texts(values: Values) -> Array | None:
    """Return texts as training read them: what is blank is missing."""
    if not _TEXTS.issuperset(map(type, values)):
        return None
    array = np.empty(len(values), dtype=object)
    array[:] = [value if value and not value.isspace() else None for value in values]
    return array


def _times(values: Values) -> Array | None:
    if not _TEXTS.issuperset(map(type, values)):
        return None
    try:
        return np.array([_time(value) for value in values], dtype="datetime64[us]")
    except (ValueError, OverflowError):
        return None


def _time(text: str | None) -> datetime | None:
    """Return a time in UTC without its zone, as training has it; one without a zone is as it stands."""
    if text is None:
        return None
    if len(text) > _LONGEST_TIME:
        raise ValueError("no time is that long")
    moment = datetime.fromisoformat(text.strip().upper())
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


_READERS: dict[ColumnType, Callable[[Values], Array | None]] = {
    "float": _floats,
    "integer": _integers,
    "boolean": _truths,
    "string": _texts,
    "datetime": _times,
}
