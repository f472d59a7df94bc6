"""CSV in a request, its cells read as training reads a file, but times as in JSON: by ISO 8601 alone."""

import csv
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

from modelbook.config import ColumnType
from modelbook.serving.refusal import Mistake, RequestRefusedError
from modelbook.serving.rows import Unreadable

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})  # in text columns they are words like others
_TRUTHS = {"true": True, "1": True, "yes": True, "1.0": True}
_TRUTHS |= {"false": False, "0": False, "no": False, "0.0": False}
_UNREADABLE = Unreadable()

Columns = Mapping[str, Sequence[Any]]


def read_csv(text: str, types: Mapping[str, ColumnType]) -> tuple[Columns, int]:
    r"""Return the values of each column that a model takes, and how many rows there are.

    Raises:
        RequestRefusedError: It is no CSV with a header, its rows differ in length, or it lacks a column.

    Example:
        >>> read_csv("rooms,zone\n3,a\nNA,b\n", {"rooms": "integer", "zone": "string"})
        ({'rooms': [3.0, None], 'zone': ['a', 'b']}, 2)
    """
    names, cells = _cells(text)
    if missing := [Mistake(name, None, "missing") for name in types if name not in names]:
        raise RequestRefusedError("columns are missing", cause="columns", mistakes=missing)
    counts = Counter(names)
    if any(counts[name] > 1 for name in types):
        raise RequestRefusedError("a column occurs twice")
    columns = dict(zip(names, zip(*cells, strict=True) if cells else [()] * len(names), strict=True))
    return {name: list(map(_READERS[kind], columns[name])) for name, kind in types.items()}, len(cells)


def _cells(text: str) -> tuple[list[str], list[list[str]]]:
    try:
        rows = [row for row in csv.reader(StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        raise RequestRefusedError("the body is no CSV", cause="csv") from None
    if not rows:
        raise RequestRefusedError("the CSV has no header", cause="csv")
    names, *cells = rows
    if not {len(names)}.issuperset(map(len, cells)):
        row = next(number for number, values in enumerate(cells) if len(values) != len(names))
        raise RequestRefusedError(f"row {row} has not as many cells as the header", cause="csv")
    return [name.strip() for name in names], cells


def _number(cell: str) -> Any:
    try:
        value = float(cell)
    except ValueError:
        return None if cell.strip().lower() in _MISSING else _UNREADABLE
    if math.isnan(value):
        return None
    return value if math.isfinite(value) and "_" not in cell else _UNREADABLE


def _truth(cell: str) -> Any:
    word = cell.strip().lower()
    return None if word in _MISSING else _TRUTHS.get(word, _UNREADABLE)


def _time(cell: str) -> str | None:
    return None if cell.strip().lower() in _MISSING else cell


def _text(cell: str) -> str | None:
    return cell if cell.strip() else None


_READERS: dict[ColumnType, Callable[[str], Any]] = {
    "float": _number,
    "integer": _number,
    "boolean": _truth,
    "string": _text,
    "datetime": _time,
}
