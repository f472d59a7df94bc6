import math

import numpy as np
import pandas as pd
import polars as pl
import pytest

from modelbook.config import METRICS
from modelbook.errors import ConfigError, UsageError
from modelbook.evaluation.metrics import class_codes, compute_metrics, known_classes, positive_position

LABELS = ["no", "no", "yes", "yes"]
GUESSES = ["no", "yes", "yes", "yes"]
PROBABILITIES = [[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]]


def test_regression_by_hand():
    """Errors of 0, 1 and -2 on 1, 2 and 4 give the metrics that pencil and paper give."""
    metrics = compute_metrics("regression", [1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    assert metrics["rmse"] == pytest.approx(math.sqrt(5 / 3))
    assert metrics["mae"] == pytest.approx(1.0)
    assert metrics["r2_score"] == pytest.approx(1 - 5 / (42 / 9))
    assert metrics["mape"] == pytest.approx(100 * (0 + 1 / 2 + 2 / 4) / 3)


def test_every_metric_of_the_task_is_there():
    """The names are those of the settings, in their order, for either task."""
    assert tuple(compute_metrics("regression", [1.0, 2.0], [1.0, 2.0])) == METRICS["regression"]
    assert tuple(compute_metrics("classification", LABELS, GUESSES)) == METRICS["classification"]


def test_mape_leaves_out_targets_of_zero():
    """A row whose target is 0 has no percentage error; without any other row mape is NaN."""
    assert compute_metrics("regression", [0.0, 10.0], [5.0, 11.0])["mape"] == pytest.approx(10)
    assert math.isnan(compute_metrics("regression", [0.0, 0.0], [5.0, 11.0])["mape"])


def test_r2_of_one_row_is_not_defined():
    """One row has no variance to explain; the other metrics stand."""
    metrics = compute_metrics("regression", [2.0], [3.0])
    assert math.isnan(metrics["r2_score"])
    assert metrics["rmse"] == 1


@pytest.mark.parametrize("prediction", [math.nan, math.inf])
def test_predictions_that_are_not_finite_measure_nothing(prediction):
    """A model that predicts NaN or infinity gets NaN for every metric, and so fails every threshold."""
    metrics = compute_metrics("regression", [1.0, 2.0], [1.0, prediction])
    assert all(math.isnan(value) for value in metrics.values())


def test_predictions_far_off_are_infinitely_wrong():
    """Squares beyond float64 give infinity without a warning."""
    metrics = compute_metrics("regression", [1.0, 2.0], [1e200, 1.0])
    assert metrics["rmse"] == math.inf
    assert metrics["r2_score"] == -math.inf


def test_binary_by_hand():
    """Two hits of three calls, nothing missed: the metrics are about the last class in sorted order."""
    metrics = compute_metrics(
        "classification", LABELS, GUESSES, probabilities=PROBABILITIES, classes=("no", "yes")
    )
    assert metrics["accuracy"] == pytest.approx(3 / 4)
    assert metrics["precision"] == pytest.approx(2 / 3)
    assert metrics["recall"] == pytest.approx(1)
    assert metrics["f1"] == pytest.approx(4 / 5)
    assert metrics["roc_auc"] == pytest.approx(3 / 4)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.5, 0.8]).mean())


def test_positive_class_is_chosen():
    """With `no` as the positive class precision and recall change sides; the AUC of two classes does not."""
    metrics = compute_metrics(
        "classification",
        LABELS,
        GUESSES,
        probabilities=PROBABILITIES,
        classes=("no", "yes"),
        positive_class="no",
    )
    assert metrics["precision"] == pytest.approx(1)
    assert metrics["recall"] == pytest.approx(1 / 2)
    assert metrics["roc_auc"] == pytest.approx(3 / 4)


def test_unknown_positive_class_is_refused():
    """A positive class that is none of the two is a mistake of the settings, told with both classes."""
    with pytest.raises(ConfigError, match=r"evaluation.positive_class: got '1', the classes are 0 and 1"):
        compute_metrics("classification", [0, 1], [0, 1], positive_class="1")


def test_multiclass_is_the_mean_over_classes():
    """Precision, recall and F1 are unweighted means over the classes, roc_auc one against the rest."""
    actual = ["a", "a", "b", "c"]
    scores = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2]]
    metrics = compute_metrics(
        "classification", actual, ["a", "b", "b", "a"], probabilities=scores, classes=("a", "b", "c")
    )
    assert metrics["accuracy"] == pytest.approx(1 / 2)
    assert metrics["precision"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert metrics["recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert metrics["f1"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert metrics["roc_auc"] == pytest.approx((3 / 4 + 1 + 1) / 3)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.8, 0.3, 0.7, 0.2]).mean())


def test_a_class_absent_from_the_test_rows_is_left_out():
    """roc_auc and the macro means run over the classes that occur or are predicted."""
    scores = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]]
    metrics = compute_metrics(
        "classification", ["a", "b", "b"], ["a", "b", "b"], probabilities=scores, classes=("a", "b", "c")
    )
    assert metrics["recall"] == metrics["roc_auc"] == 1


