"""Intervals for the difference between two models."""

import math

import numpy as np
import pandas as pd
import pytest

from modelbook.evaluation import resampling
from modelbook.evaluation.resampling import metric_intervals, paired_differences


@pytest.fixture
def rng():
    """Return a generator with a fixed seed."""
    return np.random.default_rng(5)


def predictions(rng, *, rows=400, spread=1.0):
    actual = rng.normal(10, 3, rows)
    return pd.DataFrame({"actual": actual, "predicted": actual + rng.normal(0, spread, rows)})


def by_metric(first, second, **about):
    return {one.metric: one for one in paired_differences(first, second, **({"task": "regression"} | about))}


def test_a_model_beside_itself_differs_by_nothing(rng):
    """Every difference and every end of its interval is 0, and nothing is sure."""
    table = predictions(rng)
    for found in by_metric(table, table, resamples=200).values():
        assert (found.difference, found.lower, found.upper, found.is_sure) == (0, 0, 0, False)


def test_a_better_model_is_found(rng):
    """Errors of half the size lower rmse and mae and raise r2_score for sure."""
    first = predictions(rng)
    second = first.assign(predicted=(first["actual"] + first["predicted"]) / 2)
    found = by_metric(first, second, resamples=1000)
    assert found["rmse"].difference == pytest.approx(-found["rmse"].first / 2)
    assert found["rmse"].is_sure
    assert found["rmse"].upper < 0 < found["r2_score"].lower


def test_the_interval_is_that_of_drawing_rows(rng):
    """Its ends are those that drawing rows with replacement gives, but for the chance of the draws."""
    first = predictions(rng)
    second = first.assign(predicted=first["actual"] + rng.normal(0, 0.9, len(first)))
    squares = (second["predicted"] - second["actual"]) ** 2, (first["predicted"] - first["actual"]) ** 2
    rows = rng.integers(0, len(first), (4000, len(first)))
    drawn = np.subtract(*(np.sqrt(side.to_numpy()[rows].mean(axis=1)) for side in squares))
    found = by_metric(first, second, resamples=4000)["rmse"]
    assert [found.lower, found.upper] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_equal_models_are_rarely_told_apart(rng):
    """Of 200 pairs of models of the same worth about one in twenty is taken for different."""
    sure = 0
    for _ in range(200):
        first = predictions(rng, rows=300)
        second = first.assign(predicted=first["actual"] + rng.normal(0, 1, 300))
        sure += by_metric(first, second, resamples=400)["rmse"].is_sure
    assert sure <= 20


def test_neither_threads_nor_time_show_in_the_result(rng):
    """The same seed gives the same intervals with any number of threads; another seed gives others."""
    first = predictions(rng, rows=9000)
    second = first.assign(predicted=first["predicted"] + 0.01)
    one, two = (by_metric(first, second, resamples=500, threads=threads) for threads in (1, 2))
    assert one == two
    assert one != by_metric(first, second, resamples=500, seed=1)


def test_metrics_that_are_not_defined_are_left_out(rng):
    """Without probabilities there is no ROC curve to compare, on either side."""
    actual = rng.choice(["a", "b"], 50)
    first = pd.DataFrame({"actual": actual, "predicted": actual})
    second = first.assign(predicted="a", probability_a=0.7, probability_b=0.3)
    found = by_metric(first, second, task="classification", classes=("a", "b"), resamples=100)
    assert list(found) == ["accuracy", "precision", "recall", "f1"]
    assert found["accuracy"].upper < 0


def test_a_metric_that_few_resamples_have():
    """One row of a class is missing from a third of the resamples: the others make the interval."""
    first = pd.DataFrame(
        {"actual": list("aaab"), "predicted": list("aaab"), "probability_a": 0.5, "probability_b": 0.5}
    )
    second = first.assign(probability_a=[0.9, 0.8, 0.7, 0.1], probability_b=[0.1, 0.2, 0.3, 0.9])
    found = by_metric(first, second, task="classification", classes=("a", "b"), resamples=200)["roc_auc"]
    assert (found.first, found.second, found.lower) == (0.5, 1.0, 0.5)
    assert math.isfinite(found.upper)


def test_only_wanted_metrics_are_drawn(rng):
    """A metric by itself has the interval that it has among all."""
    first = predictions(rng)
    second = first.assign(predicted=first["actual"] + rng.normal(0, 0.9, len(first)))
    alone = by_metric(first, second, metrics={"mae"}, resamples=300)
    assert alone == {"mae": by_metric(first, second, resamples=300)["mae"]}


def test_blocks_of_rows_leave_the_interval_as_it_is(rng, monkeypatch):
    """Beyond a number of rows these share their weights, which shows in the interval by some percent."""
    first = predictions(rng, rows=20_001)
    second = first.assign(predicted=first["actual"] + rng.normal(0, 0.9, len(first)))
    exact = by_metric(first, second, resamples=2000)
    monkeypatch.setattr(resampling, "_MOST_UNITS", 5000)
    blocked = by_metric(first, second, resamples=2000)
    assert exact.keys() == blocked.keys()
    for name, one in exact.items():
        width = one.upper - one.lower
        assert blocked[name].difference == one.difference
        assert blocked[name].upper - blocked[name].lower == pytest.approx(width, rel=0.1)
        assert blocked[name].lower == pytest.approx(one.lower, abs=0.1 * width)


def test_the_interval_of_one_model(rng):
    """It holds the metric, is as wide as theory has it, and leaves out what is not defined."""
    table = predictions(rng, rows=2000)
    found = metric_intervals(table, {"mae", "rmse"}, task="regression", resamples=2000)
    value, lower, upper = found["mae"]
    deviation = (table["actual"] - table["predicted"]).abs().std() / math.sqrt(2000)
    assert list(found) == ["rmse", "mae"]
    assert lower < value < upper
    assert upper - lower == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    zeros = table.assign(actual=0.0)
    assert metric_intervals(zeros, {"mape"}, task="regression", resamples=10) == {}
