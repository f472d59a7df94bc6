"""Tables that pass through in batches, so that memory does not grow with the number of their rows."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from modelbook.data.tables import Format, reading, scan_table, table_format
from modelbook.errors import DataReadError, UsageError

_BUFFER_BYTES = 1 << 20
# The rows of a row group: few enough to be held several times, enough for a small footer.
_GROUP_ROWS = 1 << 17


def read_batches(path: Path, rows: int) -> Iterator[pa.Table]:
    r"""Yield a table's rows in order; every batch but the last has the given number of them.

    Parquet keeps its columns' types to the letter; columns of text formats are as `scan_table` reads them.

    Args:
        path: The file; its name tells its format.
        rows: The rows of a batch.

    Raises:
        DataReadError: The file is absent, empty, cut off, or not what its name says.
        DataInvalidError: Two columns have one name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "houses.csv"
        >>> _ = path.write_text("rooms\n3\n4\n5\n")
        >>> [batch["rooms"].to_pylist() for batch in read_batches(path, 2)]
        [['3', '4'], ['5']]
    """
    table = scan_table(path)
    if table_format(path) == "parquet":
        yield from _parquet_batches(path, rows)
        return
    with reading(path):
        for frame in table.collect_batches(chunk_size=rows, maintain_order=True, engine="streaming"):
            yield frame.to_arrow()


def batch_schema(path: Path) -> pa.Schema:
    """Return the columns of the batches that `read_batches` yields.

    Raises:
        DataReadError: The file is absent, empty, or not what its name says.
        DataInvalidError: Two columns have one name.
    """
    table = scan_table(path)
    with reading(path):
        if table_format(path) == "parquet":
            return pq.read_schema(path)
        return arrow_schema(table.collect_schema())


def arrow_schema(columns: pl.Schema) -> pa.Schema:
    """Return the columns of a Polars table as Arrow has them."""
    return pl.DataFrame(schema=columns).to_arrow().schema


def write_batches(path: Path, batches: Iterable[pa.Table], *, schema: pa.Schema, kind: Format) -> None:
    """Write batches to a file in their order.

    Args:
        path: The file.
        batches: The batches.
        schema: The columns of each batch.
        kind: `parquet` or `csv`.

    Raises:
        UsageError: A column holds what CSV has no place for.
        OSError: The file cannot be written.
    """
    grouped = _grouped(batches)
    if kind == "parquet":
        with pq.ParquetWriter(path, schema) as writer:
            for table in grouped:
                writer.write_table(table)
        return
    _refuse_columns(schema)
    with path.open("wb") as file:
        _frame(schema.empty_table()).write_csv(file)
        for table in grouped:
            _frame(table).write_csv(file, include_header=False)


def _parquet_batches(path: Path, rows: int) -> Iterator[pa.Table]:
    try:
        # With pre_buffer the bytes of every row group stay in memory to the end (apache/arrow#39808).
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(rows):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise DataReadError(
            "the file is cut off or damaged",
            where=str(path),
            got="Parquet whose content does not fit together",
            hint="fetch the file again; it is not read in part",
        ) from error


def _refuse_columns(schema: pa.Schema) -> None:
    columns = _frame(schema.empty_table()).schema
    refused = [
        name
        for name, dtype in columns.items()
        if dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object)
    ]
    if refused:
        raise UsageError(
            "the table has columns that CSV has no place for",
            got=", ".join(f"{name!r} of type {columns[name]}" for name in refused),
            hint="write a .parquet file, or leave these columns out",
        )


def _grouped(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):  # pragma: no cover (a table with columns always is one)
        raise TypeError(type(frame))
    return frame
