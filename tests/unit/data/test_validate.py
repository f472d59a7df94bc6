"""What a schema makes of good tables and bad ones."""

import pandas as pd
import polars as pl
import pytest

from modelbook.data.ingest import DataIngestor
from modelbook.data.validate import DataValidator, raise_if_failed
from modelbook.errors import ConfigError, DataInvalidError, DataReadError

PRICE = {"type": "float", "min": 0, "max": 500001}
CLASSIFICATION = {"task": "classification"}


def validator(schema=None, project=None, **data):
    """Return a validator of small tables, with the target `price`."""
    settings = {"target": "price", "min_rows": 2, "max_rejected_share": 1.0, "schema": schema or {}, **data}
    return DataValidator({"project": project or {}, "data": settings})


def reasons(table, schema, **data):
    """Return the reason of each rejected row, after checking that no row is lost."""
    valid, rejected = validator(schema, **data).partition(pl.DataFrame(table))
    assert valid.collect().height + rejected.collect().height == pl.DataFrame(table).height
    return rejected.collect()["rejected_because"].to_list()


def failure(report, **where):
    """Return the error that a report ends in, which has exit code 3."""
    with pytest.raises(DataInvalidError) as caught:
        raise_if_failed(report, **where)
    assert caught.value.exit_code == 3
    return caught.value


def prices(count=30):
    return [float(number) for number in range(count)]


def test_good_table():
    """A table that keeps to its schema passes whole, typed, with a summary of each column."""
    table = pl.DataFrame({"rooms": ["3", "", "5"], "price": ["100", "200", "300"]})
    checker = validator({"rooms": {"type": "integer"}, "price": PRICE})
    report = checker.validate(table)
    assert report.passed
    assert (report.rows, report.valid_rows, report.rejected_rows) == (3, 3, 0)
    assert report.warnings == ()
    rooms, price = report.columns
    assert (rooms.name, rooms.type, rooms.nulls, rooms.distinct) == ("rooms", "integer", 1, 2)
    assert (price.min, price.max, price.mean) == (100, 300, 200)
    assert (
        checker.partition(table)[0]
        .collect()
        .equals(pl.DataFrame({"rooms": [3, None, 5], "price": [100.0, 200.0, 300.0]}))
    )
    raise_if_failed(report)


def test_first_reasons():
    """Each rejected row is given the first rule it breaks: the target first, then column by column."""
    table = {
        "age": ["-1", "200", "old", None, "40", "40", "-1"],
        "sea": ["near", "far", "near", "near", "on it", "", "near"],
        "price": ["1", "2", "3", "4", "5", "6", None],
    }
    schema = {
        "age": {"type": "float", "min": 0, "max": 120.5, "nullable": False},
        "sea": {"type": "string", "categories": ["near", "far"]},
        "price": PRICE,
    }
    assert reasons(table, schema) == [
        "age: below 0",
        "age: above 120.5",
        "age: not a number",
        "age: missing",
        "sea: not one of the known categories",
        "missing target",
    ]


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("float", "many", "x: not a number"),
        ("float", "inf", "x: infinite"),
        ("integer", "1.5", "x: not a whole number"),
        ("boolean", "maybe", "x: neither true nor false"),
        ("datetime", "soon", "x: not a date"),
    ],
)
def test_values_of_another_type(kind, value, reason):
    """Text that does not read as the column's type rejects its row."""
    assert reasons({"x": [value, None], "price": [1.0, 2.0]}, {"x": {"type": kind}, "price": PRICE}) == [
        reason
    ]


def test_rejected_rows_are_as_they_came():
    """Rejected rows keep the table's own columns and values, and say why."""
    table = pl.DataFrame({"other": ["kept"], "price": ["a lot"]})
    rejected = validator({"price": PRICE}).partition(table)[1].collect()
    assert rejected.to_dicts() == [
        {"other": "kept", "price": "a lot", "rejected_because": "price: not a number"}
    ]


def test_rejected_rows_can_come_back():
    """A table of rejected rows, mended, is read again although it has the reasons in it."""
    table = pl.DataFrame({"price": ["1", "x"], "rejected_because": ["old", "older"]})
    valid, rejected = validator({"price": PRICE}).partition(table)
    assert valid.collect()["price"].to_list() == [1.0]
    assert rejected.collect().rows() == [("x", "price: not a number")]


def test_limits_take_what_equals_them():
    """Minimum and maximum are themselves accepted."""
    assert reasons({"price": [0.0, 500001.0]}, {"price": PRICE}) == []


