"""Which runs were tested on the same rows."""

import polars as pl
import pytest

from modelbook.config import load_config
from modelbook.pipeline import compare
from modelbook.pipeline.comparable import same_test_rows
from modelbook.pipeline.recorded import RecordedRun
from modelbook.records import DataVersion

NUMBER, TEXT = {"type": "float"}, {"type": "string"}
SCHEMA = {"area": NUMBER, "price": NUMBER}


@pytest.fixture
def run(make_metadata):
    """Return a function that makes the record of a run on some rows."""

    def make(*, test="1", raw="f", rows=(80, 20), classes=(), **settings):
        data = [
            DataVersion(path="data/raw/table.csv", md5=raw * 32, size_bytes=9),
            DataVersion(path="data/processed/train.parquet", md5="2" * 32, size_bytes=9, rows=rows[0]),
            DataVersion(path="data/processed/test.parquet", md5=test * 32, size_bytes=9, rows=rows[1]),
        ]
        config = load_config(settings, environ={})
        lineage = {"config": config.as_dict(), "config_sha256": config.sha256, "data": tuple(data)}
        return make_metadata(lineage=lineage, model={"classes": classes})

    return make


def schema(*, raw="data/raw/table.csv", duplicate_rows="keep", **columns):
    return {"raw": raw, "duplicate_rows": duplicate_rows, "schema": columns}


def test_equal_classes_are_no_equal_rows(run):
    """Sorted by class and stratified, every seed draws the same classes in the same order from other rows."""
    table = pl.DataFrame({"actual": ["a"] * 10 + ["b"] * 10})
    task = {"task": "classification"}
    one, other = (
        RecordedRun("r", run(test=test, classes=("a", "b"), project=task, split=split), table)
        for test, split in (("1", {"seed": 1}), ("3", {"seed": 2}))
    )
    assert compare._incomparable(one, other) == "it was tested on other rows"
    assert compare._incomparable(one, one) is None


def test_the_same_table_is_the_same_rows(run):
    """Whatever else differs: features, seeds of the fit, or where the raw table lay."""
    one = run(features={"numeric": {"columns": ["area"]}})
    assert same_test_rows(one.lineage, run(raw="e", split={"seed": 7}).lineage)


def test_the_same_division_is_the_same_rows(run):
    """Where the tables' bytes differ: written by another version, or with a further column."""
    one = run(data=schema(**SCHEMA))
    assert same_test_rows(one.lineage, run(test="3", data=schema(**SCHEMA)).lineage)
    assert same_test_rows(one.lineage, run(test="3", data=schema(**SCHEMA, zone=TEXT)).lineage)


@pytest.mark.parametrize(
    "changed",
    [
        {"raw": "e"},
        {"split": {"seed": 7}},
        {"rows": (79, 20)},
        {"data": schema(**SCHEMA | {"area": NUMBER | {"min": 1}})},
        {"data": schema(area=NUMBER, price=NUMBER, duplicate_rows="reject")},
    ],
    ids=["raw", "seed", "rows", "schema", "duplicates"],
)
def test_another_division_is_other_rows(run, changed):
    """Another raw table, another draw, or another idea of what a valid row is."""
    one = run(data=schema(**SCHEMA))
    other = run(**{"test": "3", "data": schema(**SCHEMA)} | changed)
    assert not same_test_rows(one.lineage, other.lineage)


def test_further_columns_change_what_a_duplicate_is(run):
    """Where duplicates are rejected, schemas have to be equal."""
    one = run(data=schema(**SCHEMA, duplicate_rows="reject"))
    other = run(test="3", data=schema(**SCHEMA, zone=TEXT, duplicate_rows="reject"))
    assert not same_test_rows(one.lineage, other.lineage)


def test_rows_that_are_not_on_record(run, make_metadata):
    """A record without its test rows shows nothing."""
    assert not same_test_rows(run().lineage, make_metadata().lineage)
