"""Parquet in a request."""

from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from modelbook.records import InputColumn
from modelbook.serving.protocol import PARQUET, read_body
from modelbook.serving.refusal import RequestRefusedError
from modelbook.serving.rows import RowReader

TYPES = {"area": "float", "rooms": "integer", "new": "boolean", "zone": "string", "built": "datetime"}
MOMENT = datetime(2020, 1, 31, 12, tzinfo=UTC)
TABLE = pl.DataFrame(
    {
        "more": [1, 2],
        "built": [MOMENT, None],
        "zone": ["a", None],
        "new": [True, None],
        "rooms": [3, None],
        "area": [81.5, float("nan")],
    }
)


def packed(table: pl.DataFrame) -> bytes:
    file = BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def read(body: bytes):
    given = read_body(body, PARQUET, types=TYPES, has_parquet=True)
    inputs = [InputColumn(name=name, type=kind, nullable=True) for name, kind in TYPES.items()]
    return RowReader(inputs).read(given.columns)


def test_every_type_is_read() -> None:
    """Each column of the model is read as its type, gaps and NaN as missing; others are not looked at."""
    rows = read(packed(TABLE))
    assert (rows["area"][0], rows["rooms"][0], rows["new"][0], rows["zone"][0]) == (81.5, 3, 1, "a")
    assert rows["built"][0] == np.datetime64("2020-01-31T12:00:00", "us")
    assert all(np.isnan(rows[name][1]) for name in ("area", "rooms", "new"))
    assert rows["zone"][1] is None
    assert np.isnat(rows["built"][1])


def test_dates_are_times() -> None:
    """A day is its first moment."""
    rows = read(packed(TABLE.with_columns(pl.col("built").dt.date())))
    assert rows["built"][0] == np.datetime64("2020-01-31", "us")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("rooms", [1.5, None]),
        ("rooms", [2**60, None]),
        ("area", ["1", None]),
        ("area", [float("inf"), None]),
        ("area", [Decimal("1.5"), None]),
        ("zone", [b"a", None]),
        ("new", [1, None]),
        ("built", [5, None]),
    ],
)
def test_a_wrong_type_is_named(column, values) -> None:
    """Parquet is as strict as JSON."""
    with pytest.raises(RequestRefusedError) as caught:
        read(packed(TABLE.with_columns(pl.Series(column, values))))
    assert [(mistake.column, mistake.row) for mistake in caught.value.mistakes] == [(column, 0)]


@pytest.mark.parametrize("body", [b"", b"PAR1", packed(TABLE)[:-9], packed(TABLE)[100:]])
def test_what_is_no_parquet_is_refused(body) -> None:
    """A file that is cut is none."""
    with pytest.raises(RequestRefusedError, match="no Parquet"):
        read(body)


def test_a_missing_column_is_named() -> None:
    """All columns of the model are needed."""
    with pytest.raises(RequestRefusedError) as caught:
        read(packed(TABLE.drop("zone")))
    assert [mistake.column for mistake in caught.value.mistakes] == ["zone"]


def test_cells_that_take_no_room_are_counted() -> None:
    """A small file may hold a great many equal values."""
    body = packed(TABLE.head(1).select(pl.all().repeat_by(1_000_001).explode()))
    assert len(body) < 200_000
    with pytest.raises(RequestRefusedError) as caught:
        read(body)
    assert caught.value.status == 413


def test_long_equal_texts_are_held_once() -> None:
    """A file of some kilobytes with a gigabyte of text is read without holding that."""
    zones = pa.DictionaryArray.from_arrays(pa.array([0, None] * 50_000, pa.int32()), ["x" * 20_000])
    read_zones = read(written(zones))["zone"]
    assert {len(zone) for zone in read_zones if zone} == {20_000}
    assert len({id(zone) for zone in read_zones}) == 2


@pytest.mark.parametrize(
    "zones",
    [pa.array(["x" * 100_000]), pa.array([b"x" * 10_000] * 10, pa.binary(10_000))],
    ids=["text", "bytes of one length"],
)
def test_what_is_large_once_decompressed_is_refused(zones, monkeypatch) -> None:
    """What the cells take in memory counts, not what they take in the file."""
    monkeypatch.setattr("modelbook.serving.parquet._MOST_BYTES", 99_999)
    with pytest.raises(RequestRefusedError) as caught:
        read(written(zones))
    assert caught.value.status == 413


def written(zones: pa.Array) -> bytes:
    """Return a file in which all other columns are missing values."""
    file = BytesIO()
    columns = {name: pa.nulls(len(zones)) for name in TYPES} | {"zone": zones}
    parquet.write_table(pa.table(columns), file, compression="zstd", store_schema=False)
    assert len(file.getvalue()) < 100_000
    return file.getvalue()


def test_what_is_nested_is_no_column() -> None:
    """A list is no cell, however many values it has."""
    with pytest.raises(RequestRefusedError) as caught:
        read(packed(TABLE.with_columns(pl.Series("area", [[1.0], None]))))
    assert [(mistake.column, mistake.problem) for mistake in caught.value.mistakes] == [
        ("area", "missing, or nested")
    ]
