"""Files as tables, good ones and bad ones."""

import gzip
import os
from pathlib import Path

import polars as pl
import pytest

from modelbook.data.tables import count_rows, reading, scan_table, table_format
from modelbook.errors import DataError, DataInvalidError, DataReadError, StorageError
from modelbook.files import whole_file

CSV = "rooms,price\n3,100\n,200\n"
ROWS = [{"rooms": "3", "price": "100"}, {"rooms": None, "price": "200"}]


def read(path: Path) -> pl.DataFrame:
    with reading(path):
        return scan_table(path).collect(engine="streaming")


def refusal(path: Path) -> DataError:
    """Return the error that reading a file ends in, which is one of ours with exit code 3."""
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.exit_code == 3
    return caught.value


@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "a[1]*.csv", "é t.csv"])
def test_csv_is_read_as_text(write, name):
    """Every value of a CSV file is text and an empty field is null, whatever the file is called."""
    assert read(write(name, CSV)).rows(named=True) == ROWS


def test_tsv_is_read_as_text(write):
    """A TSV file is divided at tabs."""
    assert read(write("t.tsv", CSV.replace(",", "\t"))).rows(named=True) == ROWS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", CSV),
        ("t.tsv.gz", CSV.replace(",", "\t")),
        ("t.jsonl.gz", '{"rooms": "3", "price": "100"}\n{"rooms": null, "price": "200"}\n'),
    ],
)
def test_compressed_text_is_read(write, name, content):
    """Text formats are read from .gz as they are."""
    assert read(write(name, gzip.compress(content.encode()))).rows(named=True) == ROWS


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "a[1].jsonl"])
def test_json_lines_keep_their_types(write, name):
    """Numbers in JSON lines stay numbers, and a column of mixed types becomes text."""
    table = read(write(name, '{"a": 1, "b": 1}\n\n{"a": 2.5, "b": "x", "c": true}\n'))
    assert table.schema == {"a": pl.Float64, "b": pl.String, "c": pl.Boolean}
    assert table.rows() == [(1.0, "1", None), (2.5, "x", True)]


def test_types_of_json_lines_are_found_in_any_row(write):
    """A value of another type after thousands of rows does not end the reading."""
    lines = ['{"a": 1}'] * 5000 + ['{"a": "x"}']
    assert read(write("t.jsonl", "\n".join(lines)))["a"].to_list()[-2:] == ["1", "x"]


def test_parquet_keeps_its_types(tmp_path):
    """A Parquet file is read as it is."""
    table = pl.DataFrame({"a": [1, None], "b": ["x", ""]})
    table.write_parquet(tmp_path / "t[1].parquet")
    assert read(tmp_path / "t[1].parquet").equals(table)
    assert count_rows(tmp_path / "t[1].parquet") == 2


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.jsonl.gz"])
def test_byte_order_mark_is_ignored(write, name):
    """A UTF-8 byte order mark is no part of the first name."""
    text = "a,b\n1,2\n" if ".csv" in name else '{"a": "1", "b": "2"}\n'
    content = b"\xef\xbb\xbf" + text.encode()
    assert read(write(name, gzip.compress(content) if name.endswith("gz") else content)).rows(named=True) == [
        {"a": "1", "b": "2"}
    ]


def test_names_with_unicode_spaces_quotes_and_newlines(write):
    """Column names are taken exactly as they are written."""
    path = write("t.csv", 'größe in m²," a ","b ""x"", y","n\nl",価格\n1,2,3,4,5\n')
    assert read(path).columns == ["größe in m²", " a ", 'b "x", y', "n\nl", "価格"]
    assert read(path).row(0) == ("1", "2", "3", "4", "5")


def test_order_of_rows_is_kept(write):
    """Row N of the file is row N of the table."""
    text = "a,b\n" + "".join(f"{number},x\n" for number in range(200_000))
    assert read(write("t.csv", text))["a"].cast(pl.Int64).is_sorted()


def test_blank_lines_are_no_rows(write):
    """Lines without any value are left out; a null in the only column of a table is a row."""
    assert read(write("t.csv", "a,b\n\n1,2\n,\n3,4\n\n")).height == 2
    assert read(write("u.csv", "a\n1\n\n3\n")).height == 3


def test_windows_line_ends(write):
    """Carriage returns at the end of lines are no part of values."""
    assert read(write("t.csv", 'a,b\r\n1,"x\r\ny"\r\n')).row(0) == ("1", "x\r\ny")


def test_only_a_header_is_a_table_without_rows(write):
    """A header alone is a table with columns and no rows, which validation judges."""
    table = read(write("t.csv", "a,b\n"))
    assert table.columns == ["a", "b"]
    assert table.height == 0


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.csv.gz"])
def test_empty_file(write, name):
    """A file of no bytes is refused as empty."""
    error = refusal(write(name, b""))
    assert (error.what, error.hint) == ("the file is empty", "check the path and how the file is made")


@pytest.mark.parametrize("content", [b"\n\n", gzip.compress(b"")], ids=["blank", "gzipped"])
def test_file_of_blank_lines_is_empty(write, content):
    """So is one with nothing but line ends, or compressed nothing."""
    name = "t.csv.gz" if content[:1] == b"\x1f" else "t.csv"
    assert refusal(write(name, content)).what == "the file is empty"


def test_absent_file(tmp_path):
    """A file that is not there is named."""
    error = refusal(tmp_path / "t.csv")
    assert error.what == "there is no such file"
    assert error.where == str(tmp_path / "t.csv")
    assert error.hint.startswith("check the path")


