"""The change against production."""

import numpy as np
import pandas as pd
import pytest

from modelbook.config import PromotionConfig
from modelbook.errors import UsageError
from modelbook.evaluation.challenge import challenge, deciding_metric

SETTINGS = PromotionConfig()


@pytest.fixture
def rng():
    """Return a generator with a fixed seed."""
    return np.random.default_rng(11)


@pytest.fixture
def champion(rng):
    """Return what a regression model predicts for 400 rows."""
    actual = rng.normal(10, 3, 400)
    return pd.DataFrame({"actual": actual, "predicted": actual + rng.normal(0, 1, 400)})


def closer(table, share):
    """Return predictions whose errors are smaller by a share."""
    errors = (table["predicted"] - table["actual"]) * (1 - share)
    return table.assign(predicted=table["actual"] + errors)


def labelled(rng, classes, *, noise=1.0, rows=300):
    """Return what a classification model predicts, with probabilities."""
    codes = rng.integers(0, len(classes), rows)
    scores = np.eye(len(classes))[codes] + noise * rng.normal(size=(rows, len(classes)))
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = np.array(classes, dtype=object)
    table = pd.DataFrame(shares, columns=[f"probability_{label}" for label in classes])
    return pd.DataFrame({"actual": labels[codes], "predicted": labels[shares.argmax(axis=1)]}).join(table)


def test_a_better_challenger_passes_with_the_numbers(champion):
    """The check says the change, what it is a change from, its interval, its limit and the draws."""
    check = challenge(champion, closer(champion, 0.1), SETTINGS, task="regression")
    rmse = float(np.sqrt(((champion["predicted"] - champion["actual"]) ** 2).mean()))
    assert (check.name, check.kind, check.passed, check.rows) == ("rmse_change", "change", True, 400)
    assert (check.baseline, check.value) == pytest.approx((rmse, -0.1 * rmse))
    assert check.lower < check.value < check.upper < check.max == 0
    assert (check.level, check.resamples, check.min, check.note) == (0.95, 10_000, None, None)


@pytest.mark.parametrize("share", [-0.1, 0.0])
def test_a_challenger_that_is_not_better_fails(champion, share):
    """One that is worse for sure fails as one that predicts the same does: zero is not left out."""
    assert challenge(champion, closer(champion, share), SETTINGS, task="regression").passed is False


@pytest.mark.parametrize(("rows", "passed"), [(1, False), (9, False), (10, True)])
def test_a_handful_of_rows(champion, rows, passed):
    """One that is better by far is not told from a lucky one by fewer than ten rows, which is said."""
    few = champion.head(rows)
    check = challenge(few, closer(few, 0.9), SETTINGS, task="regression")
    assert check.passed is passed
    assert (check.note == f"{rows} rows are too few to tell better from lucky: it takes 10") is not passed


def test_a_metric_of_which_more_is_better(champion):
    """R² has to rise: its interval lies above the limit."""
    settings = PromotionConfig(metric="r2_score")
    check = challenge(champion, closer(champion, 0.1), settings, task="regression")
    assert (check.min, check.max, check.passed) == (0, None, True)
    assert challenge(closer(champion, 0.1), champion, settings, task="regression").passed is False


@pytest.mark.parametrize(("asked", "passed"), [(0.05, True), (0.099, False), (0.2, False)])
def test_an_improvement_that_is_asked_for(champion, asked, passed):
    """The whole interval has to lie beyond that share of production's metric."""
    better = closer(champion, 0.1)
    better["predicted"] += np.random.default_rng(1).normal(0, 0.05, len(better))
    check = challenge(champion, better, PromotionConfig(min_improvement=asked), task="regression")
    assert check.max == pytest.approx(-asked * check.baseline)
    assert check.passed is passed


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        (0, None),
        (1203, "the version in production was trained on 1,203 of these 400 rows"),
        (None, "it is not known how many of these rows the version in production was trained on"),
    ],
)
def test_rows_that_production_was_trained_on_are_said(champion, seen, note):
    """Scores on rows that it was fitted to flatter production, so their number stands in the check."""
    assert challenge(champion, champion, SETTINGS, task="regression", rows_trained_on=seen).note == note


@pytest.mark.parametrize("classes", [("no", "yes"), (False, True), (1, 2, 3), ("a", "b", "c")])
def test_log_loss_decides_on_classes(rng, classes):
    """With probabilities on both sides it is log loss, whatever the type and number of the classes."""
    seed = int(rng.integers(2**31))
    first, second = (labelled(np.random.default_rng(seed), classes, noise=noise) for noise in (1.5, 0.5))
    check = challenge(first, second, SETTINGS, task="classification", classes=classes)
    assert (check.metric, check.passed) == ("log_loss", True)


def test_accuracy_decides_where_a_side_has_no_probabilities(rng):
    """A champion without probabilities can still be beaten."""
    table = labelled(rng, ("no", "yes"), noise=0.3)
    flipped = np.where(np.arange(300) % 3 == 0, "no", table["predicted"])
    champion = table[["actual"]].assign(predicted=flipped)
    check = challenge(champion, table, SETTINGS, task="classification", classes=("no", "yes"))
    assert (check.metric, check.passed) == ("accuracy", True)
    assert deciding_metric("classification", champion, table) == "accuracy"


def test_a_champion_of_other_classes(rng):
    """A class that it never knew has probability 0; one that is no more is left out."""
    table = labelled(rng, ("a", "b", "c"), noise=0.5)
    champion = table.drop(columns="probability_c").assign(probability_old=0.1)
    champion["predicted"] = champion["predicted"].where(champion["predicted"] != "c", "old")
    check = challenge(champion, table, SETTINGS, task="classification", classes=("a", "b", "c"))
    assert check.passed is True
    assert check.baseline > 5  # a third of the rows got no probability at all


def test_rows_of_one_class_have_no_roc_curve(rng):
    """A metric that is not defined vouches for nothing: the check fails and says why."""
    table = labelled(rng, ("no", "yes")).assign(actual="no")
    settings = PromotionConfig(metric="roc_auc")
    check = challenge(table, table, settings, task="classification", classes=("no", "yes"))
    assert (check.value, check.lower, check.passed) == (None, None, False)
    assert check.note == "the metric is not defined for these rows and predictions"


def test_predictions_that_are_not_finite_fail(champion):
    """A challenger that predicts infinity somewhere is not promoted."""
    broken = champion.assign(predicted=champion["predicted"].where(champion.index > 0, np.inf))
    assert challenge(champion, broken, SETTINGS, task="regression").passed is False


def test_tables_of_other_rows_are_refused(champion):
    """Only predictions for the same rows can be compared."""
    with pytest.raises(UsageError, match="predictions of the same rows"):
        challenge(champion.iloc[1:], champion, SETTINGS, task="regression")
    with pytest.raises(UsageError, match="predictions of the same rows"):
        challenge(champion.iloc[::-1], champion, SETTINGS, task="regression")


def test_neither_threads_nor_time_show_in_the_result(champion):
    """The same tables give the same check again, with any number of threads."""
    better = closer(champion, 0.01)
    one, two = (challenge(champion, better, SETTINGS, task="regression", threads=n) for n in (1, 2))
    assert one == two
