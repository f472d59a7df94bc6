"""Validation loses no row and adds none."""

from collections import Counter

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from modelbook.config import load_config
from modelbook.data.validate import REASON, DataValidator
from modelbook.data.values import DTYPES, derive_schema

WORDS = ["", "NA", "a", "b", "yes", "0", "1", "1.0", "2.5", "-3", "1e400", "nan", "2021-02-03", "31/1/2021"]
VALUES = st.none() | st.sampled_from(WORDS) | st.text(max_size=4)
NAMES = st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=5)
COLUMNS = st.fixed_dictionaries(
    {"type": st.sampled_from(list(DTYPES)), "nullable": st.booleans(), "unique": st.booleans()},
    optional={
        "min": st.integers(-5, 0),
        "max": st.integers(1, 5),
        "categories": st.lists(st.sampled_from(WORDS)),
    },
)


@st.composite
def tables(draw):
    """Draw a table of text and a schema for some of its columns, the target among them."""
    names = draw(
        st.lists(NAMES, min_size=1, max_size=4, unique=True).filter(lambda found: REASON not in found)
    )
    rows = draw(st.lists(st.tuples(*[VALUES] * len(names)), max_size=12))
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    known = draw(st.lists(st.sampled_from(names[1:]), unique=True) if names[1:] else st.just([]))
    schema = {name: draw(COLUMNS) for name in [names[0], *known]}
    return table, names[0], draw(st.sampled_from([schema, {}]))


@given(tables(), st.sampled_from(["keep", "reject"]))
def test_valid_and_rejected_are_the_input(drawn, duplicate_rows):
    """Every row is either valid or rejected, the rejected ones unchanged, and the report counts them so."""
    table, target, schema = drawn
    config = load_config({"data": {"target": target, "schema": schema, "duplicate_rows": duplicate_rows}})
    checker = DataValidator(config)
    valid, rejected = (part.collect() for part in checker.partition(table))
    report = checker.validate(table)
    assert valid.height + rejected.height == table.height == report.rows
    assert (report.valid_rows, report.rejected_rows) == (valid.height, rejected.height)
    assert Counter(rejected[REASON]) == {row.reason: row.rows for row in report.rejected}
    assert not Counter(rejected.drop(REASON).iter_rows()) - Counter(table.iter_rows())
    expected = schema or derive_schema(table.lazy())
    assert valid.columns == list(expected)
    types = checker.config.data.columns or expected
    assert valid.dtypes == [DTYPES[types[name].type] for name in valid.columns]


@given(tables())
def test_every_row_goes_one_way(drawn):
    """Numbered rows show that no row is both valid and rejected."""
    table, target, schema = drawn
    numbered = table.with_columns(pl.int_range(pl.len()).alias("number\0"))
    schema = {**schema, "number\0": {"type": "integer"}} if schema else {}
    checker = DataValidator({"data": {"target": target, "schema": schema}})
    valid, rejected = (part.collect()["number\0"].to_list() for part in checker.partition(numbered))
    assert sorted(valid + rejected) == list(range(table.height))
    assert valid == sorted(valid)
    assert rejected == sorted(rejected)
