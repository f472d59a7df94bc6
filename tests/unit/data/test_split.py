"""Training and test rows by each method."""

# ruff: noqa: DTZ001 (dates in a table have no zone)
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import train_test_split

from modelbook.data.split import split_rows
from modelbook.errors import DataInvalidError


def divide(table, task="regression", **split):
    """Return training and test rows, after checking that each row is in one of them."""
    config = {"project": {"task": task}, "split": split, "data": {"target": "y"}}
    train, test = split_rows(pl.DataFrame(table), config)
    assert train.dtype == test.dtype == np.int64
    assert sorted([*train, *test]) == list(range(pl.DataFrame(table).height))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert len(train)
    assert len(test)
    return train, test


def refusal(table, task="regression", **split):
    with pytest.raises(DataInvalidError) as caught:
        divide(table, task, **split)
    assert caught.value.exit_code == 3
    return caught.value


def test_random_rows_are_scikit_learns():
    """The same seed chooses the rows that `train_test_split` chooses."""
    train, test = divide({"y": range(50)}, seed=7, test_size=0.3)
    theirs = train_test_split(np.arange(50), test_size=0.3, random_state=7)
    assert train.tolist() == sorted(theirs[0])
    assert test.tolist() == sorted(theirs[1])


@pytest.mark.parametrize("method", ["random", "stratified", "group", "time"])
def test_same_seed_same_rows(method):
    """Every method is the same each time."""
    table = {"y": ["a", "b"] * 20, "g": [n // 4 for n in range(40)]}
    options = {"method": method, "column": "g", "task": "classification"}
    first, second = divide(table, **options), divide(table, **options)
    assert first[1].tolist() == second[1].tolist()


@pytest.mark.parametrize("method", ["random", "group"])
def test_another_seed_chooses_others(method):
    """The seed decides which rows are tested."""
    table = {"y": range(40), "g": [n // 2 for n in range(40)]}
    tests = {tuple(divide(table, method=method, column="g", seed=seed)[1]) for seed in range(5)}
    assert len(tests) > 1


def test_stratified_keeps_shares():
    """Each class has its share on both sides."""
    classes = np.array(["a"] * 80 + ["b"] * 20)
    _, test = divide({"y": classes}, "classification", method="stratified", test_size=0.25)
    assert (classes[test] == "b").sum() == 5


def test_groups_stay_together():
    """No group is on both sides, and the tested rows come near the wanted share."""
    groups = np.repeat(np.arange(30), np.arange(1, 31))
    train, test = divide({"y": groups, "g": groups}, method="group", column="g", test_size=0.2)
    assert set(groups[train]).isdisjoint(groups[test])
    assert len(test) / len(groups) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("kind", [str, float, bool])
def test_groups_of_any_type(kind):
    """Groups may be text, numbers or booleans."""
    divide({"y": range(10), "g": [kind(n % 2) for n in range(10)]}, method="group", column="g")


def test_latest_rows_are_tested():
    """Every test row is later than every training row, whatever the order of the table."""
    days = [datetime(2021, 1, 1) + timedelta(days=(7 * n) % 50) for n in range(50)]
    train, test = divide({"y": range(50), "t": days}, method="time", column="t")
    assert len(test) == 10
    assert max(days[row] for row in train) < min(days[row] for row in test)


def test_equal_times_stay_together():
    """Rows of one moment are on one side."""
    train, test = divide({"y": range(9), "t": [1, 1, 1, 1, 2, 2, 2, 3, 3]}, method="time", column="t")
    assert test.tolist() == [7, 8]
    assert len(train) == 7


@pytest.mark.parametrize(("rows", "test_size"), [(0, 0.2), (1, 0.2), (3, 0.9)])
def test_too_few_rows(rows, test_size):
    """A side without rows is refused with the numbers."""
    error = refusal({"y": pl.Series(range(rows), dtype=pl.Int64)}, test_size=test_size)
    assert error.what == "there are too few rows to divide into training and test rows"
    assert error.got.startswith(f"{rows} rows")


def test_class_of_one_row():
    """A class of one row cannot be on both sides."""
    error = refusal({"y": ["a"] * 20 + ["b"]}, "classification", method="stratified")
    assert error.what == "a stratified split needs a row of each class on both sides"
    assert error.got.startswith("2 classes, the rarest with 1 rows")


def test_more_classes_than_test_rows():
    """There have to be as many test rows as classes."""
    error = refusal({"y": list("aabbccdd")}, "classification", method="stratified", test_size=0.2)
    assert "4 classes" in error.got


def test_one_class_in_training():
    """Training rows of one class are refused, with the way out."""
    table = {"y": ["a", "a", "a", "b"], "t": [1, 2, 3, 4]}
    error = refusal(table, "classification", method="time", column="t", test_size=0.25)
    assert error.what.startswith("the training rows have one class only")
    assert "stratified" in error.hint


@pytest.mark.parametrize("method", ["group", "time"])
def test_column_with_one_value(method):
    """One group or one moment cannot be divided."""
    error = refusal({"y": range(5), "g": [1] * 5}, method=method, column="g")
    assert error.what == f"a {method} split needs two different values to divide between"


def test_absent_column():
    """A column that is not there is named with those that come near it."""
    error = refusal({"y": range(5), "group": [1] * 5}, method="group", column="groups")
    assert error.what == "the table has no column to split by"
    assert error.hint == "did you mean group?"
    assert refusal({"y": range(5)}, method="group", column="z").hint == "add the column to data.schema"


def test_missing_values():
    """Rows without a group have no side to be on."""
    error = refusal({"y": range(5), "g": [1, 2, None, 3, 4]}, method="group", column="g")
    assert error.got == "1 of 5 rows without a value"


def test_time_as_text():
    """Text has no order in time."""
    error = refusal({"y": range(3), "t": ["1.2.21", "2.1.21", "3.1.21"]}, method="time", column="t")
    assert error.hint == "set data.schema.t.type: datetime"
