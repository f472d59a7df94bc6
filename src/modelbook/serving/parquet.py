"""Parquet in a request, where it is switched on, its cells taken as the values that JSON would have."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from modelbook.config import ColumnType
from modelbook.serving.refusal import Mistake, RequestRefusedError

_MOST_ROWS = 1_000_000  # equal values take no room in a file: its size says little of what it holds

Columns = Mapping[str, Sequence[Any]]


def read_parquet(body: bytes, types: Mapping[str, ColumnType]) -> tuple[Columns, int]:
    """Return the values of each column that a model takes, and how many rows there are.

    Raises:
        RequestRefusedError: It is no Parquet, holds more than a million rows, or lacks a column.

    Example:
        >>> sink = pa.BufferOutputStream()
        >>> parquet.write_table(pa.table({"rooms": [3, None]}), sink)
        >>> read_parquet(sink.getvalue().to_pybytes(), {"rooms": "integer"})
        ({'rooms': [3, None]}, 2)
    """
    try:
        file = parquet.ParquetFile(pa.BufferReader(body))
        rows = file.metadata.num_rows
        if rows > _MOST_ROWS:
            raise RequestRefusedError(
                f"there are more than {_MOST_ROWS:,} rows", status=413, cause="too_large"
            )
        names = file.schema_arrow.names
        if missing := [Mistake(name, None, "missing") for name in types if name not in names]:
            raise RequestRefusedError("columns are missing", cause="columns", mistakes=missing)
        table = file.read(columns=list(types))
        return {name: [_plain(cell) for cell in table[name].to_pylist()] for name in types}, rows
    except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError):
        raise RequestRefusedError("the body is no Parquet", cause="parquet") from None


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it; NaN is missing there."""
    if isinstance(cell, date):  # a datetime is one, too
        return cell.isoformat()
    return None if cell != cell else cell  # noqa: PLR0124 (only NaN is unlike itself)
