"""Facts about the folds of training rows."""

import numpy as np
import pytest
from sklearn.model_selection import TimeSeriesSplit

from modelbook.errors import DataInvalidError
from modelbook.models.folds import folds


def raw(table):
    return table.drop(columns=["price", "dear"])


def test_folds_by_group_keep_groups_together_and_folds_by_time_look_ahead(settings, table):
    """No group is on both sides; held-out rows are later than all training rows, none of the same time."""
    shuffled = raw(table).sample(frac=1, random_state=1)
    y = np.zeros(90)
    for method in ("group", "time"):
        config = settings(split={"method": method, "column": "group"}, training={"cv_folds": 3})
        for train, test in folds(config, shuffled, y):
            before, after = shuffled["group"].iloc[train], shuffled["group"].iloc[test]
            assert before.max() < after.min() if method == "time" else not set(before) & set(after)


@pytest.mark.parametrize("method", ["random", "stratified"])
def test_a_class_too_rare_for_every_fold(settings, table, *, method):
    """Its rows are in as many folds as they can be, and the other classes keep their shares."""
    config = settings(task="classification", split={"method": method}, training={"cv_folds": 3})
    y = np.array(["a"] * 88 + ["b"] * 2)
    held = [test for _, test in folds(config, raw(table), y)]
    assert [len(test) for test in held] == [30, 30, 30]
    assert sorted(np.concatenate(held)) == list(range(90))
    assert sorted((y[test] == "b").sum() for test in held) == [0, 1, 1]


def test_classes_of_fewer_rows_than_folds(settings, table):
    """Where each class has fewer rows than there are folds, they are drawn without regard to classes."""
    config = settings(task="classification", training={"cv_folds": 4})
    y = np.arange(90) // 3
    assert len(list(folds(config, raw(table), y))) == 4


def test_a_fold_without_two_classes(settings, table):
    """One that was asked for is an error; one that was not is left out, unless it is the last."""
    y = np.array(["a"] * 89 + ["b"])
    config = settings(task="classification", training={"cv_folds": 3})
    with pytest.raises(DataInvalidError, match="one class only") as caught:
        list(folds(config, raw(table), y))
    assert caught.value.where == "training.cv_folds"
    made = list(folds(config, raw(table), y, where=None))
    assert len(made) == 2
    assert all("b" in y[train] for train, _ in made)
    late = settings(task="classification", split={"method": "time", "column": "group"})
    with pytest.raises(DataInvalidError, match="one class only"):
        list(folds(late, raw(table), y, count=4, where=None))


def test_folds_in_time_are_those_of_its_order(settings, table):
    """With a time of its own for each row they are scikit-learn's, in the same order."""
    config = settings(split={"method": "time", "column": "at"}, training={"cv_folds": 4})
    at = np.random.default_rng(0).permutation(90)
    order = np.argsort(at)
    expected = [(order[train], order[test]) for train, test in TimeSeriesSplit(4).split(order)]
    made = list(folds(config, raw(table).assign(at=at), np.zeros(90)))
    assert [[part.tolist() for part in pair] for pair in made] == [
        [part.tolist() for part in pair] for pair in expected
    ]


@pytest.mark.parametrize(("method", "counts"), [("group", [2, 3]), ("time", [1, 2])])
def test_fewer_folds_where_those_do(settings, table, *, method, counts):
    """Where nobody asked for a number there are as many as groups or times allow."""
    for values, count in zip((2, 3), counts, strict=True):
        X = raw(table).assign(group=np.arange(90) % values)
        config = settings(split={"method": method, "column": "group"})
        assert len(list(folds(config, X, np.zeros(90), count=4, where=None))) == count


@pytest.mark.parametrize(
    ("split", "got"),
    [
        ({"method": "group", "column": "sold"}, "2 groups in sold"),
        ({"method": "time", "column": "sold"}, "1 later times in sold"),
    ],
)
def test_too_little_data_to_cross_validate_is_invalid(settings, table, *, split, got):
    """What there is too little of is said, and what to do about the setting that asks for more."""
    config = settings(split=split, training={"cv_folds": 3})
    with pytest.raises(DataInvalidError, match="too little data to cross-validate") as caught:
        list(folds(config, raw(table), np.zeros(90)))
    assert (caught.value.where, caught.value.got) == ("training.cv_folds", got)
    assert caught.value.hint == "lower it; 0 does without cross-validation"
    with pytest.raises(DataInvalidError) as caught:
        list(folds(config, raw(table).assign(sold=1), np.zeros(90), count=4, where=None))
    assert (caught.value.where, caught.value.hint) == (None, "bring more rows")
