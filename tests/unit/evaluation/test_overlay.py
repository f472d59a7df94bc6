"""Several models' plots over each other."""

import numpy as np
import pandas as pd
import pytest

from modelbook.evaluation.overlay import draw_overlays

PNG = b"\x89PNG"


@pytest.fixture
def houses():
    """Return what three models predicted for 80 houses."""
    rng = np.random.default_rng(2)
    actual = rng.normal(200_000, 50_000, 80)
    spreads = (10_000, 20_000, 0)
    return {
        f"model {number}": pd.DataFrame({"actual": actual, "predicted": actual + rng.normal(0, spread, 80)})
        for number, spread in enumerate(spreads)
    }


def labels(columns, *, classes):
    rng = np.random.default_rng(4)
    shares = rng.dirichlet(np.ones(len(classes)), 60)
    table = pd.DataFrame({"actual": rng.choice(classes, 60), "predicted": rng.choice(classes, 60)})
    return pd.concat([table, pd.DataFrame(shares, columns=columns)], axis=1)


def test_regression_shows_errors_and_residuals(houses):
    """A model without any error is drawn too; the same numbers give the same bytes."""
    found = draw_overlays(houses, task="regression")
    assert list(found) == ["errors", "residuals"]
    assert all(content.startswith(PNG) for content in found.values())
    assert found == draw_overlays(houses, task="regression")
    assert found != draw_overlays(dict(list(houses.items())[:2]), task="regression")


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_classification_shows_a_curve_for_each_model(classes):
    """Of two classes the positive one, of more all decisions."""
    columns = [f"probability_{label}" for label in classes]
    tables = {name: labels(columns, classes=classes) for name in ("one", "two")}
    found = draw_overlays(tables, task="classification", classes=classes)
    assert list(found) == ["roc_curve", "pr_curve", "calibration"]


def test_without_probabilities_there_are_no_curves():
    """One model without them is enough to leave the curves out."""
    table = labels(["probability_a", "probability_b"], classes=("a", "b"))
    bare = {"one": table, "two": table[["actual", "predicted"]]}
    assert draw_overlays(bare, task="classification", classes=("a", "b")) == {}


def test_predictions_that_are_no_numbers_leave_nothing_to_draw():
    """A model that predicts nothing finite is left out."""
    table = pd.DataFrame({"actual": [1.0, 2.0], "predicted": [np.nan, np.inf]})
    assert draw_overlays({"one": table}, task="regression") == {}
