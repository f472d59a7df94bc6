"""Tables in files: CSV, TSV, JSON lines and Parquet, told apart by name and read in a stream."""

import codecs
import csv
import errno
import glob
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import polars as pl
from polars import selectors

from modelbook.errors import DataError, DataInvalidError, DataReadError

Format = Literal["csv", "tsv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_SEPARATORS: dict[Format, str] = {"csv": ",", "tsv": "\t"}
_SIGNS = {";": "';'", "\t": "tabs", ",": "','", "|": "'|'"}
_HEAD_BYTES = _TAIL_BYTES = 1 << 16
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def table_format(name: str | Path) -> Format:
    """Return the format that a file's name stands for; `.gz` after a text format's ending is allowed.

    Raises:
        DataReadError: The name has another ending.

    Example:
        >>> table_format("houses.csv.gz"), table_format("houses.parquet")
        ('csv', 'parquet')
    """
    plain = str(name).lower().removesuffix(".gz")
    found = FORMATS.get(Path(plain).suffix)
    if found is None or (found == "parquet" and plain != str(name).lower()):
        raise DataReadError(
            "the name of a file does not say which format the table has",
            where=str(name),
            expected=f"a name that ends in {', '.join(FORMATS)}; all but the last also with .gz",
            hint="save it as CSV, Parquet or JSON lines; a spreadsheet (.xlsx, .ods) can be exported as CSV",
        )
    return found


def scan_table(path: Path) -> pl.LazyFrame:
    r"""Return a table that is read when it is collected or written, with its rows in order.

    CSV and TSV columns are all text, so that each value can be judged; an empty field is null. A line without
    any value is no row. JSON lines and Parquet keep their own types. Text is UTF-8; a byte order mark is
    ignored. Collect or write inside `reading(path)`: errors in later rows show only then.

    Args:
        path: The file; its name tells its format.

    Raises:
        DataReadError: The file is absent, empty, or not what its name says.
        DataInvalidError: Two columns have one name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "houses.csv"
        >>> _ = path.write_text("rooms,price\n3,100\n,200\n")
        >>> scan_table(path).collect().rows()
        [('3', '100'), (None, '200')]
    """
    kind = table_format(path)
    with reading(path):
        if path.stat().st_size == 0:
            raise _empty(path)
        if kind == "parquet":
            table = pl.scan_parquet(path, glob=False)
        elif kind == "jsonl":
            table = _scan_jsonl(path)
        else:
            table = _scan_csv(path, _SEPARATORS[kind])
        table.collect_schema()
    return table


def column(name: str) -> pl.Expr:
    """Return the column of exactly this name; `pl.col` takes a name like `*` or `^a.*$` for a pattern.

    Example:
        >>> pl.DataFrame({"*": [1], "b": [2]}).select(column("*")).columns
        ['*']
    """
    return selectors.by_name(name).as_expr()


def count_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file, from its footer."""
    return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the readers say about a file into a DataReadError without any of the file's values.

    What they say about the disk that a result is written to becomes an OSError, as everywhere else.
    """
    try:
        yield
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        UnicodeDecodeError,
        csv.Error,
        EOFError,
        zlib.error,
    ) as error:
        raise _translated(error, path) from error
    except OSError as error:
        if error.errno in _DISK_ERRORS and error.filename != str(path):
            raise
        raise _translated(error, path) from error


def _scan_csv(path: Path, separator: str) -> pl.LazyFrame:
    columns = _header(path, separator)
    _check_names(path, columns, separator)
    if path.suffix.lower() != ".gz":
        _check_end(path, len(columns), separator)
    # The names are given because Polars leaves doubled quotes in a header as they are.
    table = pl.scan_csv(path, separator=separator, infer_schema=False, new_columns=columns, glob=False)
    if len(columns) == 1:
        return table
    return table.filter(~pl.all_horizontal(pl.all().is_null()))


def _scan_jsonl(path: Path) -> pl.LazyFrame:
    source: str | bytes = glob.escape(str(path))
    with _open_binary(path) as file:
        if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
            source = file.read()
    return pl.scan_ndjson(source, infer_schema_length=None)


def _header(path: Path, separator: str) -> list[str]:
    with _open_binary(path) as file:
        head = file.read(_HEAD_BYTES)
    if b"\0" in head:
        raise DataReadError(
            "the file is not text",
            where=str(path),
            got="bytes that do not occur in UTF-8 text",
            expected=f"{table_format(path).upper()} in UTF-8",
            hint="check that this is the right file; a spreadsheet can be saved as CSV in UTF-8",
        )
    with _open_binary(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter=separator, strict=True)
        columns = next((row for row in rows if row), None)
    if columns is None:
        raise _empty(path)
    return columns


