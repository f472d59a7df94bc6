"""Splits are disjoint and whole."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from modelbook.data.split import split_rows
from modelbook.errors import DataInvalidError

METHODS = st.sampled_from(["random", "stratified", "group", "time"])
SIZES = st.floats(0.01, 0.99)


@given(
    values=st.lists(st.integers(0, 6), max_size=40),
    method=METHODS,
    test_size=SIZES,
    seed=st.integers(0, 2**32 - 1),
)
def test_each_row_is_on_one_side(values, method, *, test_size, seed):
    """Every row is a training row or a test row, or the split is refused as one of our errors."""
    config = {
        "project": {"task": "classification"},
        "data": {"target": "y"},
        "split": {"method": method, "test_size": test_size, "seed": seed, "column": "y"},
    }
    table = pl.DataFrame({"y": values}, schema={"y": pl.Int64})
    try:
        train, test = split_rows(table, config)
    except DataInvalidError:
        return
    assert sorted([*train, *test]) == list(range(len(values)))
    assert len(train)
    assert len(test)
    found = np.array(values)
    if method == "group":
        assert set(found[train]).isdisjoint(found[test])
    if method == "time":
        assert found[train].max() < found[test].min()
    rarest = np.unique(found, return_counts=True)[1].min()
    if method == "stratified" and rarest * len(train) >= len(values):  # enough rows for one of each class
        assert set(found[train]) == set(found)
