"""Parquet in a request, where it is switched on, its cells taken as the values that JSON would have."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from modelbook.config import ColumnType
from modelbook.serving.refusal import Mistake, RequestRefusedError

# Equal values take no room in a file, and others little: its own size says nothing of what it holds.
_MOST_CELLS = 5_000_000
_MOST_BYTES = 200_000_000

Columns = Mapping[str, Sequence[Any]]


def read_parquet(body: bytes, types: Mapping[str, ColumnType]) -> tuple[Columns, int]:
    """Return the values of each column that a model takes, and how many rows there are.

    Texts come by their dictionary, so that one which is repeated is held once.

    Raises:
        RequestRefusedError: It is no Parquet, holds more than five million cells or 200 MB that the model
            takes, or lacks a column.

    Example:
        >>> sink = pa.BufferOutputStream()
        >>> parquet.write_table(pa.table({"rooms": [3, None]}), sink)
        >>> read_parquet(sink.getvalue().to_pybytes(), {"rooms": "integer"})
        ({'rooms': [3, None]}, 2)
    """
    try:
        metadata = parquet.read_metadata(pa.BufferReader(body))
        texts = _check_columns(metadata, types)
        file = parquet.ParquetFile(pa.BufferReader(body), metadata=metadata, read_dictionary=texts)
        table = file.read(columns=list(types))
        return {name: _values(table[name]) for name in types}, len(table)
    except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError):
        raise RequestRefusedError("the body is no Parquet that is read here", cause="parquet") from None


def _check_columns(metadata: parquet.FileMetaData, types: Mapping[str, ColumnType]) -> list[str]:
    """Return which of the columns that a model takes are texts; refuse what would be too large in memory."""
    kinds = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    wanted = {kind.path: place for place, kind in enumerate(kinds) if kind.path in types}
    if missing := [Mistake(name, None, "missing, or nested") for name in types if name not in wanted]:
        raise RequestRefusedError("columns are missing", cause="columns", mistakes=missing)
    cells = size = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for place in wanted.values():
            chunk = group.column(place)
            cells += chunk.num_values
            size += max(chunk.total_uncompressed_size, chunk.num_values * kinds[place].length)
    if cells > _MOST_CELLS or size > _MOST_BYTES:
        what = f"there are more than {_MOST_CELLS:,} cells, or more than {_MOST_BYTES:,} bytes in them"
        raise RequestRefusedError(what, status=413, cause="too_large")
    return [name for name, place in wanted.items() if kinds[place].physical_type == "BYTE_ARRAY"]


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_dictionary(column.type):
        return [_plain(cell) for cell in column.to_pylist()]
    values: list[Any] = []
    for chunk in column.chunks:
        known = [_plain(cell) for cell in chunk.dictionary.to_pylist()]
        values += [None if code is None else known[code] for code in chunk.indices.to_pylist()]
    return values


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it; NaN is missing there."""
    if isinstance(cell, date):  # a datetime is one, too
        return cell.isoformat()
    return None if cell != cell else cell  # noqa: PLR0124 (only NaN is unlike itself)
