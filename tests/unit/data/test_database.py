"""Queries over SQLite; PostgreSQL has its own integration test."""

import sqlite3
from contextlib import closing

import polars as pl
import pytest

from modelbook.data.database import query_to
from modelbook.errors import ConfigError, DataInvalidError, DataReadError


@pytest.fixture
def root(tmp_path):
    with closing(sqlite3.connect(tmp_path / "t.db")) as connection:
        connection.execute("create table house (rooms integer, price real, kind text)")
        connection.executemany(
            "insert into house values (?, ?, ?)", [(n, n * 1.5, f"kind {n % 3}") for n in range(10)]
        )
        connection.execute("create table loose (value)")
        connection.executemany(
            "insert into loose values (?)", [(None,), (None,), (1,), (2.5,), ("x",), (b"\x00",)]
        )
        connection.commit()
    return tmp_path


def result(root, query, **options):
    query_to("sqlite:///t.db", query, root / "raw" / "t.parquet", root=root, **options)
    return pl.read_parquet(root / "raw" / "t.parquet")


@pytest.mark.parametrize("chunk_rows", [3, 10, 100])
def test_result_is_brought_in_pieces(root, chunk_rows):
    """The pieces make one table with every row in order."""
    table = result(root, "select * from house order by rooms", chunk_rows=chunk_rows)
    assert table["rooms"].to_list() == list(range(10))
    assert table.schema == {"rooms": pl.Int64, "price": pl.Float64, "kind": pl.String}
    assert [path.name for path in (root / "raw").iterdir()] == ["t.parquet"]


def test_types_suit_every_piece(root):
    """A column whose values differ in type from piece to piece takes a type that holds them all."""
    table = result(root, "select value from loose limit 4", chunk_rows=1)
    assert table["value"].to_list() == [None, None, 1.0, 2.5]


def test_mixed_values_become_text(root):
    """A column with numbers and words becomes text, which validation judges value by value."""
    assert result(root, "select value from loose limit 5")["value"].to_list() == [None, None, "1", "2.5", "x"]


def test_result_without_rows(root):
    """A query that finds nothing gives a table with columns and no rows."""
    table = result(root, "select * from house where rooms > 99")
    assert table.columns == ["rooms", "price", "kind"]
    assert table.height == 0


def test_percent_and_colon_are_themselves(root):
    """A query is passed on as it is written, with % and : and a final semicolon."""
    assert result(root, "select ':a' as a from house where kind like '%2' ;")["a"].to_list() == [":a"] * 3


@pytest.mark.parametrize(
    "query", ["delete from house", "create table b (x)", "select * from house; drop table house"]
)
def test_database_is_only_read(root, query):
    """A query that would change the database is refused and changes nothing."""
    with pytest.raises(DataReadError):
        result(root, query)
    assert result(root, "select count(*) as n from house")["n"].item() == 10


def test_wrong_query(root):
    """What the database says about the query is passed on."""
    with pytest.raises(DataReadError) as caught:
        result(root, "select * from hose")
    assert caught.value.got == "no such table: hose"
    assert caught.value.exit_code == 3


def test_absent_database(root):
    """A database that is not there is named, and not made."""
    with pytest.raises(DataReadError, match="there is no such database"):
        query_to("sqlite:///none.db", "select 1", root / "t.parquet", root=root)
    assert not (root / "none.db").exists()


def test_file_that_is_no_database(root):
    """Any other file is refused."""
    (root / "other.db").write_text("not a database, but long enough to look at" * 10)
    with pytest.raises(DataReadError) as caught:
        query_to("sqlite:///other.db", "select * from t", root / "t.parquet", root=root)
    assert caught.value.got == "file is not a database"


def test_duplicate_column_names(root):
    """Two columns of one name are an error that names them."""
    with pytest.raises(DataInvalidError) as caught:
        result(root, "select a.rooms, b.rooms from house a join house b using (rooms)")
    assert caught.value.got == "'rooms'"


def test_query_without_a_table(root):
    """A statement that gives no rows at all is no table."""
    with pytest.raises(DataReadError, match="the query gives no table"):
        result(root, "begin")


@pytest.mark.parametrize("url", ["mysql://ann:secret@host/db", "oracle://host", "s3://bucket/t.csv"])
def test_other_databases(root, url):
    """An unknown scheme is a mistake in the config, and the password is not shown."""
    with pytest.raises(ConfigError) as caught:
        query_to(url, "select 1", root / "t.parquet", root=root)
    assert "is not supported" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_unreachable_postgresql(root):
    """A PostgreSQL that does not answer is told at once, without the password."""
    with pytest.raises(DataReadError) as caught:
        query_to("postgresql://ann:secret@127.0.0.1:1/db", "select 1", root / "t.parquet", root=root)
    assert caught.value.where == "postgresql://ann:***@127.0.0.1:1/db"
    assert "secret" not in str(caught.value)