def test_a_class_the_model_never_saw_is_a_plain_mistake():
    """Its rows count as wrong, with probability 0, and two classes stay binary."""
    metrics = compute_metrics(
        "classification",
        [*LABELS, "new"],
        [*GUESSES, "no"],
        probabilities=[*PROBABILITIES, [0.9, 0.1]],
        classes=("no", "yes"),
    )
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["recall"] == 1
    assert metrics["log_loss"] > 7


def test_one_class_in_the_test_rows_leaves_roc_undefined():
    """A curve needs both sides: roc_auc is NaN, the rest is computed."""
    metrics = compute_metrics(
        "classification", ["no"], ["no"], probabilities=[[0.9, 0.1]], classes=("no", "yes")
    )
    assert math.isnan(metrics["roc_auc"])
    assert metrics["accuracy"] == 1
    assert metrics["precision"] == metrics["recall"] == 0


@pytest.mark.parametrize("probabilities", [None, [[math.nan, 0.1]] * 4])
def test_without_probabilities_only_labels_are_measured(probabilities):
    """roc_auc and log_loss are NaN where an estimator gives no usable probabilities."""
    metrics = compute_metrics("classification", LABELS, GUESSES, probabilities=probabilities)
    assert math.isnan(metrics["roc_auc"])
    assert math.isnan(metrics["log_loss"])
    assert metrics["f1"] == pytest.approx(4 / 5)


def test_probabilities_of_zero_stay_finite():
    """A class that was given probability 0 costs the log of the smallest step of float64, not infinity."""
    scores = [[1.0, 0.0], [0.0, 1.0]]
    metrics = compute_metrics("classification", [True, True], [False, True], probabilities=scores)
    assert metrics["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps) / 2)


@pytest.mark.parametrize(
    "wrap",
    [list, np.array, pd.Series, pl.Series, lambda v: pd.Series(v, dtype="category")],
    ids=["list", "numpy", "pandas", "polars", "categorical"],
)
def test_any_column_will_do(wrap):
    """Lists, arrays and columns of pandas and Polars are measured alike."""
    assert compute_metrics("classification", wrap(LABELS), wrap(GUESSES))["accuracy"] == 3 / 4


def test_lengths_must_fit():
    """Columns of different lengths are refused with both shapes."""
    with pytest.raises(UsageError, match=r"shapes \(2,\) and \(3,\)"):
        compute_metrics("regression", [1.0, 2.0], [1.0, 2.0, 3.0])


def test_no_rows_cannot_be_measured():
    """An empty test set is refused."""
    with pytest.raises(UsageError, match="at least one row"):
        compute_metrics("regression", [], [])


def test_missing_actual_values_are_refused():
    """Rows without a target are counted, never shown."""
    with pytest.raises(UsageError, match="1 of 2 rows"):
        compute_metrics("regression", [1.0, None], [1.0, 2.0])


def test_labels_are_no_numbers():
    """Regression on text points to the setting that is wrong."""
    with pytest.raises(UsageError, match=r"set project.task to classification"):
        compute_metrics("regression", ["secret"], ["secret"])


def test_probabilities_must_fit_the_classes():
    """A table of probabilities with too few columns is refused with both shapes."""
    with pytest.raises(UsageError, match=r"shape \(4, 2\): a row each"):
        compute_metrics("classification", LABELS, GUESSES, probabilities=[[1.0]] * 4)


def test_a_missing_label_has_no_code():
    """A label that is missing is counted in the error."""
    with pytest.raises(UsageError, match="1 such rows of 2"):
        class_codes(["a", None], ("a",))


def test_classes_keep_their_order():
    """Given classes come first and as they are; what else occurs follows, sorted."""
    assert known_classes([3, 1], [2], classes=(9, 3)) == (9, 3, 1, 2)
    assert known_classes(np.array([True, False])) == (False, True)


def test_the_positive_class_may_be_false_or_zero():
    """A positive class of 0 is a choice, not the lack of one."""
    assert positive_position((0, 1), 0) == 0
    assert positive_position((False, True), positive_class=False) == 0
