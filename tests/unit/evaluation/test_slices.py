"""Groups of test rows, held against limits of their own."""

import time

import numpy as np
import pandas as pd
import pytest

from modelbook.config import SliceConfig
from modelbook.errors import ConfigError
from modelbook.evaluation.gate import decide
from modelbook.evaluation.metrics import columns_of, compute_metrics
from modelbook.evaluation.slices import Judged, group_rows, judge_slices

ROWS = 400


@pytest.fixture
def rng():
    """Return a generator with a fixed seed."""
    return np.random.default_rng(8)


@pytest.fixture
def regression(rng):
    """Return predictions of a number that are twice as far off for the second half of the rows."""
    actual = rng.normal(100, 20, ROWS)
    errors = rng.normal(0, 1, ROWS) * np.repeat([1.0, 2.0], ROWS // 2)
    return Judged(pd.DataFrame({"actual": actual, "predicted": actual + errors}), "regression")


HALVES = pd.Series(np.repeat(["north", "south"], ROWS // 2))


def labelled(rng, classes, *, positive_class=None):
    """Return predictions of classes."""
    codes = rng.integers(0, len(classes), ROWS)
    shares = rng.dirichlet(np.ones(len(classes)), ROWS)
    labels = np.array(classes, dtype=object)
    table = pd.DataFrame({"actual": labels[codes], "predicted": labels[shares.argmax(axis=1)]})
    named = pd.DataFrame(shares, columns=[f"probability_{label}" for label in classes])
    return Judged(table.infer_objects().join(named), "classification", tuple(classes), positive_class)


def part(thresholds, **settings):
    """Return a slice over the column `region`."""
    return SliceConfig.model_validate({"column": "region", "thresholds": thresholds, **settings})


def judge(judged, values, settings):
    return judge_slices(judged, {"region": values}, [settings])


def test_each_group_is_held_against_the_limits(regression):
    """A check says group, rows, value, limit, interval and the metric on all rows; the value decides."""
    north, south = judge(regression, HALVES, part({"rmse": {"max": 1.5}}))
    assert (north.name, north.kind, north.group) == ("rmse_slice[region: north]", "slice", "region: north")
    assert (north.rows, north.max, north.passed, south.passed) == (200, 1.5, True, False)
    assert north.lower < north.value < north.upper < south.lower
    assert (north.level, north.resamples, north.baseline) == (0.95, 2000, regression.metrics["rmse"])
    assert decide([north, south]).verdict == "rejected"


@pytest.mark.parametrize(("metric", "sign"), [("rmse", 1), ("r2_score", -1)])
def test_how_much_worse_than_on_all_rows(regression, metric, sign):
    """`max_worse` is a share of the metric on all rows, upwards or downwards by what is worse."""
    check = judge(regression, HALVES, part({metric: {"max_worse": 0.1}}))[1]
    limit = check.max if sign == 1 else check.min
    assert limit == pytest.approx(regression.metrics[metric] * (1 + sign * 0.1))
    tighter = judge(regression, HALVES, part({metric: {"max_worse": 0.1, "min": 0, "max": 1}}))[1]
    assert (tighter.min, tighter.max) == ((0, 1) if sign == 1 else (limit, 1))


@pytest.mark.parametrize("classes", [("no", "yes"), (False, True), (1, 2, 3), ("a", "b", "c", "d")])
def test_the_values_are_the_metrics_of_the_rows(rng, classes):
    """Each metric of a group is what `compute_metrics` says of its rows."""
    judged = labelled(rng, classes)
    limits = {name: {"min": 0} for name in ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss")}
    groups = pd.Series(rng.choice(["x", "y", "z"], ROWS))
    for check in judge(judged, groups, part(limits)):
        rows = judged.predictions[groups == check.group.removeprefix("region: ")]
        actual, predicted, shares = columns_of(rows)
        expected = compute_metrics("classification", actual, predicted, probabilities=shares, classes=classes)
        assert check.value == pytest.approx(expected[check.metric])


def test_small_groups_are_said_not_to_be_judged(regression):
    """Groups with too few rows are named and counted in one check, which neither passes nor fails."""
    names = [f"village {number}" for number in range(8)]
    values = pd.Series([*["city"] * (ROWS - 20), *np.repeat(names, [1, 2, 2, 3, 3, 3, 3, 3])])
    judged, small = judge(regression, values, part({"rmse": {"max": 5}}, min_rows=4))
    assert (judged.group, judged.passed) == ("region: city", True)
    assert (small.name, small.passed, small.value, small.min, small.rows) == (
        "rows_slice[region]",
        None,
        3,
        4,
        20,
    )
    assert small.note == "8 groups have fewer than 4 rows"
    assert small.group == "region: village 0, village 1, village 2, village 3, village 4 and 3 more"
    assert decide([judged, small]).verdict == "passed"
    assert decide([small]).verdict == "none"


def test_missing_values_are_a_group(regression):
    """Rows without a value are judged together; a text of that name is another group."""
    values = HALVES.where(HALVES.index % 4 > 0, None)
    found = {check.group: check.rows for check in judge(regression, values, part({"rmse": {"max": 9}}))}
    assert found == {"region: north": 150, "region: south": 150, "region: missing": 100}
    assert list(group_rows(pd.Series(["missing", None]))) == ["missing", "no value"]
    assert list(group_rows(pd.Series([None, None], dtype=object))) == ["missing"]


def test_numbers_and_dates_are_cut_into_bins(rng):
    """Bins have about equal size, equal values stay together, and infinities and gaps are no obstacle."""
    numbers = pd.Series(rng.normal(size=1000))
    assert [len(rows) for rows in group_rows(numbers, bins=4).values()] == [250] * 4
    days = pd.Series(pd.date_range("2020-01-01", periods=100))
    assert list(group_rows(days, bins=2)) == ["up to 2020-02-19 00:00:00", "above 2020-02-19 00:00:00"]
    ties = pd.Series([0.0] * 90 + [1.0, np.inf, -np.inf, None])
    sizes = {name: len(rows) for name, rows in group_rows(ties, bins=4).items()}
    assert sizes == {"up to 0": 91, "above 0": 2, "missing": 1}
    assert list(group_rows(pd.Series([7, 7, 7]), bins=3)) == ["any value"]
    close = pd.Series([1.00000001, 1.00000002, 1.00000003])
    assert next(iter(group_rows(close, bins=3))) == "up to 1.00000001"


def test_values_of_each_type_are_groups():
    """Texts, truth values and whole numbers name their groups as YAML would."""
    assert list(group_rows(pd.Series([True, False, None], dtype=object))) == ["false", "true", "missing"]
    assert list(group_rows(pd.Series([3, 1, 2, 1]))) == ["1", "2", "3"]
    assert list(group_rows(pd.Series([3, 1, None, 0.5]))) == ["0.5", "1", "3", "missing"]
    assert {name: rows.tolist() for name, rows in group_rows(pd.Series(["b", "a", "b"])).items()} == {
        "a": [1],
        "b": [0, 2],
    }


@pytest.mark.parametrize("values", [pd.Series(["a", "b"]), pd.Series([True, False])])
def test_text_cannot_be_cut(values):
    """Bins of a text or truth column are a mistake that is named with its path."""
    with pytest.raises(ConfigError) as caught:
        judge(
            Judged(pd.DataFrame({"actual": [1.0, 2.0], "predicted": [1.0, 2.0]}), "regression"),
            values,
            part({"rmse": {"max": 1}}, bins=2),
        )
    assert "evaluation.gate.slices.0.bins: " in caught.value.mistakes[0]
    assert caught.value.exit_code == 2


def test_an_unknown_column_is_named_with_its_path(regression):
    """A slice over a column that the test rows do not have is a mistake in the settings."""
    with pytest.raises(ConfigError) as caught:
        judge_slices(regression, {}, [part({"rmse": {"max": 1}})])
    assert caught.value.mistakes == (
        "evaluation.gate.slices.0.column: the test rows have no column 'region'",
    )


def test_a_group_of_one_class_has_no_roc_curve(rng):
    """A metric that is undefined for a group's rows is said not to be judged; its other metrics are."""
    judged = labelled(rng, ("no", "yes"))
    judged.predictions.loc[:199, "actual"] = "no"
    limits = {"roc_auc": {"min": 0.1}, "recall": {"min": 0.1}, "accuracy": {"min": 0.1}}
    north = {check.metric: check for check in judge(judged, HALVES, part(limits))[:3]}
    assert {name: check.passed for name, check in north.items()} == {
        "roc_auc": None,
        "recall": None,
        "accuracy": True,
    }
    assert north["recall"].note == "the metric is not defined for these rows"


def test_what_was_not_measured_at_all_fails(regression, rng):
    """Without probabilities, or with a prediction that is not finite, nothing vouches for any group."""
    bare = labelled(rng, ("no", "yes"))
    table = bare.predictions[["actual", "predicted"]]
    checks = judge(Judged(table, "classification", ("no", "yes")), HALVES, part({"roc_auc": {"min": 0.1}}))
    assert [(check.passed, check.note) for check in checks] == [(False, "the metric was not measured")] * 2
    broken = regression.predictions.assign(
        predicted=regression.predictions["predicted"].where(HALVES == "north")
    )
    checks = judge(Judged(broken, "regression"), HALVES, part({"rmse": {"max": 9, "max_worse": 0.1}}))
    assert [check.passed for check in checks] == [True, False]


def test_no_rows_of_a_group_are_no_group():
    """A category that no test row has is not there to be judged."""
    values = pd.Series(pd.Categorical(["a", "a"], categories=["a", "b"]))
    assert list(group_rows(values)) == ["a"]


def test_ten_thousand_groups_take_no_time(rng):
    """Sums of all groups are taken at once, and beyond 200 groups intervals are left out."""
    rows = 100_000
    actual = rng.normal(size=rows)
    judged = Judged(pd.DataFrame({"actual": actual, "predicted": actual + 1}), "regression")
    values = pd.Series(np.arange(rows) % 10_000)
    start = time.process_time()
    checks = judge(judged, values, part({"rmse": {"max": 2}}, min_rows=10))
    assert time.process_time() - start < 5
    assert len(checks) == 10_000
    assert all(check.value == pytest.approx(1.0) for check in checks)
    assert checks[0].lower is None
