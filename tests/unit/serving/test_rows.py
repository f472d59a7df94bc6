"""Values read as the types that a model takes."""

import numpy as np
import orjson
import pytest

from modelbook.records import InputColumn
from modelbook.serving.delimited import read_csv
from modelbook.serving.refusal import RequestRefusedError
from modelbook.serving.rows import RowReader

TYPES = {"area": "float", "rooms": "integer", "new": "boolean", "zone": "string", "built": "datetime"}
ROW = {"area": 1.5, "rooms": 3, "new": True, "zone": "a", "built": "2020-01-31T12:00:00"}
MISSING = dict.fromkeys(TYPES)
SECRET = "s3cret"  # noqa: S105 (a value that no message may have)


@pytest.fixture
def reader() -> RowReader:
    """Return a reader of a column of every type."""
    return RowReader([InputColumn(name=name, type=kind, nullable=True) for name, kind in TYPES.items()])


def columns(*rows):
    return {name: [row[name] for row in rows] for name in TYPES}


@pytest.mark.parametrize("rows", [(ROW,), (ROW, ROW), (ROW, MISSING), (MISSING, ROW, ROW)])
def test_values_are_read_in_their_types(reader, rows) -> None:
    """Each type has its array, with a gap where a value is missing."""
    read = reader.read(columns(*rows))
    place = rows.index(ROW)
    assert (read["area"][place], read["rooms"][place], read["new"][place], read["zone"][place]) == (
        1.5,
        3,
        1,
        "a",
    )
    assert read["built"][place] == np.datetime64("2020-01-31T12:00:00", "us")
    assert [str(array.dtype) for array in read.values()] == ["float64"] * 3 + ["object", "datetime64[us]"]
    assert {len(array) for array in read.values()} == {len(rows)}


@pytest.mark.parametrize("number", [1, 3])
def test_missing_values_are_gaps_in_every_type(reader, number) -> None:
    """Integers may be missing, too."""
    read = reader.read(columns(*[MISSING] * number))
    assert all(np.isnan(read[name]).all() for name in ("area", "rooms", "new"))
    assert list(read["zone"]) == [None] * number
    assert np.isnat(read["built"]).all()


def test_no_rows_are_read(reader) -> None:
    """A table may be empty."""
    assert {array.shape for array in reader.read(columns()).values()} == {(0,)}


@pytest.mark.parametrize(
    ("column", "value", "got"),
    [
        ("area", SECRET, "text"),
        ("area", True, "true or false"),
        ("area", [SECRET], "a list"),
        ("area", {SECRET: 1}, "an object"),
        ("area", float("inf"), "infinity"),
        ("rooms", float("-inf"), "infinity"),
        ("rooms", 1.5, "a number that is not"),
        ("rooms", 1e30, "a number beyond that"),
        ("rooms", 2**53, "a number beyond that"),
        ("rooms", -(2**53), "a number beyond that"),
        ("rooms", 2**64 - 1, "a number beyond that"),
        ("rooms", "3", "text"),
        ("rooms", False, "true or false"),
        ("new", 1, "a whole number"),
        ("new", 0.0, "a number"),
        ("new", "false", "text"),
        ("zone", 3, "a whole number"),
        ("zone", True, "true or false"),
        ("built", SECRET, "other text"),
        ("built", "9" * 5000, "other text"),
        ("built", "2020-13-01", "other text"),
        ("built", 1580000000, "a whole number"),
        ("built", "", "other text"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_wrong_type_is_named_by_column_and_row(reader, column, value, *, got, before) -> None:
    """Nothing is converted that loses anything, and no message has a value in it."""
    with pytest.raises(RequestRefusedError) as caught:
        reader.read(columns(*[ROW] * before, ROW | {column: value}))
    (mistake,) = caught.value.mistakes
    assert (mistake.column, mistake.row) == (column, before)
    assert mistake.problem.endswith(f"got {got}")
    assert SECRET.encode() not in caught.value.body("1")


def test_whole_numbers_may_have_a_point(reader) -> None:
    """What pandas makes of integers with gaps is an integer."""
    assert list(reader.read(columns(ROW | {"rooms": 3.0}, ROW | {"rooms": -4}))["rooms"]) == [3, -4]


def test_every_mistake_is_counted_and_the_first_are_named(reader) -> None:
    """An answer does not grow with what is wrong."""
    with pytest.raises(RequestRefusedError) as caught:
        reader.read(columns(*[ROW | {"area": "x", "zone": 1}] * 1000))
    assert (len(caught.value.mistakes), caught.value.mistakes_found) == (20, 2000)
    body = orjson.loads(caught.value.body("7"))
    assert body["mistakes"][19] == {
        "column": "area",
        "row": 19,
        "problem": "expected a number (float), got text",
    }
    assert (body["mistakes_found"], body["request_id"]) == (2000, "7")
    assert body["message"].endswith("; and 1980 more")


@pytest.mark.parametrize("text", ["", " ", "\t"])
@pytest.mark.parametrize("number", [1, 2])
def test_blank_text_is_missing_as_in_training(reader, text, number) -> None:
    """Training reads blank text as missing."""
    read = reader.read(columns(*[ROW | {"zone": text}] * number))
    assert list(read["zone"]) == [None] * number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-31", "2020-01-31T00:00:00"),
        ("2020-01-31 12:30", "2020-01-31T12:30:00"),
        ("2020-01-31T12:00:00.123456", "2020-01-31T12:00:00.123456"),
        ("2020-01-31T12:00:00Z", "2020-01-31T12:00:00"),
        ("2020-01-31t12:00:00z", "2020-01-31T12:00:00"),
        ("2020-01-31T12:00:00+02:00", "2020-01-31T10:00:00"),
        ("0001-01-01", "0001-01-01T00:00:00"),
    ],
)
def test_times_are_in_utc(reader, text, expected) -> None:
    """A zone is taken into account, as training does."""
    assert reader.read(columns(ROW | {"built": text}))["built"][0] == np.datetime64(expected, "us")


def test_cells_that_cannot_be_read_are_named(reader) -> None:
    """A cell of CSV is as strict as a value of JSON."""
    text = "area,rooms,new,zone,built\nx,3.5,maybe,a,b\n1_0,4,YES,,2020-01-01\ninf,5,0,c,\n"
    with pytest.raises(RequestRefusedError) as caught:
        reader.read(read_csv(text, TYPES)[0])
    assert [(mistake.column, mistake.row) for mistake in caught.value.mistakes] == [
        ("area", 0),
        ("area", 1),
        ("area", 2),
        ("rooms", 0),
        ("new", 0),
        ("built", 0),
    ]