def _check_names(path: Path, columns: list[str], separator: str) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataInvalidError(
            "the table has duplicate column names",
            where=str(path),
            got=", ".join(repr(name) for name in twice),
            expected="a name of its own for each column",
            hint="rename or remove the columns in the source",
        )
    found = max(_SIGNS, key=columns[0].count)
    if len(columns) == 1 and found in columns[0]:
        raise _divided_otherwise(path, found, expected=separator)


def _divided_otherwise(path: Path, found: str, *, expected: str) -> DataReadError:
    hints = {
        "\t": "name it .tsv, or save it with commas or as Parquet",
        ",": "name it .csv, or save it with tabs or as Parquet",
    }
    return DataReadError(
        "the columns of the table are not divided as the file's name says",
        where=str(path),
        got=f"one column; its columns seem to be separated by {_SIGNS[found]}",
        expected=f"columns separated by {_SIGNS[expected]}",
        hint=hints.get(found, "save it with commas, as .tsv with tabs, or as Parquet"),
    )


def _check_end(path: Path, width: int, separator: str) -> None:
    """Raise if the last line stops before the last column, which Polars would fill up with nulls."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        _, newline, last = file.read().rpartition(b"\n")
    if newline and last.strip() and b'"' not in last and last.count(separator.encode()) + 1 < width:
        raise _cut(path, "the last line has fewer values than there are columns")


def _open_binary(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _translated(error: BaseException, path: Path) -> Exception:
    text = str(error)
    number = re.search(r"\(os error (\d+)\)", text)
    if number and int(number[1]) in _DISK_ERRORS:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    if isinstance(error, EOFError | zlib.error) or "unexpected end of file" in text:
        return _cut(path, "the compressed data stops before its end")
    if isinstance(error, OSError):
        return _unopened(error, path)
    return _malformed(error, path)


def _unopened(error: OSError, path: Path) -> DataReadError:
    if isinstance(error, FileNotFoundError):
        hint = "check the path; in a project that others share, `dvc pull` fetches the table they pushed"
        return DataReadError("there is no such file", where=str(path), hint=hint)
    return DataReadError(
        "the file cannot be read",
        where=str(path),
        got="a folder" if path.is_dir() else error.strerror or str(error),
        expected="a file that you may read",
        hint="check the path",
    )


def _malformed(error: BaseException, path: Path) -> DataError:
    text = str(error).lower()
    kind = table_format(path)
    if isinstance(error, pl.exceptions.DuplicateError):
        return DataInvalidError("the table has duplicate column names", where=str(path))
    if isinstance(error, UnicodeDecodeError) or "utf-8" in text or "utf8" in text:
        return DataReadError(
            "the file is not UTF-8 text",
            where=str(path),
            got="bytes that do not occur in UTF-8",
            hint=f"convert it, for example: iconv -f latin1 -t utf-8 {path.name}",
        )
    if kind == "parquet":
        return _cut(path, "no Parquet file, or one whose content was damaged")
    if kind == "jsonl":
        return DataReadError(
            "the file is not JSON lines",
            where=str(path),
            got="a line that is not one whole JSON object",
            expected='one object a line, as in {"rooms": 3, "price": 100}',
            hint="the file may be cut off: fetch it again",
        )
    return _malformed_csv(text, path)


def _malformed_csv(text: str, path: Path) -> DataReadError:
    if "more fields" in text:
        return DataReadError(
            "a row has more values than there are columns",
            where=str(path),
            hint="values that contain the separator have to stand in quotes",
        )
    return DataReadError(
        f"the file is not well-formed {table_format(path).upper()}",
        where=str(path),
        got="a quote that is never closed, or one inside a value that does not stand in quotes",
        expected='values with quotes written as "5"" pipe"',
        hint="the file may be cut off: fetch it again",
    )


def _cut(path: Path, got: str) -> DataReadError:
    return DataReadError(
        "the file is cut off or damaged",
        where=str(path),
        got=got,
        hint="fetch the file again; it is not read in part",
    )


def _empty(path: Path) -> DataReadError:
    return DataReadError(
        "the file is empty",
        where=str(path),
        expected="a table",
        hint="check the path and how the file is made",
    )