def test_folder_in_place_of_a_file(tmp_path):
    """A folder is not a table."""
    (tmp_path / "t.csv").mkdir()
    error = refusal(tmp_path / "t.csv")
    assert (error.what, error.got) == ("the file cannot be read", "a folder")


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.parquet.gz", "t.gz", "t.pkl"])
def test_unknown_format(name):
    """The formats that are read are listed when a name tells none of them."""
    with pytest.raises(DataReadError, match="does not say which format") as caught:
        table_format(name)
    assert ".jsonl" in caught.value.expected
    assert "save it as CSV, Parquet or JSON lines" in caught.value.hint


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_duplicate_column_names(write, name):
    """Column names that occur twice are an error that names them."""
    content = b"a,b,a,c,b\n1,2,3,4,5\n"
    error = refusal(write(name, gzip.compress(content) if name.endswith("gz") else content))
    assert isinstance(error, DataInvalidError)
    assert error.what == "the table has duplicate column names"
    assert error.got == "'a', 'b'"


@pytest.mark.parametrize(
    ("name", "sign", "found", "expected", "hint"),
    [
        ("t.csv", ";", "';'", "','", "save it with commas, as .tsv with tabs, or as Parquet"),
        ("t.csv", "|", "'|'", "','", "save it with commas, as .tsv with tabs, or as Parquet"),
        ("t.csv", "\t", "tabs", "','", "name it .tsv, or save it with commas or as Parquet"),
        ("t.tsv", ",", "','", "tabs", "name it .csv, or save it with tabs or as Parquet"),
    ],
)
def test_other_separator(write, name, sign, *, found, expected, hint):
    """A separator that the name does not stand for is told, with the next step, not read as one column."""
    error = refusal(write(name, "rooms;price;area\n3;100;5\n".replace(";", sign)))
    assert "not divided as the file's name says" in error.what
    assert error.got == f"one column; its columns seem to be separated by {found}"
    assert (error.expected, error.hint) == (f"columns separated by {expected}", hint)


@pytest.mark.parametrize("text", ['a,b\n1,2\n3,"x\n5,6\n', 'a,b\n1,2\n3,"x', 'a,"b\n1,2\n'])
def test_quote_that_is_never_closed(write, text):
    """A CSV file cut inside quotes is refused, and none of its values are shown."""
    error = refusal(write("t.csv", text))
    assert error.what == "the file is not well-formed CSV"
    assert "never closed" in error.got


def test_row_cut_in_the_middle(write):
    """A CSV file whose last line stops early is refused, not filled up with nulls."""
    assert refusal(write("t.csv", "a,b,c\n1,2,3\n4,5")).what == "the file is cut off or damaged"


def test_last_line_without_an_end(write):
    """A last line without a line end is a row when it is whole."""
    assert read(write("t.csv", "a,b\n1,2\n3,4")).height == 2


def test_row_with_too_many_values(write):
    """A row that is longer than the header is refused."""
    assert refusal(write("t.csv", "a,b\n1,2\n1,2,secret\n")).what == (
        "a row has more values than there are columns"
    )


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz", "t.tsv.gz"])
def test_compressed_file_cut_in_the_middle(write, name):
    """A .gz file that stops early is refused as cut off."""
    line = '{"a": %d}\n' if "json" in name else "%d\n"
    head = "" if "json" in name else "a\n"
    content = gzip.compress((head + "".join(line % (n * 7919 % 1000) for n in range(50_000))).encode())
    assert refusal(write(name, content[: len(content) // 2])).what == "the file is cut off or damaged"


def test_parquet_cut_in_the_middle(tmp_path):
    """A Parquet file without its end is refused as cut off."""
    pl.DataFrame({"a": range(10_000)}).write_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[: len(content) // 2])
    assert refusal(tmp_path / "t.parquet").what == "the file is cut off or damaged"


@pytest.mark.parametrize(
    "text", ['{"a": 1}\n{"a": 2', '{"a": 1}\n{"a" 2}\n', "[1, 2]\n", "rooms,price\n3,4\n"]
)
def test_broken_json_lines(write, text):
    """A line that is no whole JSON object is refused."""
    assert refusal(write("t.jsonl", text)).what == "the file is not JSON lines"


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.csv.gz"])
def test_binary_garbage(write, name):
    """Random bytes are refused under any name."""
    assert isinstance(refusal(write(name, os.urandom(5000))), DataReadError)


@pytest.mark.parametrize("text", ["é,b\n1,2\n", "a,b\n1,2\n3,é\n", "a,b\n" + "1,2\n" * 100_000 + "1,é\n"])
def test_latin_1(write, text):
    """Bytes that are no UTF-8 are refused with the way to convert them, in the header or later."""
    error = refusal(write("t.csv", text.encode("latin-1")))
    assert error.what == "the file is not UTF-8 text"
    assert "iconv -f latin1" in error.hint


def test_utf_16(write):
    """A spreadsheet's "Unicode text" is refused as no UTF-8 text."""
    assert refusal(write("t.csv", "a,b\n1,2\n".encode("utf-16"))).what == "the file is not text"


def test_full_disk_is_not_blamed_on_the_table(tmp_path):
    """What is said about the disk written to becomes a StorageError, not an error of the source."""
    with (
        pytest.raises(StorageError),
        whole_file(tmp_path / "out.parquet"),
        reading(tmp_path / "t.csv"),
    ):
        raise pl.exceptions.ComputeError("underlying IO error: No space left on device (os error 28)")
