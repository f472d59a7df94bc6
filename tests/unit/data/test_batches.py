"""Batches are whole, in order, and of the size that was asked for, whatever the file's own parts."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelbook.data.batches import batch_schema, read_batches, write_batches
from modelbook.errors import DataReadError

TABLE = pl.DataFrame({"number": range(1000), "text": [f"row {at}" for at in range(1000)]})


def write(table: pl.DataFrame, path):
    """Write a table in the format that a name says, Parquet in row groups of an odd size."""
    if path.suffix == ".parquet":
        pq.write_table(table.to_arrow(), path, row_group_size=77)
    elif path.suffix == ".jsonl":
        table.write_ndjson(path)
    else:
        table.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv", "a.jsonl"])
def test_sizes_and_order(name: str, tmp_path):
    """Every batch but the last has the rows asked for, and together they are the table."""
    path = write(TABLE, tmp_path / name)
    batches = list(read_batches(path, 300))
    assert [len(batch) for batch in batches] == [300, 300, 300, 100]
    assert pl.DataFrame(pl.from_arrow(pa.concat_tables(batches)))["text"].equals(TABLE["text"])
    assert {batch.schema for batch in batches} == {batch_schema(path)}


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv"])
def test_no_rows(name: str, tmp_path):
    """A table without rows has no batches, and its columns all the same."""
    path = write(TABLE.clear(), tmp_path / name)
    assert sum(map(len, read_batches(path, 10))) == 0
    assert batch_schema(path).names == TABLE.columns


def test_memory(tmp_path):
    """What was read is let go of: 16 MB in 20 row groups take 4 MB at most at any time."""
    path = tmp_path / "a.parquet"
    numbers = pa.table({"number": np.random.default_rng(0).random(2_000_000)})
    pq.write_table(numbers, path, row_group_size=100_000)
    del numbers
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_batches(path, 10_000)]
    assert max(held) < 4e6


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_written_and_read_again(kind: str, tmp_path):
    """What is written in batches is what is read at once."""
    path = tmp_path / f"out.{kind}"
    source = write(TABLE, tmp_path / "a.parquet")
    write_batches(path, read_batches(source, 300), schema=batch_schema(source), kind=kind)
    assert (pl.read_csv if kind == "csv" else pl.read_parquet)(path).equals(TABLE)


def test_absent(tmp_path):
    """A file that is not there cannot be read."""
    with pytest.raises(DataReadError, match="no such file"):
        next(read_batches(tmp_path / "a.parquet", 10))
