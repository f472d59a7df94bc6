"""Metrics of weighted rows."""

import numpy as np
import pytest

from modelbook.evaluation.metrics import compute_metrics
from modelbook.evaluation.weighted import SumMeasure, together, weighted_metrics

ROWS = 40


@pytest.fixture
def rng():
    """Return a generator with a fixed seed."""
    return np.random.default_rng(3)


def regression(rng):
    actual = np.round(rng.normal(1, 2, ROWS), 1)
    actual[:3] = 0
    return ("regression", actual, actual + rng.normal(size=ROWS)), {}


def classification(rng, classes):
    actual, predicted = (rng.choice(classes, ROWS) for _ in range(2))
    probabilities = np.round(rng.dirichlet(np.ones(len(classes)), ROWS), 1)  # with ties
    return ("classification", actual, predicted), {"probabilities": probabilities, "classes": classes}


TASKS = {
    "regression": regression,
    "two classes": lambda rng: classification(rng, ("no", "yes")),
    "the first is positive": lambda rng: [
        columns | {"positive_class": "no"} if isinstance(columns, dict) else columns
        for columns in classification(rng, ("no", "yes"))
    ],
    "four classes": lambda rng: classification(rng, ("a", "b", "c", "d")),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_weights_count_rows(rng, make):
    """A row of weight n counts as n rows: each metric is that of a table with the rows repeated."""
    (task, actual, predicted), about = make(rng)
    weights = rng.poisson(1, (6, ROWS)).astype(float)
    weights[0] = 1
    found = weighted_metrics(task, actual, predicted, **about)
    values = {name: measure(weights) for name, measure in found.items()}
    for place, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(ROWS), counts)
        repeated = {name: value[rows] if name == "probabilities" else value for name, value in about.items()}
        expected = compute_metrics(task, actual[rows], predicted[rows], **repeated)
        assert {name: column[place] for name, column in values.items()} == pytest.approx(expected)


@pytest.mark.parametrize("has_exact_area", [True, False])
@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_metrics_measured_together_are_those_of_each(rng, make, *, has_exact_area):
    """To the last digit; what two models on the same rows both sum is summed once."""
    (task, actual, predicted), about = make(rng)
    weights = rng.poisson(1, (6, ROWS)).astype(float)
    measures = [
        measure
        for model in (predicted, rng.permutation(predicted))
        for measure in weighted_metrics(task, actual, model, has_exact_area=has_exact_area, **about).values()
    ]
    expected = np.column_stack([measure(weights) for measure in measures])
    np.testing.assert_array_equal(together(measures)(weights), expected)


def test_a_column_of_several_metrics_is_summed_once(rng):
    """Each column asks for a pass over all the weights."""
    asked = []

    class Weights(np.ndarray):
        def __matmul__(self, column):
            asked.append(len(column))
            return np.asarray(self) @ column

    actual, predicted = rng.normal(size=(2, ROWS))
    found = weighted_metrics("regression", actual, predicted)
    columns = np.hstack([measure.columns for measure in found.values() if isinstance(measure, SumMeasure)])
    together([*found.values(), *found.values()])(np.ones((3, ROWS)).view(Weights))
    assert len(asked) == len(np.unique(columns, axis=1).T) < columns.shape[1]


def test_rows_without_weight_leave_metrics_undefined():
    """Without a row of a class there is no ROC curve, and without any row nothing at all."""
    found = weighted_metrics(
        "classification",
        ["a", "b"],
        ["a", "b"],
        probabilities=[[0.9, 0.1], [0.2, 0.8]],
        classes=("a", "b"),
    )
    weights = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    assert np.isnan(found["roc_auc"](weights)).tolist() == [True, True, False]
    assert np.isnan(found["accuracy"](weights)).tolist() == [False, True, False]


def test_without_probabilities_there_is_no_curve():
    """roc_auc and log_loss are left out then."""
    found = weighted_metrics("classification", ["a", "b"], ["a", "a"])
    assert set(found) == {"accuracy", "precision", "recall", "f1"}


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_the_linear_area_is_close_to_the_exact_one(classes):
    """With equal weights it is the same area, and with others it is off by a term of second order."""
    rng = np.random.default_rng(4)
    codes = rng.integers(0, len(classes), 2000)
    scores = np.round(np.eye(len(classes))[codes] + rng.normal(size=(2000, len(classes))), 1)  # with ties
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = np.array(classes)[codes]
    weights = rng.poisson(1, (200, 2000)).astype(float)
    weights[0] = 1
    exact, linear = (
        weighted_metrics(
            "classification", labels, labels, probabilities=shares, classes=classes, has_exact_area=is_exact
        )["roc_auc"](weights)
        for is_exact in (True, False)
    )
    assert linear[0] == pytest.approx(exact[0], abs=1e-12)
    assert (linear - exact).std() < 0.05 * exact.std()


def test_one_class_has_no_linear_area():
    """Where all rows are of one class there is nothing to rank them against."""
    found = weighted_metrics(
        "classification",
        ["no", "no"],
        ["no", "no"],
        probabilities=[[0.6, 0.4], [0.7, 0.3]],
        classes=("no", "yes"),
        has_exact_area=False,
    )
    assert np.isnan(found["roc_auc"](np.ones((3, 2)))).all()


def test_rows_of_one_value_have_no_r2():
    """Where all rows that count have the same target, R² is not defined, whatever rounding leaves of it."""
    actual = np.array([500_001.0] * 30 + [1234.5, 17.25, 99_000.1])
    measure = weighted_metrics("regression", actual, actual + 1)["r2_score"]
    weights = np.random.default_rng(0).poisson(1.0, (200, len(actual))) * (actual == 500_001.0)
    assert np.isnan(measure(weights.astype(float))).all()