def test_unique():
    """Of equal values in a unique column the first row stays; missing ones are not equal."""
    schema = {"id": {"type": "string", "unique": True}, "price": PRICE}
    table = {"id": ["a", "b", "a", None, None, "a"], "price": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    assert reasons(table, schema) == ["id: not unique"] * 2


def test_duplicate_rows():
    """Rows that equal an earlier one are counted, and rejected where the config says so."""
    table = pl.DataFrame({"a": [1, 1, 1, None, None], "price": [1.0, 1.0, 2.0, 3.0, 3.0]})
    schema = {"a": {"type": "integer"}, "price": PRICE}
    report = validator(schema).validate(table)
    assert report.valid_rows == 5
    assert report.warnings[0].startswith("2 rows equal an earlier one")
    report = validator(schema, duplicate_rows="reject").validate(table)
    assert [(row.reason, row.column, row.rows) for row in report.rejected] == [
        ("duplicate of an earlier row", None, 2)
    ]


def test_rejected_are_counted():
    """Reasons are counted, the most frequent first, with their column."""
    table = pl.DataFrame({"price": ["x", "-1", "y", None, "5"]})
    report = validator({"price": PRICE}).validate(table)
    assert [(row.reason, row.column, row.rows) for row in report.rejected] == [
        ("price: not a number", "price", 2),
        ("missing target", "price", 1),
        ("price: below 0", "price", 1),
    ]


def test_too_many_rejected():
    """More rejected rows than allowed fail, and the message says what to do and shows no value."""
    report = validator({"price": PRICE}, max_rejected_share=0.05).validate(
        pl.DataFrame({"price": ["secret", *map(str, range(9))]})
    )
    error = failure(report, where="t.csv")
    assert error.what == (
        "validation failed: 10.00% of the rows are rejected, most for: price: not a number; "
        "data.max_rejected_share allows 5.00%"
    )
    assert error.where == "t.csv"
    assert error.got == "9 rows valid of 10; price: not a number (1 row)"
    assert "rejected.parquet" in error.hint
    assert "secret" not in str(error)


def test_fail_on_bad_rows():
    """With `on_bad_rows: fail` one bad row is one too many."""
    report = validator({"price": PRICE}, on_bad_rows="fail").validate(
        pl.DataFrame({"price": ["x", *map(str, range(99))]})
    )
    assert failure(report).what == (
        "validation failed: price: not a number: 1 row, and data.on_bad_rows is fail"
    )


def test_no_rows():
    """A table with nothing but a header fails as such."""
    table = pl.DataFrame(schema={"price": pl.String})
    assert failure(validator({"price": PRICE}).validate(table)).what == (
        "validation failed: the table has no rows, only column names"
    )


def test_one_row():
    """One row is too few to train and test on."""
    report = validator({"price": PRICE}, min_rows=20).validate(pl.DataFrame({"price": [1.0]}))
    assert report.failures[0] == "1 row left to train and test on; data.min_rows asks for 20"
    failure(report)


def test_no_valid_row():
    """A table whose rows are all rejected fails, and its summary is empty of values."""
    report = validator({"price": PRICE}).validate(pl.DataFrame({"price": ["x"] * 30}))
    assert failure(report).what.startswith("validation failed: 0 rows left")
    assert report.columns[0].distinct == 0


def test_constant_target():
    """A target with one value fails a regression."""
    report = validator({"price": PRICE}).validate(pl.DataFrame({"price": [7.0] * 30}))
    assert "the target price is constant" in failure(report).what


def test_one_class():
    """A target with one class fails a classification."""
    report = validator({"price": {"type": "string"}}, CLASSIFICATION).validate(
        pl.DataFrame({"price": ["yes"] * 30})
    )
    assert "has one class only" in failure(report).what


def test_text_target_of_a_regression():
    """A target that is no number fails a regression before anything is fitted."""
    report = validator({"price": {"type": "string"}}).validate(pl.DataFrame({"price": ["a", "b"] * 15}))
    assert "regression needs a number" in failure(report).what


def test_missing_target_values():
    """Rows without a target are rejected even where the schema would let the column be empty."""
    schema = {"price": {"type": "float", "nullable": True}}
    assert reasons({"price": [1.0, None, float("nan")]}, schema) == ["missing target"] * 2
    assert reasons({"price": ["1", "", "NA"]}, schema) == ["missing target"] * 2


def test_missing_target_column():
    """A table without the target names the columns that come near it."""
    with pytest.raises(DataInvalidError) as caught:
        validator({"price": PRICE}).validate(pl.DataFrame({"prices": [1.0], "rooms": [1.0], " price": [1]}))
    assert caught.value.what == "the table has no target column"
    assert caught.value.got == "no 'price' among the columns 'prices', 'rooms', ' price'"
    assert "'price': did you mean " in caught.value.hint
    assert "'prices'" in caught.value.hint
    assert caught.value.exit_code == 3


def test_missing_schema_columns():
    """Every column of the schema that the table lacks is named, with those that come near it."""
    schema = {"rooms": {"type": "float"}, "sea": {"type": "string"}, "price": PRICE}
    with pytest.raises(DataInvalidError) as caught:
        validator(schema).validate(pl.DataFrame({"price": [1.0], "Rooms": [1.0]}))
    assert caught.value.what == "the table lacks columns of the schema"
    assert caught.value.expected == "'rooms', 'sea'"
    assert "'rooms': did you mean 'Rooms'?" in caught.value.hint


def test_target_outside_the_schema():
    """A schema without the target is a mistake in the config."""
    with pytest.raises(ConfigError, match="the target 'price' is not in it"):
        validator({"rooms": {"type": "float"}}).validate(pl.DataFrame({"rooms": [1.0], "price": [1.0]}))


def test_columns_that_the_schema_does_not_name():
    """They are left out of the valid rows, and a warning lists them."""
    table = pl.DataFrame({"price": prices(), **{f"extra {n}": [n] * 30 for n in range(12)}})
    checker = validator({"price": PRICE})
    assert checker.partition(table)[0].collect().columns == ["price"]
    assert (
        checker.validate(table)
        .warnings[0]
        .startswith("columns left out, because data.schema does not name them: 'extra 0', ")
    )
    assert checker.validate(table).warnings[0].endswith("and 2 more")


def test_names_of_every_kind():
    """Unicode, spaces, quotes, dots and empty names are names like others."""
    names = ["größe in m²", " a ", 'b "x"', "it's", "c.d", "", "^.*$", "*", "価格"]
    schema = {name: {"type": "float", "max": 10} for name in names} | {"price": PRICE}
    table = pl.DataFrame({name: ["1", "99", "2"] for name in names} | {"price": ["1", "2", "3"]})
    report = validator(schema).validate(table)
    assert [row.reason for row in report.rejected] == ["größe in m²: above 10"]
    assert [column.name for column in report.columns] == [*names, "price"]


def test_ten_thousand_categories():
    """A text column may have ten thousand known categories."""
    words = [f"word {number}" for number in range(10_000)]
    schema = {"x": {"type": "string", "categories": words}, "price": PRICE}
    table = pl.DataFrame({"x": [*words, "stranger"], "price": [1.0, *[2.0] * 10_000]})
    report = validator(schema).validate(table)
    assert [(row.reason, row.rows) for row in report.rejected] == [("x: not one of the known categories", 1)]
    assert report.columns[0].distinct == 10_000


def test_thousand_columns():
    """A wide table is judged like a narrow one."""
    names = [f"x{number}" for number in range(1000)]
    schema = {name: {"type": "float", "min": 0, "max": 9} for name in names} | {"price": PRICE}
    table = pl.DataFrame({name: ["1", "2", "10"] for name in names} | {"price": ["1", "2", "3"]})
    assert [row.reason for row in validator(schema).validate(table).rejected] == ["x0: above 9"]


def test_mixed_dates():
    """Dates in several ways of writing are read, and the row of what is none is rejected."""
    table = {"sold": ["2021-03-04", "05.03.2021", "Mar 6, 2021", "some day", ""], "price": prices(5)}
    schema = {"sold": {"type": "datetime"}, "price": PRICE}
    assert reasons(table, schema) == ["sold: not a date"]


def test_constant_and_empty_columns():
    """Columns without variety are worth a warning."""
    table = pl.DataFrame(
        {"same": [1.0] * 30, "empty": [None] * 30, "word": ["a"] * 29 + [None], "price": prices()}
    )
    schema = {
        "same": {"type": "float"},
        "empty": {"type": "float"},
        "word": {"type": "string"},
        "price": PRICE,
    }
    assert validator(schema).validate(table).warnings == (
        "same: is constant, the same in every row that has a value",
        "empty: has no values",
        "word: is constant, the same in every row that has a value",
    )


def test_correlated_column():
    """A number that follows the target is reported as a leak; one that hardly does is not."""
    table = pl.DataFrame(
        {"copy": [-2 * price for price in prices()], "noise": [1.0, 2.0] * 15, "price": prices()}
    )
    schema = {"copy": {"type": "float"}, "noise": {"type": "float"}, "price": PRICE}
    assert validator(schema).validate(table).warnings == (
        "copy: correlates with the target at -1.0000; it may leak the target",
    )


@pytest.mark.parametrize("classes", [["no", "yes"], [False, True], [0, 1]])
def test_number_that_tells_the_class(classes):
    """A number that tells one of two classes from the other is a leak."""
    kind = {str: "string", bool: "boolean", int: "integer"}[type(classes[0])]
    table = pl.DataFrame({"x": [5.0, 9.0] * 15, "price": classes * 15})
    schema = {"x": {"type": "float"}, "price": {"type": kind}}
    assert validator(schema, CLASSIFICATION).validate(table).warnings[1:] == (
        "x: correlates with the target at 1.0000; it may leak the target",
    )


def test_category_that_tells_the_class():
    """A category with one value for each class is a leak, one with more values for a class is not."""
    table = pl.DataFrame(
        {
            "twin": ["A", "B", "C"] * 10,
            "other": ["A", "B", "C", "B", "C", "A"] * 5,
            "price": ["a", "b", "c"] * 10,
        }
    )
    schema = {name: {"type": "string"} for name in table.columns}
    assert validator(schema, CLASSIFICATION).validate(table).warnings[1:] == (
        "twin: each value goes with one value of the target only; it may leak the target",
    )


def test_identifiers_are_no_leak():
    """A column that is different in every row tells rows apart, not the target."""
    table = pl.DataFrame({"id": [f"id {n}" for n in range(30)], "price": prices()})
    schema = {"id": {"type": "string"}, "price": PRICE}
    assert validator(schema).validate(table).warnings == ()


def test_rare_class():
    """Classes with few rows are counted, without their names."""
    table = pl.DataFrame({"price": ["common"] * 999 + ["secret"]})
    report = validator({"price": {"type": "string"}}, CLASSIFICATION).validate(table)
    assert report.passed
    assert report.warnings[-1] == (
        "price: 1 of 2 classes have less than 1.00% of the rows each; the rarest has 1"
    )


def test_empty_schema():
    """Without a schema the columns are accepted as they are, text as what it reads as."""
    table = pl.DataFrame({"a": ["1", "2"], "b": ["x", "y"], "c": [[1], [2]], "price": ["1.5", "2"]})
    checker = validator()
    report = checker.validate(table)
    assert [(column.name, column.type) for column in report.columns] == [
        ("a", "integer"),
        ("b", "string"),
        ("price", "float"),
    ]
    assert report.warnings == ("columns left out, because no type takes their values: 'c'",)
    assert checker.partition(table)[0].collect().rows() == [(1, "x", 1.5), (2, "y", 2.0)]


def test_pandas_table():
    """A pandas table is validated as a Polars one is, with columns of mixed types value by value."""
    frame = pd.DataFrame({"mixed": [1, "x", None], "price": [1.0, 2.0, float("nan")]}, index=[7, 7, 9])
    schema = {"mixed": {"type": "float"}, "price": PRICE}
    report = validator(schema).validate(frame)
    assert [(row.reason, row.rows) for row in report.rejected] == [
        ("missing target", 1),
        ("mixed: not a number", 1),
    ]
    assert report.valid_rows == 1


def test_file_and_table_agree(tmp_path):
    """Validating a file writes what `partition` returns and reports what `validate` does."""
    table = pl.DataFrame({"x": ["1", "b", "3", "4"], "price": ["1", "2", "-3", "4"]})
    table.write_parquet(tmp_path / "t.parquet")
    checker = validator({"x": {"type": "integer"}, "price": PRICE})
    report = checker.validate_file(
        tmp_path / "t.parquet", tmp_path / "a" / "v.parquet", tmp_path / "r.parquet"
    )
    valid, rejected = checker.partition(table)
    assert pl.read_parquet(tmp_path / "a" / "v.parquet").equals(valid.collect())
    assert pl.read_parquet(tmp_path / "r.parquet").equals(rejected.collect())
    assert report == checker.validate(table.lazy())


def test_file_that_is_damaged(tmp_path):
    """A table that cannot be read to its end leaves no files behind."""
    pl.DataFrame({"price": prices(50_000)}).write_parquet(tmp_path / "t.parquet", compression="uncompressed")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[4:400] = b"\xff" * 396
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DataReadError, match="cut off or damaged"):
        validator({"price": PRICE}).validate_file(
            tmp_path / "t.parquet", tmp_path / "v.parquet", tmp_path / "r.parquet"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_census_table(shared_data, tmp_path):
    """The census table passes, with its missing values and its category."""
    floats = "longitude latitude housing_median_age total_rooms total_bedrooms population households"
    schema = {name: {"type": "float"} for name in [*floats.split(), "median_income", "median_house_value"]}
    schema["ocean_proximity"] = {"type": "string"}
    config = {
        "data": {
            "source": str(shared_data / "housing.csv"),
            "target": "median_house_value",
            "schema": schema,
        }
    }
    assert DataIngestor(config).ingest_to(tmp_path / "t.parquet") == 20640
    report = DataValidator(config).validate_file(
        tmp_path / "t.parquet", tmp_path / "v.parquet", tmp_path / "r.parquet"
    )
    assert (report.passed, report.valid_rows, report.warnings) == (True, 20640, ())
    assert next(c.nulls for c in report.columns if c.name == "total_bedrooms") == 207
