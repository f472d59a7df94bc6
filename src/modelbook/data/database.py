"""The result of a SQL query over SQLite or PostgreSQL, brought to a Parquet file in pieces."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from modelbook.data.download import url_for_people
from modelbook.data.tables import reading
from modelbook.errors import ConfigError, DataInvalidError, DataReadError
from modelbook.files import whole_file

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

_CHUNK_ROWS = 50_000
_CONNECT_TIMEOUT_S = 10
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def query_to(url: str, query: str, path: Path, *, root: Path, chunk_rows: int = _CHUNK_ROWS) -> None:
    """Run a query and write its result to a Parquet file, whole or not at all.

    The database is only read from. Rows come in the order that the query gives them; `ORDER BY` makes it the
    same every time. A column's type is the narrowest that holds all of its values: numbers stay numbers,
    numeric (decimal) ones become float64, and what has no place in a table (JSON, UUID) becomes text.

    Args:
        url: `sqlite:///file.db` or `postgresql://user@host/database`; a password is better kept where
            PostgreSQL's own clients look for it, in `~/.pgpass`.
        query: The SQL query.
        path: The Parquet file.
        root: The folder that a relative SQLite file is looked for in.
        chunk_rows: Rows held in memory at a time.

    Raises:
        ConfigError: The URL is of a database that is not supported.
        DataReadError: The database cannot be reached or refuses the query.
        DataInvalidError: Two columns of the result have one name.
        StorageError: The folder cannot be written or the disk is full.
    """
    engine = _engine(url, root)
    try:
        with whole_file(path) as temporary, reading(path), TemporaryDirectory(dir=path.parent) as folder:
            with _database_errors(url):
                pieces = _write_pieces(engine, query, folder=Path(folder), chunk_rows=chunk_rows)
            # Each piece has the types of its own values; together they take what suits them all.
            pl.concat(pieces, how="vertical_relaxed").sink_parquet(temporary)
    finally:
        engine.dispose()


def _engine(url: str, root: Path) -> "Engine":
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except ArgumentError:
        raise _unsupported(url) from None
    if address.drivername not in _DRIVERS:
        raise _unsupported(url)
    address = address.set(drivername=_DRIVERS[address.drivername])
    if address.drivername == "sqlite":
        return create_engine(_read_only(address, root))
    try:
        return create_engine(address, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})
    except ModuleNotFoundError:
        raise DataReadError(
            "the driver for PostgreSQL is not installed",
            where=url_for_people(url),
            hint="pip install 'modelbook[postgres]'",
        ) from None


def _read_only(address: "URL", root: Path) -> "URL":
    """Return the address of an existing SQLite file; SQLite would make a new one without a word."""
    file = root / (address.database or "")
    if not file.is_file():
        raise DataReadError(
            "there is no such database", where=str(file), hint="check the file that data.source names"
        )
    return address.set(database=f"file:{file}", query={"mode": "ro", "uri": "true"})


def _write_pieces(engine: "Engine", query: str, *, folder: Path, chunk_rows: int) -> list[pl.LazyFrame]:
    # Without parameters a % in the query is a %, and with stream_results PostgreSQL sends piece by piece.
    options = {"stream_results": True, "no_parameters": True}
    if engine.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    with engine.connect().execution_options(**options) as connection:
        result = connection.exec_driver_sql(query.strip().rstrip(";"))
        columns = list(result.keys()) if result.returns_rows else []
        _check_names(columns)
        paths = [
            _write_piece(folder / f"{number}.parquet", columns, rows)
            for number, rows in enumerate(result.partitions(chunk_rows))
        ]
    empty = pl.LazyFrame(schema=dict.fromkeys(columns, pl.Null))
    return [empty, *(pl.scan_parquet(path, glob=False) for path in paths)]


def _write_piece(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    values = zip(*rows, strict=True)
    pl.DataFrame(
        [_series(name, list(column)) for name, column in zip(columns, values, strict=True)]
    ).write_parquet(path)
    return path


def _series(name: str, values: list[Any]) -> pl.Series:
    try:
        series = pl.Series(name, values)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, [_text(value) for value in values], dtype=pl.String)
    if series.dtype == pl.Object or series.dtype.is_nested():
        return pl.Series(name, [_text(value) for value in values], dtype=pl.String)
    return series.cast(pl.Float64) if series.dtype.is_decimal() else series


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=str).decode()
    return str(value)


def _check_names(columns: list[str]) -> None:
    if not columns:
        raise DataReadError(
            "the query gives no table",
            where="data.query",
            hint="write a query that begins with SELECT or WITH",
        )
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataInvalidError(
            "the result of the query has duplicate column names",
            where="data.query",
            got=", ".join(repr(name) for name in twice),
            expected="a name of its own for each column",
            hint="name the columns with AS",
        )


@contextmanager
def _database_errors(url: str) -> Iterator[None]:
    from sqlalchemy.exc import DataError, DBAPIError

    try:
        yield
    except DataError as error:
        # What the database says about data quotes the value, so only the kind of mistake is passed on.
        raise _refused(url, f"a {type(error.orig).__name__} while the query ran") from None
    except DBAPIError as error:
        lines = str(error.orig).strip().splitlines()
        raise _refused(url, lines[0] if lines else type(error.orig).__name__) from None


def _refused(url: str, got: str) -> DataReadError:
    return DataReadError(
        "the database could not be read",
        where=url_for_people(url),
        got=got,
        expected="the result of data.query",
        hint="check the address and the query, and that the database is up and lets you in",
    )


def _unsupported(url: str) -> ConfigError:
    scheme = url.partition("://")[0]
    mistake = (
        f"data.source: {scheme}:// is not supported; use sqlite:///, postgresql://, http(s):// or a file"
    )
    return ConfigError("the source cannot be read from", mistakes=(mistake,))
